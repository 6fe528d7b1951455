"""Gwyddion's native (``.gwy``) and simple field (``.gsf``) files.

Their offsets are the place of the upper left pixel on the sample, y downwards as in the picture; 0 where not stated.
"""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.io.afm.scan import Channel, header_text, number

SIZES = {b"b": 1, b"c": 1, b"C": 1, b"i": 4, b"I": 4, b"q": 8, b"Q": 8, b"d": 8, b"D": 8}
OTHER_DATA = {"/brick/": "volume data", "/graph/": "curves", "/sps/": "spectra", "/xyz/": "points", "/lawn/": "curves"}
GSF_MAGIC = b"Gwyddion Simple Field 1.0\n"


def read_gwy_channels(path: Path) -> list[Channel]:
    """Read every data field of a ``.gwy`` file, with its mask if it has one.

    Raises
    ------
    ReadError
        If it is no Gwyddion file.
    """
    import gwyfile

    content = path.read_bytes()
    if not content.startswith(b"GWYP"):
        raise ReadError(f"{path.name} is no Gwyddion file: it does not begin with GWYP.")
    try:
        _object_end(content, 4, len(content))
    except (ValueError, KeyError, struct.error) as error:
        raise ReadError(f"{path.name} is cut short or damaged: its parts do not fit. Copy it again.") from error
    container = gwyfile.load(str(path))
    numbers = sorted(int(m[1]) for key in container if (m := re.fullmatch(r"/(\d+)/data", key)))
    if not numbers:
        held = [words for part, words in OTHER_DATA.items() if any(part in key for key in container)]
        raise ReadError(
            f"{path.name} holds no image but {' and '.join(held) or 'nothing that is read'}. Extract an image of it in "
            "Gwyddion and save that."
        )
    return [
        replace(
            _field_channel(container[f"/{k}/data"], str(container.get(f"/{k}/data/title", f"channel {k}"))),
            mask=np.asarray(container[f"/{k}/mask"].data) if f"/{k}/mask" in container else None,
        )
        for k in numbers
    ]


def _object_end(content: bytes, start: int, end: int) -> int:
    """Return where the object at `start` ends; the library would read a damaged one for ever."""
    start = content.index(b"\0", start, end) + 1
    inner = start + 4 + int(struct.unpack_from("<I", content, start)[0])
    if inner > end:
        raise ValueError("an object is longer than what holds it")
    start += 4
    while start < inner:
        start = _component_end(content, content.index(b"\0", start, inner) + 1, inner)
    return inner


def _component_end(content: bytes, start: int, end: int) -> int:
    """Return where the component ends whose type letter is at `start`."""
    code, start, count = content[start : start + 1], start + 1, 1
    if code in b"CIQDSO" and code:
        count, start = struct.unpack_from("<I", content, start)[0], start + 4
    if code in b"sSoO" and code:
        for _ in range(count):
            start = content.index(b"\0", start, end) + 1 if code in b"sS" else _object_end(content, start, end)
    else:
        start += count * SIZES[code]
    if start > end:
        raise ValueError("a component is longer than its object")
    return start


def _field_channel(field: Any, title: str) -> Channel:
    data = np.asarray(field.data)
    step = (field.yreal or 0.0) / data.shape[0], (field.xreal or 0.0) / data.shape[1]
    place = field.yoff or 0.0, field.xoff or 0.0
    return Channel(title, data, _unit(field.si_unit_z), step, _unit(field.si_unit_xy), place=place)


def _unit(unit: Any) -> str:
    return str(unit["unitstr"]) if unit is not None and "unitstr" in unit else ""


def read_gsf_channels(path: Path) -> list[Channel]:
    """Read a Gwyddion Simple Field: text header padded to 4 bytes with NUL, then little-endian float32.

    Raises
    ------
    ReadError
        If the header or the pixels are not complete.
    """
    content = path.read_bytes()
    end = content.find(b"\0")
    if not content.startswith(GSF_MAGIC) or end < 0:
        raise ReadError(f"{path.name} is no Gwyddion Simple Field: its header is missing or cut short.")
    lines = header_text(content[:end]).splitlines()[1:]
    entries = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    try:
        rows, columns = int(entries["YRes"]), int(entries["XRes"])
        data = np.frombuffer(content, "<f4", rows * columns, end + 4 - end % 4).reshape(rows, columns)
    except (KeyError, ValueError) as error:
        raise ReadError(f"{path.name} is cut short or damaged: {error}. Copy it again.") from error
    height, width, y, x = (number(entries.get(key, "0")) for key in ("YReal", "XReal", "YOffset", "XOffset"))
    step, place = (height / rows, width / columns), (y, x)  # 0: not known
    title, unit, step_unit = entries.get("Title", "Height"), entries.get("ZUnits", ""), entries.get("XYUnits", "")
    return [Channel(title, data, unit, step, step_unit, place=place)]
