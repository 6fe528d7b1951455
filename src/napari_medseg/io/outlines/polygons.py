"""Polygons to label maps and back, on the pixel grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from napari_medseg.errors import some_of
from napari_medseg.image import OBJECTS, Image

Overlap = Literal["first", "last"]
NAMED = 5  # outlines that a sentence names


@dataclass(frozen=True)
class Region:
    """One outlined object.

    Parameters
    ----------
    rings
        Outlines float64 (n, 2) of (row, column) in pixels, where a pixel's centre has whole coordinates; a point
        inside an odd number of rings is inside, so holes are further rings.
    name, group
        The object's own name and that of its class or annotation layer.
    properties
        What else the file says of it.
    number
        The label it is drawn with; 0: its place in the order.
    plane
        Frame and slice (t, z) it lies on.
    around
        Outlines of the cell around it, where it is a nucleus.
    identity
        The object's id in the file.
    """

    rings: tuple[np.ndarray, ...]
    name: str = ""
    group: str = ""
    properties: dict[str, Any] = field(default_factory=dict)
    number: int = 0
    plane: tuple[int, int] = (0, 0)
    around: tuple[np.ndarray, ...] = ()
    identity: str = ""

    @property
    def kind(self) -> str:
        """QuPath's kind of object: annotation, detection, cell, ...; empty where it is not stated."""
        return str(self.properties.get("objectType", ""))


@dataclass(frozen=True)
class Drawing:
    """The outlines of a file.

    Parameters
    ----------
    regions
        In the order of the file.
    microns
        Micrometres per pixel, ``None`` where the file does not say.
    notes
        Sentences on what was left out.
    """

    regions: tuple[Region, ...]
    microns: float | None = None
    notes: tuple[str, ...] = ()


def fill(rings: Sequence[np.ndarray], shape: tuple[int, int]) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return the box and mask of the pixels of an image `shape` whose centres are inside by the even-odd rule.

    Works per edge and row, so self-crossing outlines, outlines leaving the image and many vertices are all fine.
    """
    points = np.concatenate([np.asarray(ring, float).reshape(-1, 2) for ring in rings])
    low = np.clip(np.floor(points.min(0)), 0, shape).astype(int)
    high = np.clip(np.ceil(points.max(0)) + 1, low, shape).astype(int)
    box = (slice(low[0], high[0]), slice(low[1], high[1]))
    height, width = high - low
    toggles = np.zeros((height, width + 1), np.uint8)
    for ring in rings:
        rows, columns = crossings(np.asarray(ring, float).reshape(-1, 2), low[0], high[0])
        entry = np.clip(np.ceil(columns) - low[1], 0, width).astype(int)
        np.bitwise_xor.at(toggles, (rows - low[0], entry), 1)
    return box, np.bitwise_xor.accumulate(toggles[:, :width], axis=1).view(bool)


def crossings(ring: np.ndarray, first: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Return row and column of every crossing of the closed ring with the rows first .. stop - 1."""
    start, end = ring, np.roll(ring, -1, 0)
    upper = np.where((start[:, 0] <= end[:, 0])[:, None], start, end)
    lower = np.where((start[:, 0] <= end[:, 0])[:, None], end, start)
    begin = np.clip(np.ceil(upper[:, 0]), first, stop).astype(int)
    counts = np.maximum(np.clip(np.ceil(lower[:, 0]), first, stop).astype(int) - begin, 0)
    edge = np.repeat(np.arange(len(ring)), counts)
    rows = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + begin[edge]
    rise = (lower[edge] - upper[edge]).T
    return rows, upper[edge, 1] + (rows - upper[edge, 0]) / rise[0] * rise[1]


