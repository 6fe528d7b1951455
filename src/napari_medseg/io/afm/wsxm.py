"""WSxM images (``.stp``, ``.top``): a text header of stated length, then doubles or 16-bit integers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.io.afm.scan import Channel, header_text, nm_per, split_quantity, stated_place

MAGIC = b"WSxM file copyright"
END = re.compile(rb"\[Header end\]\r?\n")
DTYPES = {"double": "<f8", "float": "<f4", "short": "<i2", "integer": "<i4"}


def is_wsxm(path: Path) -> bool:
    """Whether the file begins like a WSxM header."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_channels(path: Path) -> list[Channel]:
    """Read the one image of a WSxM file, which is stored turned by 180 degrees.

    Integers span the header's ``Z Amplitude``, floats are in the unit of that amplitude. Some programs count the size
    of their header wrongly: the numbers begin where it ends, unless the stated size fits the file.

    Raises
    ------
    ReadError
        If the header or the pixels are not complete.
    """
    content = path.read_bytes()
    size = re.search(rb"Image header size: (\d+)", content[:300])
    if not content.startswith(MAGIC) or size is None:
        raise ReadError(f"{path.name} is no WSxM image: its header is missing or cut short.")
    end = END.search(content)
    header = content[: int(size[1]) if end is None else end.end()]
    entries = dict(re.findall(r"^\s*([^:\r\n\[]+): ?([^\r\n]*)", header_text(header), re.MULTILINE))
    try:
        rows, columns = int(entries["Number of rows"]), int(entries["Number of columns"])
        dtype = np.dtype(DTYPES[entries.get("Image Data Type", "double" if path.suffix.lower() == ".stp" else "short")])
        stated = int(size[1]) + rows * columns * dtype.itemsize == len(content)
        start = int(size[1]) if stated else len(header)
        raw = np.frombuffer(content, dtype, rows * columns, start).reshape(rows, columns)
        (amplitude, *_), unit = split_quantity(entries["Z Amplitude"])
        (width, *_), size_unit = split_quantity(entries["X Amplitude"])
        (height, *_), height_unit = split_quantity(entries["Y Amplitude"])
    except (KeyError, ValueError) as error:
        raise ReadError(f"{path.name} is cut short or damaged: {error}. Copy it again.") from error
    if height_unit != size_unit:
        sizes = nm_per(height_unit), nm_per(size_unit)
        if sizes[0] is None or sizes[1] is None:
            raise ReadError(
                f"{path.name} gives its width in {size_unit!r} and its height in {height_unit!r}; expected lengths."
            )
        height *= sizes[0] / sizes[1]
    data = raw if dtype.kind == "f" else _stretch(raw, amplitude)
    name = entries.get("Acquisition channel", "Topography").strip()
    step = height / rows, width / columns
    turn, _ = split_quantity(entries.get("Angle", ""))
    offsets = [entries.get(f"{axis} Offset", "") for axis in "YX"]
    place, notes = stated_place(offsets, step, size_unit, raw.shape, turn[0] if turn else 0.0)
    return [Channel(name, data[::-1, ::-1], unit, step, size_unit, notes=notes, place=place)]


def _stretch(raw: np.ndarray, amplitude: float) -> np.ndarray:
    low, high = int(raw.min()), int(raw.max())
    return (raw - float(low)) * (amplitude / max(high - low, 1))
