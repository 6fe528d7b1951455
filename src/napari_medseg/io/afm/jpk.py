"""JPK images: TIFF with private tags (``.jpk``, ``.jpk-qi-image``) and HDF5 (``.h5-jpk``).

Both state the centre of their grid on the sample and its turn in radians.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.io.afm.scan import Channel, place_of

CENTRE_X, CENTRE_Y, LENGTH_X, LENGTH_Y, TURN, REFLECT, PIXELS_X, PIXELS_Y = range(32832, 32840)
CHANNEL, RETRACE, SLOTS, DEFAULT_SLOT = 32848, 32849, 32896, 32897
SLOT, SLOT_STEP = 32912, 48
SLOT_UNIT, SLOT_TYPE, SLOT_FACTOR, SLOT_OFFSET = 18, 19, 20, 21


def read_tiff_channels(path: Path) -> list[Channel]:
    """Read the channels of a JPK TIFF, calibrated by each page's default slot.

    Rows are stored bottom first, unless the grid is reflected.

    Raises
    ------
    ReadError
        If the tags of a JPK image are missing.
    """
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        first = tiff.pages[0].tags
        if LENGTH_X not in first or PIXELS_X not in first:
            raise ReadError(
                f"{path.name} is a TIFF without JPK's tags. Give it the suffix .tif to read it as a picture."
            )
        step = tuple(
            float(first[size].value) / int(first[count].value)
            for size, count in ((LENGTH_Y, PIXELS_Y), (LENGTH_X, PIXELS_X))
        )
        pages = tiff.pages[1:]
        if not pages or any(CHANNEL not in page.tags for page in pages):
            raise ReadError(
                f"{path.name} is cut short or damaged: {len(pages)} channels, not all named. Copy it again."
            )
        reflected = int(first[REFLECT].value) if REFLECT in first else 0
        channels = [_page_channel(page, (step[0], step[1]), reflected) for page in pages]
        if CENTRE_X not in first or CENTRE_Y not in first:
            return channels
        centre = float(first[CENTRE_Y].value), float(first[CENTRE_X].value)
        turn = float(first[TURN].value) if TURN in first else 0.0
        return [_placed(channel, centre, turn) for channel in channels]


def _placed(channel: Channel, centre: tuple[float, float], turn: float) -> Channel:
    place, notes = place_of(centre, channel.step, channel.data.shape[-2:], math.degrees(turn))
    return replace(channel, place=place, notes=notes)


def _page_channel(page: Any, step: tuple[float, float], reflected: int) -> Channel:
    tags = page.tags
    direction = "retrace" if RETRACE in tags and int(tags[RETRACE].value) else "trace"
    factor, offset, unit = _default_slot(tags)
    reflected = int(tags[REFLECT].value) if REFLECT in tags else reflected
    data = page.asarray()[:: 1 if reflected else -1] * factor + offset
    return Channel(f"{tags[CHANNEL].value}_{direction}", data, unit, step)


def _default_slot(tags: Any) -> tuple[float, float, str]:
    """Return (factor, offset, unit) of the default calibration of a page."""
    wanted = tags[DEFAULT_SLOT].value if DEFAULT_SLOT in tags else ""
    for k in range(int(tags[SLOTS].value) if SLOTS in tags else 0):
        base = SLOT + k * SLOT_STEP
        if base in tags and tags[base].value == wanted:
            unit = str(tags[base + SLOT_UNIT].value) if base + SLOT_UNIT in tags else ""
            kind = str(tags[base + SLOT_TYPE].value) if base + SLOT_TYPE in tags else "NullScaling"
            if kind == "LinearScaling":
                return float(tags[base + SLOT_FACTOR].value), float(tags[base + SLOT_OFFSET].value), unit
            return 1.0, 0.0, unit if kind == "NullScaling" else ""  # numbers of another scale have no unit
    return 1.0, 0.0, ""


def read_hdf5_channels(path: Path) -> list[Channel]:
    """Read the channels of a ``.h5-jpk`` file, as (T, Y, X) where it holds several frames."""
    import h5py

    with h5py.File(path, "r") as file:
        return [
            _group_channel(measurement, channel)
            for name, measurement in file.items()
            if name.startswith("Measurement")
            for part, channel in measurement.items()
            if part.startswith("Channel")
        ]


def _group_channel(measurement: Any, group: Any) -> Channel:
    grid = {
        key: measurement.attrs[f"position-pattern.grid.{key}"] for key in ("ilength", "jlength", "ulength", "vlength")
    }
    columns, rows = int(grid["ilength"]), int(grid["jlength"])
    stored = next(data for name, data in group.items() if name != "thumbnail")
    scaling = "net-encoder.scaling"
    factor, offset = (
        float(group.attrs.get(f"{scaling}.{key}", 1.0 - k)) for k, key in enumerate(("multiplier", "offset"))
    )
    reflected = _text(measurement.attrs.get("position-pattern.grid.reflect", "false")).lower() in ("true", "1")
    lines = min(rows, stored.shape[0] // columns)  # a scan that was stopped holds fewer
    numbers = np.asarray(stored)[: lines * columns] if lines < rows else np.asarray(stored)
    frames = numbers.T.reshape(-1, lines, columns)[:, :: 1 if reflected else -1] * factor + offset
    direction = "retrace" if _text(group.attrs.get("retrace", "false")).lower() == "true" else "trace"
    channel = Channel(
        f"{_text(group.attrs['channel.name'])}_{direction}",
        frames if len(frames) > 1 else frames[0],
        _text(group.attrs.get(f"{scaling}.unit.unit", "")),
        (float(grid["vlength"]) / rows, float(grid["ulength"]) / columns),
        _text(measurement.attrs.get("position-pattern.grid.unit.unit", "m")),
        _seconds(measurement, len(frames), rows),
        (f"The scan was stopped after {lines} of {rows} lines.",) if lines < rows else (),
    )
    centre = [measurement.attrs.get(f"position-pattern.grid.{axis}center") for axis in "yx"]
    turn = float(measurement.attrs.get("position-pattern.grid.theta", 0.0))
    return channel if None in centre or lines < rows else _placed(channel, (float(centre[0]), float(centre[1])), turn)


def _seconds(measurement: Any, frames: int, rows: int) -> float:
    """Return the time between frames: by the clock when each began, else by the lines per second without pauses."""
    begun = np.asarray(measurement.get("meta-data/start-times", []))
    if frames > 1 and begun.size == frames and begun.min() < begun.max():
        return float(np.ptp(begun)) / 1000 / (frames - 1)
    rate = float(measurement.attrs.get("timing-settings.scanRate", 0.0))
    return rows / rate if rate > 0 else 0.0


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
