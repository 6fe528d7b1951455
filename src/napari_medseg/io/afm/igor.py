"""Igor binary waves of Asylum Research scans (``.ibw``)."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.io.afm.scan import Channel, nm_per, number, place_of

UNIT_OF_NAME = {  # a wave states one unit, that of its heights; the first pattern in a channel's name decides
    "potential|bias|voltage|userin|input|lateral|drive": "V",
    "phase": "deg",
    "freq": "Hz",
    "current": "A",
    "modulus|young": "Pa",
    "stiffness": "N/m",
    "force|adhesion": "N",
    "tangent|dissipation|gain|count": "",
    "height|zsensor|amplitude|deflection|indent|topo": "m",
}


def read_channels(path: Path) -> list[Channel]:
    """Read the channels of a wave (x, y[, channel]); rows are stored bottom first.

    Raises
    ------
    ReadError
        If the wave is no image.
    """
    from igor2 import binarywave

    _check_sizes(path)
    wave = binarywave.load(str(path))["wave"]
    data = np.asarray(wave["wData"])
    if data.ndim not in (2, 3) or data.dtype.kind not in "iuf":
        raise ReadError(f"{path.name} holds a wave of shape {data.shape}; expected an image (x, y[, channel]).")
    if data.ndim == 2 and _holds_curves(wave):
        raise ReadError(
            f"{path.name} holds a force curve, {len(data)} points of {data.shape[1]} signals, and no image."
        )
    data = data[..., None] if data.ndim == 2 else data
    header, note = wave["wave_header"], _note(wave.get("note", b""))
    step, unit = _pixel_size(header, note, data.shape)
    names = _names(wave, data.shape[2])
    stored = _text(header["dataUnits"])
    place, said = _place(note, step, data.shape[1::-1]) if unit == "m" else ((0.0, 0.0), ())
    units = [_own_unit(name, note) or _unit(name, stored, alone=len(names) == 1) for name in names]
    return [
        Channel(name, data[:, :, k].T[::-1], units[k], step, unit, notes=said, place=place)
        for k, name in enumerate(names)
    ]


def _holds_curves(wave: Any) -> bool:
    """Whether the columns of a wave (points, signals) have names, or its points are moments, as in force curves."""
    labels = wave.get("labels") or []
    named = len(labels) > 1 and any(_text(label) for label in labels[1])
    return named or _text(np.asarray(wave["wave_header"]["dimUnits"])[0]) == "s"


def _check_sizes(path: Path) -> None:
    """Refuse a header whose parts are longer than the file: the library would reserve them first."""
    with path.open("rb") as file:
        head = file.read(64).ljust(64, b"\0")
    order = "<" if head[0] else ">"
    version = struct.unpack_from(f"{order}h", head)[0]
    n_parts, start = {1: (1, 2), 2: (2, 2), 3: (3, 2), 5: (13, 4)}.get(version, (0, 2))
    parts = struct.unpack_from(f"{order}{n_parts}i", head, start)
    if min(parts, default=0) < 0 or sum(parts) > path.stat().st_size:
        raise ReadError(f"{path.name} is cut short or damaged: its header tells of more than it holds. Copy it again.")


def _note(note: Any) -> dict[str, str]:
    text = note.decode("latin-1") if isinstance(note, bytes) else str(note)
    return {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in re.split(r"[\r\n]+", text))
    }


def _pixel_size(header: Any, note: dict[str, str], shape: tuple[int, ...]) -> tuple[tuple[float, float], str]:
    """Return ((y, x), unit) from the note's scan size in metres, else from the wave's own scaling.

    The scan size is that of all lines and points of the note, where the wave's scaling says so: a scan that was stopped
    holds fewer.
    """
    stated = [nm_per(_text(unit)) for unit in np.asarray(header["dimUnits"])[:2]]
    x, y = (abs(float(s)) * (nm or 0.0) * 1e-9 for s, nm in zip(np.asarray(header["sfA"])[:2], stated, strict=True))
    try:
        sizes = number(note["SlowScanSize"]), number(note["FastScanSize"])
    except (KeyError, ValueError):
        return (y, x), "m" if all(stated) else ""
    steps = []
    for size, held, count, own in zip(sizes, shape[1::-1], ("ScanLines", "ScanPoints"), (y, x), strict=True):
        whole = float(note[count]) if note.get(count, "").isdigit() and int(note[count]) > held else float(held)
        steps.append(min((size / held, size / whole), key=lambda step: abs(step - own)) if own > 0 else size / held)
    return (steps[0], steps[1]), "m"


def _place(
    note: dict[str, str], step: tuple[float, float], shape: tuple[int, ...]
) -> tuple[tuple[float, float], tuple[str, ...]]:
    """Return `place_of` the centre that the note states in metres; none of a scan that was stopped."""
    if note.get("ScanLines", str(shape[0])) != str(shape[0]):
        return (0.0, 0.0), ()
    try:
        centre = number(note["YOffset"]), number(note["XOffset"])
        return place_of(centre, step, shape, number(note.get("ScanAngle", "0")))
    except (KeyError, ValueError):
        return (0.0, 0.0), ()


def _own_unit(name: str, note: dict[str, str]) -> str:
    """Return the unit that the note states for a channel (``UserIn0Unit`` of ``UserIn0Trace``); empty for none."""
    return note.get(re.sub(r"(Mod\d*)?(Trace|Retrace)?(Mod\d*)?$", "", name) + "Unit", "")


def _names(wave: Any, n: int) -> list[str]:
    labels = wave.get("labels") or []
    found = [_text(label) for label in (labels[2] if len(labels) > 2 else []) if label]
    repaired = [re.sub(r"(race)e$", r"\1", name) for name in found]  # the writer doubles the last letter
    return [repaired[k] if k < len(repaired) else f"channel {k}" for k in range(n)]


def _unit(name: str, stored: str, alone: bool) -> str:
    """Return the unit of a channel: by its name, else what the wave states for its only channel, else none."""
    found = next((unit for pattern, unit in UNIT_OF_NAME.items() if re.search(pattern, name.lower())), None)
    if found == "m" or (found is None and alone):
        return stored or found or ""
    return found or ""


def _text(value: Any) -> str:
    joined = value if isinstance(value, bytes) else b"".join(np.asarray(value, "S").ravel().tolist())
    return joined.split(b"\0")[0].decode("latin-1").strip()
