"""The header of an NRRD file: its fields, its keys and values, and where the voxels begin."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from napari_medseg.errors import ReadError

HEADER_BYTES = 2**20
WITH_TIME = 4


@dataclass(frozen=True)
class Header:
    """Fields of an NRRD file (lower case), its keys and values, and where its voxels begin."""

    path: Path
    fields: Mapping[str, str]
    keys: Mapping[str, str]
    begin: int
    sizes: tuple[int, ...] = field(default=())

    def words(self, name: str) -> list[str]:
        """Return the entries of a field, vectors ``(x,y,z)`` and quoted texts in one piece."""
        return re.findall(r'\([^)]*\)|"[^"]*"|[^\s"()]+', self.fields.get(name, ""))

    def numbers(self, name: str) -> list[float]:
        """Return the entries of a field as numbers, NaN for what is none."""
        return [number_of(word) for word in self.words(name)]

    def vectors(self, name: str) -> list[np.ndarray | None]:
        """Return the vectors of a field, ``None`` for ``none`` and for what holds no finite numbers."""
        found = []
        for word in self.words(name):
            vector = np.array([number_of(part) for part in word.strip("()").split(",")])
            if self.timed and len(vector) == WITH_TIME:  # the last number of a space with time is not of space
                vector = vector[:-1]
                of_time = not vector.any() and name == "space directions"
                word = "none" if of_time else word
            found.append(vector if word.startswith("(") and np.isfinite(vector).all() else None)
        return found

    @property
    def timed(self) -> bool:
        """Whether the space of the file has time as its last axis."""
        return self.fields.get("space", "").lower().endswith(("-time", "rast", "last", "lpst"))


def read_header(path: Path) -> Header:
    """Read the fields of an NRRD file; texts that are no UTF-8 are read as Latin-1 (the micro sign).

    Raises
    ------
    ReadError
        If the file does not begin like NRRD, or has no end of the header.
    """
    with path.open("rb") as file:
        content = file.read(HEADER_BYTES)
    if not re.match(rb"NRRD000\d\r?\n", content):
        raise ReadError(f"{path.name} does not begin as an NRRD file does (NRRD000...). It is damaged or another kind.")
    end = re.search(rb"\r?\n\r?\n", content)
    if end is None and path.suffix.lower() != ".nhdr":
        raise ReadError(f"{path.name} has a header without an end. It is cut short or damaged; copy it again.")
    raw = content[: end.start() if end else None]
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    for line in text.splitlines()[1:]:
        if line.startswith("#") or ":" not in line:
            if fields.get("data file", "").upper().startswith("LIST") and line.strip() and not line.startswith("#"):
                keys.setdefault("\nfiles", "")
                keys["\nfiles"] += line.strip() + "\n"
            continue
        before, separator, after = re.split(r"(:=|:)", line, maxsplit=1)
        if separator == ":=":
            keys[before] = after
        else:
            key = {"datafile": "data file", "byteskip": "byte skip", "lineskip": "line skip"}.get(
                before.strip().lower(), before.strip().lower()
            )
            fields[key] = after.strip()
    header = Header(path, fields, keys, end.end() if end else len(content))
    sizes = header.numbers("sizes")
    dimension = header.fields.get("dimension", "")
    if not sizes or any(n != int(n) for n in sizes if np.isfinite(n)) or not np.isfinite(sizes).all():
        raise ReadError(f"{path.name} states no sizes of its axes. Its header is damaged; copy it again.")
    if dimension.isdigit() and int(dimension) != len(sizes):
        raise ReadError(f"{path.name} declares {dimension} axes and the sizes of {len(sizes)}. Its header is damaged.")
    return Header(path, fields, keys, header.begin, tuple(int(n) for n in sizes))


def number_of(text: str) -> float:
    """Return a number, NaN for a text that is none."""
    try:
        return float(text.strip('"'))
    except ValueError:
        return float("nan")
