"""Polygons to label maps and back, on the pixel grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
from scipy import ndimage

Overlap = Literal["first", "last"]


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
    """

    rings: tuple[np.ndarray, ...]
    name: str = ""
    group: str = ""
    properties: dict[str, object] = field(default_factory=dict)


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
        rows, columns = _crossings(np.asarray(ring, float).reshape(-1, 2), low[0], high[0])
        entry = np.clip(np.ceil(columns) - low[1], 0, width).astype(int)
        np.bitwise_xor.at(toggles, (rows - low[0], entry), 1)
    return box, np.bitwise_xor.accumulate(toggles[:, :width], axis=1).view(bool)


def _crossings(ring: np.ndarray, first: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
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


def rasterise(regions: Iterable[Region], shape: tuple[int, int], overlap: Overlap = "first") -> np.ndarray:
    """Draw regions into labels 1 .. N (H, W), uint16, or uint32 above 65,535; every pixel has one owner.

    Parameters
    ----------
    regions
        In order; those outside the image or left without a pixel get no label.
    shape
        H and W.
    overlap
        Whether the first or the last region keeps the pixels of an overlap.
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
    if all(present):
        return labels
    lookup = np.concatenate([[0], np.cumsum(present)]).astype(np.uint16 if sum(present) < 2**16 else np.uint32)
    for row in labels:
        row[:] = lookup[row]
    return labels.astype(lookup.dtype, copy=False)


def outlines(labels: np.ndarray) -> Iterator[tuple[int, Region]]:
    """Yield each object's label and region; drawing the regions gives exactly `labels` back."""
    from skimage.measure import find_contours

    for index, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        mask = np.pad(labels[box] == index, 1).astype(np.float32)
        corner = [s.start - 1 for s in box]
        rings = tuple(ring[:-1] + corner for ring in find_contours(mask, 0.5))
        yield index, Region(rings, str(index))


def signed_area(ring: np.ndarray) -> float:
    """Return the area of a ring (n, 2), negative for the other orientation."""
    return float(0.5 * sum(a[1] * b[0] - b[1] * a[0] for a, b in pairwise([*ring, ring[0]])))


def ellipse(corners: np.ndarray, n: int = 64) -> np.ndarray:
    """Return the ellipse inside a box of four corners (4, 2), in order, as a ring (n, 2)."""
    centre, u, v = corners.mean(0), (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)[:, None]
    return np.asarray(centre + np.cos(angle) * u + np.sin(angle) * v)
