"""Aperio ImageScope XML annotations; document types and entities are refused, never resolved."""

from __future__ import annotations

import math
from pathlib import Path
from xml.parsers import expat

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.io.outlines.polygons import Region

MIN_VERTICES = 3


class _Collector:
    """Handlers of the streaming parser: regions in document order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.regions: list[Region] = []
        self.microns: float | None = None
        self.root = ""
        self._group = self._name = ""
        self._points: list[tuple[float, float]] | None = None
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.StartDoctypeDeclHandler = self.refuse
        self.parser.EntityDeclHandler = self.refuse
        self.parser.ExternalEntityRefHandler = self.refuse

    def refuse(self, *_: object) -> int:
        raise ReadError(
            f"{self.path.name} declares a document type or entity, which annotation files never need; it was not read. "
            "Export the annotations again from ImageScope."
        )

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self.root:
            self.root = tag
            self.microns = _positive(attributes.get("MicronsPerPixel"))
        if tag == "Annotation":
            self._group = attributes.get("Name", "")
        elif tag == "Region":
            self._name, self._points = attributes.get("Id", str(len(self.regions) + 1)), []
        elif tag == "Vertex" and self._points is not None:
            self._points.append((self._coordinate(attributes, "Y"), self._coordinate(attributes, "X")))

    def end(self, tag: str) -> None:
        if tag == "Region" and self._points is not None:
            if len(self._points) >= MIN_VERTICES:
                self.regions.append(Region((np.asarray(self._points, float),), self._name, self._group))
            self._points = None

    def _coordinate(self, attributes: dict[str, str], key: str) -> float:
        try:
            value = float(attributes[key])
        except (KeyError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise ReadError(
                f"{self.path.name}, line {self.parser.CurrentLineNumber}: a vertex of region {self._name} has "
                f"{key}={attributes.get(key)!r}; expected a number. Export the annotations again."
            )
        return value


def read_regions(path: Path) -> tuple[list[Region], float | None]:
    """Return every region with at least 3 vertices in document order, and the microns per pixel if stated.

    Raises
    ------
    ReadError
        If the file is no well-formed ImageScope XML, a vertex has no coordinates, or it declares entities.
    """
    collector = _Collector(path)
    try:
        with path.open("rb") as file:
            collector.parser.ParseFile(file)
    except expat.ExpatError as error:
        raise ReadError(
            f"{path.name} is no well-formed XML ({error}). It may be cut short; export it again."
        ) from error
    if collector.root != "Annotations":
        raise ReadError(f"{path.name} has the root <{collector.root}>; expected ImageScope's <Annotations>.")
    return collector.regions, collector.microns


def is_imagescope(path: Path) -> bool:
    """Whether the file's beginning looks like ImageScope annotations."""
    with path.open("rb") as file:
        head = file.read(65536)
    return b"<Annotations" in head or b"<!DOCTYPE Annotations" in head


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None
