"""Park Systems scans: a TIFF whose picture is a coloured thumbnail; the heights lie in private tags.

A value is ``gain * (scale * raw + offset)`` in the unit of the header, rows are stored bottom first; where the fast
axis is the vertical one, what is stored as a row is a column. Layout as in Gwyddion's ``psia`` and SurfaceTopography's
``PS`` readers.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.io.afm.scan import Channel, place_of

MAGIC_TAG, MAGIC, DATA_TAG, HEADER_TAG = 50432, 0x0E031301, 50434, 50435
VERSION_TAG, TYPED_VERSION = 50433, 0x1000002
KIND, NAME, SIZE, ANGLE, FORWARD, SWAPPED, EXTENT, SCALE, UNIT, TYPED = (  # offsets in the header
    0, 4, 100, 108, 128, 136, 140, 220, 244, 348,
)  # fmt: skip
DTYPES = {0: "<i2", 1: "<i4", 2: "<f4"}
LINE_PROFILE = 1


def is_park(path: Path) -> bool:
    """Whether a TIFF holds the private tags of Park Systems."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            tags = tiff.pages[0].tags
            return MAGIC_TAG in tags and tags[MAGIC_TAG].value == MAGIC and DATA_TAG in tags and HEADER_TAG in tags
    except Exception:  # a damaged TIFF, which raises anything: the next reader says so
        return False


def read_channels(path: Path) -> list[Channel]:
    """Read the one channel of a Park TIFF.

    Raises
    ------
    ReadError
        If it is a line profile or a curve, or the tags are not complete.
    """
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages[0].tags
        header, stored = _bytes(tags[HEADER_TAG]), _bytes(tags[DATA_TAG])
        typed = VERSION_TAG in tags and int(tags[VERSION_TAG].value) == TYPED_VERSION
    try:
        (kind,) = struct.unpack_from("<I", header, KIND)
        columns, rows = struct.unpack_from("<II", header, SIZE)
        (forward,), (swapped,) = struct.unpack_from("<I", header, FORWARD), struct.unpack_from("<I", header, SWAPPED)
        width, height, x, y = struct.unpack_from("<4d", header, EXTENT)
        (degrees,) = struct.unpack_from("<d", header, ANGLE)
        gain, scale, offset = struct.unpack_from("<ddd", header, SCALE)
        dtype = DTYPES[struct.unpack_from("<I", header, TYPED)[0] if typed else 0]
        if kind == LINE_PROFILE:
            raise ReadError(f"{path.name} holds a line profile of a Park scan and no image. Give the scan itself.")
        raw = np.frombuffer(stored, dtype, rows * columns).reshape(rows, columns)[::-1]
    except (struct.error, ValueError, KeyError) as error:
        raise ReadError(f"{path.name} is a Park scan that is cut short or damaged: {error}. Copy it again.") from error
    if rows * columns == 0 or not all(map(math.isfinite, (gain, scale, offset))):
        raise ReadError(f"{path.name} is a damaged Park scan of {columns}x{rows} pixels. Copy it again.")
    name = (_text(header, NAME, 32) or "Height") + ("" if forward else "_backward")
    data, step = gain * ((scale or 1.0) * raw.astype(np.float64) + offset), (height / rows, width / columns)
    if swapped:
        data, step = np.rot90(data), step[::-1]
    place, notes = place_of((y, x), step, data.shape, degrees)
    return [Channel(name, data, _text(header, UNIT, 8) or "um", step, "um", notes=notes, place=place)]


def _bytes(tag: Any) -> bytes:
    value = tag.value
    return value if isinstance(value, bytes) else bytes(value)


def _text(header: bytes, start: int, length: int) -> str:
    return header[start : start + 2 * length].decode("utf-16-le", "replace").split("\0")[0].strip()