def moved(drawing: Drawing, matrix: np.ndarray, shift: np.ndarray | float = 0.0) -> Drawing:
    """Return a drawing with every point brought to ``matrix @ (row, column, 1) + shift``."""

    def at(rings: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        return tuple(ring @ matrix[:2, :2].T + matrix[:2, 2] + shift for ring in rings)

    regions = (replace(one, rings=at(one.rings), around=at(one.around)) for one in drawing.regions)
    return replace(drawing, regions=tuple(regions))


def number_of(name: str) -> int:
    """Return the label that a name states, 0 if it is none."""
    return int(name) if name.isascii() and name.isdigit() and len(name) < 11 and int(name) < 2**32 else 0


def rasterise(regions: Iterable[Region], shape: tuple[int, int], overlap: Overlap = "first") -> np.ndarray:
    """Draw regions into labels (H, W); see `draw`."""
    return draw(regions, shape, overlap)[0]


def draw(
    regions: Iterable[Region], shape: tuple[int, int], overlap: Overlap = "first"
) -> tuple[np.ndarray, dict[int, Region], list[Region]]:
    """Draw regions into labels (H, W), uint16, or uint32 above 65,535; every pixel has one owner.

    Parameters
    ----------
    regions
        In order. If all have a number of their own, these are the labels, else 1 .. N; those outside the image or left
        without a pixel get none.
    shape
        H and W.
    overlap
        Whether the first or the last region keeps the pixels of an overlap.

    Returns
    -------
    labels, owners, lost
        The labels; the region of each label; the regions without a pixel.
    """
    regions = list(regions)
    labels = np.zeros(shape, np.uint16 if len(regions) < 2**16 else np.uint32)
    boxes = []
    for index, region in enumerate(regions, 1):
        box, mask = fill(region.rings, shape)
        part = labels[box]
        part[mask & (part == 0) if overlap == "first" else mask] = index
        boxes.append(box)
    present = [bool((labels[box] == index).any()) for index, box in enumerate(boxes, 1)]
    kept = [region for region, there in zip(regions, present, strict=True) if there]
    lost = [region for region, there in zip(regions, present, strict=True) if not there]
    numbers = _numbers(kept)
    lookup = np.zeros(len(regions) + 1, np.uint16 if max(numbers, default=0) < 2**16 else np.uint32)
    lookup[1:][present] = numbers
    if not np.array_equal(lookup, np.arange(len(lookup))):
        labels = labels.astype(lookup.dtype)
        for row, indices in zip(labels, labels.copy(), strict=True):
            row[:] = lookup[indices]
    return labels, dict(zip(numbers, kept, strict=True)), lost


def _numbers(regions: Sequence[Region]) -> list[int]:
    """Return the labels of regions: their own numbers if all have one and none is shared, else 1 .. N."""
    own = [region.number for region in regions]
    return own if own and min(own) > 0 and len(set(own)) == len(own) else list(range(1, len(regions) + 1))


def contains(rings: Sequence[np.ndarray], point: np.ndarray) -> bool:
    """Whether a point (row, column) is inside an odd number of rings."""
    inside = 0
    for ring in rings:
        start, end = ring - point, np.roll(ring, -1, 0) - point
        crosses = (start[:, 0] > 0) != (end[:, 0] > 0)
        start, end = start[crosses], end[crosses]
        columns = start[:, 1] - start[:, 0] * (end[:, 1] - start[:, 1]) / (end[:, 0] - start[:, 0])
        inside += int((columns > 0).sum())
    return bool(inside % 2)


def boxes_of(labels: np.ndarray) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Yield each id of a label map (any number of axes) and the box that holds it; ids may be large."""
    from scipy import ndimage

    top = int(labels.max()) if labels.size else 0
    if top <= max(labels.size, 2**16):
        yield from ((k, box) for k, box in enumerate(ndimage.find_objects(labels), 1) if box is not None)
        return
    ids, numbers = np.unique(labels, return_inverse=True)
    numbers = numbers.reshape(labels.shape) + int(ids[0] > 0)
    for index, box in zip(ids[ids > 0], ndimage.find_objects(numbers), strict=True):
        yield int(index), box


def outlines(labels: np.ndarray) -> Iterator[tuple[int, Region]]:
    """Yield each object's label and region; drawing the regions gives exactly `labels` back."""
    from skimage.measure import find_contours

    for index, box in boxes_of(labels):
        mask = np.pad(labels[box] == index, 1).astype(np.float32)
        corner = [s.start - 1 for s in box]
        rings = tuple(ring[:-1] + corner for ring in find_contours(mask, 0.5))
        yield index, Region(rings, str(index), number=index)


def objects_of(image: Image) -> np.ndarray:
    """Return the labels whose values are objects, as they are measured: a mask becomes its 8-connected components."""
    from scipy import ndimage

    labels = np.asarray(image.data)
    values = np.unique(labels)
    if len(values[values != 0]) != 1 or image.metadata.get(OBJECTS):
        return labels
    pieces, count = ndimage.label(labels, np.ones((3,) * labels.ndim))
    return labels if count == 1 else np.asarray(pieces)


def outlines_left_out(names: Sequence[str], total: int, why: str = "enclose nothing") -> str:
    """Say which of `total` outlines were left out, like *3 of 128 outlines enclose nothing: a, b, c*."""
    return f"{len(names)} of {total} outlines {why}: {some_of(names, NAMED)}."


def signed_area(ring: np.ndarray) -> float:
    """Return the area of a ring (n, 2), negative for the other orientation."""
    return float(0.5 * sum(a[1] * b[0] - b[1] * a[0] for a, b in pairwise([*ring, ring[0]])))


def ellipse(corners: np.ndarray, n: int = 64) -> np.ndarray:
    """Return the ellipse inside a box of four corners (4, 2), in order, as a ring (n, 2)."""
    centre, u, v = corners.mean(0), (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)[:, None]
    return np.asarray(centre + np.cos(angle) * u + np.sin(angle) * v)
