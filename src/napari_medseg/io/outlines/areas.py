"""Areas of several rings: holes that overlap, and areas that do, as rings whose even-odd area they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_medseg.io.outlines.polygons import crossings, fill, outlines

MOST = 2**28  # pixels of areas of one object that overlap


def carved(outer: np.ndarray, holes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return rings whose even-odd area is what lies in `outer` (n, 2) and in none of the holes.

    Holes that overlap, or reach beyond `outer`, would be filled there by the even-odd rule: then the outlines of the
    pixels that are left are returned.

    Raises
    ------
    ValueError
        If such an area is larger than `MOST` pixels.
    """
    if not holes or not _entangled(outer, holes):
        return [outer, *holes]
    first = np.floor(outer.min(0))
    mask = filled([outer], first, _extent_of(first, outer.max(0)))
    for hole in holes:
        mask &= ~filled([hole], first, mask.shape)
    return _outlined(mask, first)


def _entangled(outer: np.ndarray, holes: Sequence[np.ndarray]) -> bool:
    """Whether a pixel lies in two holes, or in one and outside of `outer`."""
    events = [_spans(ring) for ring in (outer, *holes)]
    rows, columns, steps = (np.concatenate([event[k] for event in events]) for k in range(3))
    of_holes = np.arange(len(rows)) >= len(events[0][0])
    order = np.lexsort((columns, rows))
    rows, columns, steps, of_holes = rows[order], columns[order], steps[order], of_holes[order]
    inside, covered = np.cumsum(np.where(of_holes, 0, steps)), np.cumsum(np.where(of_holes, steps, 0))
    last = np.append((np.diff(rows) != 0) | (np.diff(columns) != 0), True)
    return bool(((covered > 1) | (covered > inside))[last].any())


def _spans(ring: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row and column of the pixels at which a ring is entered (step 1) and left (step -1), row by row."""
    low, high = int(np.floor(ring[:, 0].min())), int(np.ceil(ring[:, 0].max())) + 1
    if high - low > MOST:
        raise ValueError(f"an area with holes reaches over {high - low} rows")
    rows, columns = crossings(ring, low, high)
    columns = np.ceil(columns)
    order = np.lexsort((columns, rows))
    return rows[order], columns[order], np.resize([1, -1], len(rows))  # each row is crossed an even number of times


def united(polygons: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Return rings whose even-odd area is that of all polygons, each some rings, together.

    Raises
    ------
    ValueError
        If polygons that overlap are larger than `MOST` pixels.
    """
    if not _overlap(polygons):
        return [ring for polygon in polygons for ring in polygon]
    points = np.concatenate([ring for polygon in polygons for ring in polygon])
    first = np.floor(points.min(0))
    shape = _extent_of(first, points.max(0))
    whole = np.zeros(shape, bool)
    for polygon in polygons:
        whole |= filled(polygon, first, shape)
    return _outlined(whole, first)


def _overlap(polygons: Sequence[Sequence[np.ndarray]]) -> bool:
    """Whether two areas share a pixel."""
    boxes = np.array([[polygon[0].min(0), polygon[0].max(0)] for polygon in polygons]).reshape(-1, 2, 2)
    for k, (low, high) in enumerate(boxes[:-1]):
        for other in k + 1 + np.flatnonzero(((boxes[k + 1 :, 0] < high) & (boxes[k + 1 :, 1] > low)).all(1)):
            first = np.floor(np.maximum(low, boxes[other, 0]))
            shape = _extent_of(first, np.minimum(high, boxes[other, 1]))
            if (filled(polygons[k], first, shape) & filled(polygons[int(other)], first, shape)).any():
                return True
    return False


def _outlined(mask: np.ndarray, first: np.ndarray) -> list[np.ndarray]:
    """Return the outlines of the pixels of a mask whose first one is at `first`."""
    return [ring + first for _, region in outlines(mask.view(np.uint8)) for ring in region.rings]


def _extent_of(first: np.ndarray, last: np.ndarray) -> tuple[int, int]:
    height, width = (int(n) for n in np.ceil(last - first) + 1)
    if height * width > MOST:
        raise ValueError(f"areas of one object overlap over {height}x{width} pixels")
    return height, width


def filled(rings: Sequence[np.ndarray], first: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the pixels (bool) inside rings, by the even-odd rule, in a box that begins at `first`."""
    mask = np.zeros(shape, bool)
    box, part = fill([ring - first for ring in rings], (shape[0], shape[1]))
    mask[box] = part
    return mask
