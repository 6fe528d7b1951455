"""XML annotations of Aperio ImageScope, of HALO, which differ in names, and of ASAP; document types are refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from xml.parsers import expat

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.io.outlines.areas import carved
from napari_medseg.io.outlines.polygons import Drawing, Region, contains, ellipse, outlines_left_out

MIN_VERTICES = 3
VERTICES = ("Vertex", "V", "Coordinate")  # of ImageScope, HALO and ASAP
ASAP = "ASAP_Annotations"
RECTANGLES, ELLIPSES = ("1", "Rectangle"), ("2", "Ellipse")  # two vertices are opposite corners
OPEN = ("3", "4", "5", "Dot", "PointSet", "Measurement")  # arrow, ruler and counter; what ASAP has besides areas


class _Collector:
    """Handlers of the streaming parser: regions in document order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.regions: list[Region] = []
        self.negative: list[tuple[int, np.ndarray]] = []
        self.layers: list[int] = []  # that each region lies on
        self.left_out: list[str] = []
        self.microns: float | None = None
        self.root = ""
        self._group = self._name = ""
        self._layer = 0
        self._type, self._negative = "0", False
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
        if self.root == ASAP and tag == "Annotation":
            self._layer += 1
            self._name, self._points = attributes.get("Name", str(len(self.regions) + 1)), []
            self._type, self._group = attributes.get("Type", "Polygon"), attributes.get("PartOfGroup", "")
        elif tag == "Annotation":
            self._group, self._layer = attributes.get("Name", ""), self._layer + 1
        elif tag == "Region":
            self._name, self._points = attributes.get("Id", str(len(self.regions) + 1)), []
            self._type = attributes.get("Type", "0")
            self._negative = attributes.get("NegativeROA", "0").strip().lower() in ("1", "true")
        elif tag in VERTICES and self._points is not None:
            self._points.append((self._coordinate(attributes, "Y"), self._coordinate(attributes, "X")))

    def end(self, tag: str) -> None:
        if tag != ("Annotation" if self.root == ASAP else "Region") or self._points is None:
            return
        ring, self._points = self._ring(np.asarray(self._points, float).reshape(-1, 2)), None
        if ring is None:
            self.left_out.append(f"region {self._name}")
        elif self._negative:
            self.negative.append((self._layer, ring))
        else:
            self.layers.append(self._layer)
            self.regions.append(Region((ring,), self._name, self._group))

    def _ring(self, points: np.ndarray) -> np.ndarray | None:
        """Return the outline of the vertices (n, 2) of a region, ``None`` where they enclose nothing."""
        if len(points) == 2 and self._type in (*RECTANGLES, *ELLIPSES):
            (top, left), (bottom, right) = points.min(0), points.max(0)
            points = np.array([(top, left), (top, right), (bottom, right), (bottom, left)])
        if self._type in ELLIPSES and len(points) == 4:
            points = ellipse(points)
        return points if len(points) >= MIN_VERTICES and self._type not in OPEN else None

    def drawing(self) -> Drawing:
        """Return the regions, those that are marked as not belonging cut out of what they touch.

        That is what lies on their own layer, or, where they touch nothing there, on any.
        """
        holes: list[list[np.ndarray]] = [[] for _ in self.regions]
        for layer, ring in self.negative:
            touched = [k for k, region in enumerate(self.regions) if _touch(region.rings[0], ring)]
            own = [k for k in touched if self.layers[k] == layer]
            for k in own or touched:
                holes[k].append(ring)
        try:
            areas = [carved(region.rings[0], cut) for region, cut in zip(self.regions, holes, strict=True)]
        except ValueError as error:
            raise ReadError(f"{self.path.name}: {error}. Draw excluded regions that do not overlap.") from error
        cut = [replace(region, rings=tuple(rings)) for region, rings in zip(self.regions, areas, strict=True)]
        self.left_out += [f"region {region.name}" for region in cut if not region.rings]
        regions = [region for region in cut if region.rings]
        found = len(self.left_out)
        notes = (f"{self.path.name}: {outlines_left_out(self.left_out, found + len(regions))}",) if found else ()
        return Drawing(tuple(regions), self.microns, notes)

    def _coordinate(self, attributes: dict[str, str], key: str) -> float:
        try:
            value = float(attributes[key].replace(",", "."))  # a decimal comma of European systems
        except (KeyError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise ReadError(
                f"{self.path.name}, line {self.parser.CurrentLineNumber}: a vertex of region {self._name} has "
                f"{key}={attributes.get(key)!r}; expected a number. Export the annotations again."
            )
        return value


def _touch(ring: np.ndarray, hole: np.ndarray) -> bool:
    """Whether two outlines share some place."""
    apart = (ring.max(0) < hole.min(0)).any() or (hole.max(0) < ring.min(0)).any()
    return not apart and (any(contains([ring], p) for p in hole) or any(contains([hole], p) for p in ring))


def read_regions(path: Path) -> Drawing:
    """Return every region that encloses something, in document order, and the microns per pixel if stated.

    Raises
    ------
    ReadError
        If the file is no well-formed XML of these, a vertex has no coordinates, it declares entities, or none of its
        regions encloses anything.
    """
    collector = _Collector(path)
    try:
        with path.open("rb") as file:
            collector.parser.ParseFile(file)
    except expat.ExpatError as error:
        raise ReadError(
            f"{path.name} is no well-formed XML ({error}). It may be cut short; export it again."
        ) from error
    if collector.root not in ("Annotations", ASAP):
        raise ReadError(
            f"{path.name} has the root <{collector.root}>; expected <Annotations> of ImageScope or <{ASAP}> of ASAP."
        )
    if collector.left_out and not collector.regions:
        raise ReadError(
            f"{path.name}: none of its {len(collector.left_out)} regions encloses anything (lines, points or vertices "
            "of another program). Draw outlines, or export them from ImageScope again."
        )
    return collector.drawing()


def is_imagescope(path: Path) -> bool:
    """Whether the file's beginning looks like ImageScope annotations."""
    with path.open("rb") as file:
        head = file.read(65536).replace(b"\0", b"")  # of UTF-16
    return b"<Annotations" in head or b"<!DOCTYPE Annotations" in head


def _positive(text: str | None) -> float | None:
    try:
        value = float((text or "nan").replace(",", "."))  # a decimal comma of European systems
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None
