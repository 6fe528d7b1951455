"""High-speed scans (``.asd``, versions 0 to 2): a header, then for each channel its frames of 16-bit numbers.

A number n of a converter of range R is R - 2 n R / 4096 volts where it is bipolar and -n R / 4096 where it is not;
volts times piezo gain and extension are nanometres. The order of the fields is that of the public reader AFMReader.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.io.afm.scan import Channel

FRAME_HEADER = 32
LEVELS = 4096
BIPOLAR = 0x10000
RANGES = {1: 1.0, 2: 2.5, 3: 9.99, 4: 5.0, BIPOLAR: 1.0, 2 * BIPOLAR: 2.5, 4 * BIPOLAR: 5.0}  # code -> volts
UNITS = {"TP": "nm", "ER": "nm", "PH": "deg"}
Fields = tuple[tuple[str, str], ...]
FIRST: Fields = (  # version 0, up to the user's name
    ("channel1", "2s"), ("channel2", "2s"), ("", "8x"), ("name", "i"), ("skipped", "i"), ("comment", "i"),
    ("columns", "h"), ("rows", "h"), ("width", "h"), ("height", "h"), ("frame_ms", "f"), ("extension", "f"),
    ("gain", "f"), ("range", "I"), ("", "4x"), ("", "x"), ("", "4x"), ("", "2x"), ("", "8x"), ("", "8x"), ("", "12x"),
    ("", "4x"), ("frames", "i"), ("", "6x"),
)  # fmt: skip
FIRST_END: Fields = (("scanner", "f"), ("phase", "f"), ("", "4x"))  # after the user's name
LATER: Fields = (  # versions 1 and 2
    ("", "12x"), ("name", "i"), ("comment", "i"), ("channel1", "4s"), ("channel2", "4s"), ("", "4x"), ("frames", "i"),
    ("", "8x"), ("columns", "i"), ("rows", "i"), ("width", "i"), ("height", "i"), ("", "x"), ("", "4x"), ("", "24x"),
    ("", "8x"), ("frame_ms", "f"), ("scanner", "f"), ("phase", "f"), ("", "4x"), ("", "12x"), ("", "4x"),
    ("range", "I"), ("", "4x"), ("", "8x"), ("", "8x"), ("extension", "f"), ("gain", "f"),
)  # fmt: skip
COLOURS = struct.Struct("<iid2i3i")  # version 2: frames, feed forward, scale, and how many anchors of three colours


def read_channels(path: Path) -> list[Channel]:
    """Read topography TP and error ER in nm, phase PH in degrees, as (T, Y, X) where there are several frames.

    Raises
    ------
    ReadError
        If the version or the converter is not known, or the file is cut short.
    """
    content = path.read_bytes()
    try:
        version = struct.unpack_from("<i", content)[0]
        if version not in (0, 1, 2):
            raise ReadError(f"{path.name} is an .asd file of version {version}; versions 0, 1 and 2 are read.")
        head, start = _header(content, version)
        shape = head["frames"], head["rows"], head["columns"]
        if min(shape) <= 0:
            raise ValueError(f"{shape[0]} frames of {shape[2]}x{shape[1]} pixels")
        return _channels(path, content, head, start, shape)
    except (struct.error, ValueError, UnicodeDecodeError, OverflowError) as error:
        raise ReadError(f"{path.name} is cut short or damaged: {error}. Copy it again.") from error


def _header(content: bytes, version: int) -> tuple[dict[str, Any], int]:
    """Return the fields that are needed, and where the first frame begins."""
    if version == 0:
        head, at = _unpack(content, FIRST, 4)
        more, at = _unpack(content, FIRST_END, at + _length(head["name"]))
        return head | more, at + _length(head["skipped"]) + _length(head["comment"])
    head, at = _unpack(content, LATER, 4)
    at += _length(head["name"]) + _length(head["comment"])
    if version == 2:
        *_, red, green, blue = COLOURS.unpack_from(content, at)
        at += COLOURS.size + 8 * sum(map(_length, (red, green, blue)))
    return head, at


def _unpack(content: bytes, fields: Fields, at: int) -> tuple[dict[str, Any], int]:
    layout = struct.Struct("<" + "".join(kind for _, kind in fields))
    names = [name for name, _ in fields if name]
    return dict(zip(names, layout.unpack_from(content, at), strict=True)), at + layout.size


def _length(value: int) -> int:
    if value < 0:
        raise ValueError(f"a length of {value}")
    return value


def _channels(
    path: Path, content: bytes, head: dict[str, Any], start: int, shape: tuple[int, int, int]
) -> list[Channel]:
    volts = RANGES.get(head["range"])
    if volts is None:
        raise ReadError(f"{path.name} was recorded by a converter of unknown range (code {head['range']:#x}).")
    factors = {"TP": head["gain"] * head["extension"], "ER": -head["scanner"], "PH": -head["phase"]}
    step = head["height"] / shape[1], head["width"] / shape[2]
    frame = FRAME_HEADER + 2 * shape[1] * shape[2]
    channels = []
    for field in ("channel1", "channel2"):
        name = head[field].replace(b"\0", b"").decode("ascii")
        if name in UNITS:
            raw = np.frombuffer(content, np.uint8, shape[0] * frame, start).reshape(shape[0], frame)
            levels = np.ascontiguousarray(raw[:, FRAME_HEADER:]).view("<i2").reshape(shape).astype(np.float64)
            level = volts / LEVELS * levels
            data = (volts - 2 * level if head["range"] >= BIPOLAR else -level) * factors[name]
            frames = data if len(data) > 1 else data[0]
            channels.append(Channel(name, frames, UNITS[name], step, "nm", head["frame_ms"] / 1000))
        start += shape[0] * frame
    return channels
