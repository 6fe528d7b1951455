"""How far strokes reach: what their lengths, widths and depths tell of the size of an object or an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy import ndimage

from napari_medseg.graphcut.level import THIN
from napari_medseg.refinement.boxes import Box, Voxels, inner, outer, widened

# found on the fit half of `benchmarks scribbles`; scripts/fit_refinement.py varies them
# A stroke of few brush widths was drawn across the object. A long one is as long as a hand goes and tells less of
# where the object ends: the margin is SPAN (length / width)^2 lengths, up to FAR lengths.
SPAN, FAR = 0.02, 5.0
# A stroke shorter than SHORT widths (a dot, one of a wide brush) tells where an object is, not how large. A longer one
# of less than HAND widths was drawn across about two thirds of an object or error, which then has about as many voxels
# as a square (cube) of the stroke's length, and a new object not more than ACROSS times as many.
SHORT, HAND, ACROSS = 7.5, 12.0, 1.1
FIRST_LOOK = 8.0  # distance within which depths are looked for first, doubled as needed
MANY = 32  # strokes that are looked at one by one


def count_of(seeds: Voxels, open_: Callable[[Box], np.ndarray], limits: Box, steps: tuple[float, ...]) -> float:
    """Return how many voxels strokes should change, of those that are `open_` to them within a box.

    Those as near to them as they are deep in what they contradict; where one short stroke was drawn across an error,
    the geometric mean of that and of what its length says.
    """
    depth = depth_of(seeds, open_, limits, steps)
    box = _about(seeds, depth, limits, steps)
    away = ndimage.distance_transform_edt(~seeds.within(box), steps)
    near = float(np.count_nonzero(open_(box) & (away <= depth)))
    return float(np.sqrt(near * (_across(seeds, steps) or near)))


def _about(seeds: Voxels, distance: float, limits: Box, steps: tuple[float, ...]) -> Box:
    """Return the box that reaches a distance beyond strokes, as far as `limits` go."""
    margins = [int(distance / step) + 1 for step in steps]
    return tuple(
        slice(max(limit.start, s.start - m), min(limit.stop, s.stop + m))
        for s, m, limit in zip(seeds.box, margins, limits, strict=True)
    )


def _across(strokes: Voxels, steps: tuple[float, ...]) -> float | None:
    """Return about how many voxels the piece has that one stroke was drawn across, ``None`` where it may go on."""
    first, *others = each(strokes)
    length, widths = _size(first, steps)
    return None if others or not SHORT <= widths < HAND else float(length ** len(steps) / np.prod(steps))


def is_short(strokes: Voxels, steps: tuple[float, ...]) -> bool:
    """Whether there is one stroke alone, so short that it does not tell how large its object is."""
    first, *others = each(strokes)
    return not others and _size(first, steps)[1] < SHORT


def each(seeds: Voxels) -> Iterator[Voxels]:
    """Yield the connected strokes of `seeds`; all at once when there are too many to look at each."""
    if not seeds:
        return
    pieces, count = ndimage.label(seeds.inside, np.ones((3,) * seeds.inside.ndim))
    if count > MANY:
        yield seeds
        return
    for number, box in enumerate(ndimage.find_objects(pieces), 1):
        yield Voxels(outer(box, seeds.box), pieces[box] == number)


def margin_of(stroke: Voxels, steps: tuple[float, ...]) -> float:
    """Return how far beyond a stroke its object may end, by length and width of the stroke."""
    length, widths = _size(stroke, steps)
    return float(length * min(FAR, SPAN * widths**2))


def most_of(strokes: Voxels, steps: tuple[float, ...], shape: tuple[int, ...]) -> float:
    """Return how many voxels a new object has at most; infinite where it may go over an edge of the image."""
    across = _across(strokes, steps)
    length = max(_size(stroke, steps)[0] for stroke in each(strokes))
    nearby = widened(strokes.box, [int(length / step) for step in steps], shape)
    at_edge = at_image_edge(nearby, shape)[np.array(shape) > THIN].any()
    return np.inf if across is None or at_edge else ACROSS * across


def _size(stroke: Voxels, steps: tuple[float, ...]) -> tuple[float, float]:
    """Return the length of a stroke in the unit of `steps`, and how many times its width it is.

    An axis along which it has one voxel adds nothing: a dot in a thick slice is a dot.
    """
    sizes, size = np.array(stroke.inside.shape), np.asarray(steps)
    wide = sizes > 1
    if not wide.any():
        return float(size.min()), 1.0
    length = float(np.linalg.norm((sizes * size)[wide]))
    area = np.count_nonzero(stroke.inside) * float(np.prod(size[wide]))
    width = float(area / length) ** (1 / max(1, int(np.count_nonzero(wide)) - 1))
    return length, length / width


def depth_of(seeds: Voxels, error: Callable[[Box], np.ndarray], limits: Box, steps: tuple[float, ...]) -> float:
    """Return the largest distance of a seed from the end of an error, bool of a box in `limits`, in `steps`' unit."""
    radius = FIRST_LOOK
    while True:
        box = _about(seeds, radius, limits, steps)
        inside = error(box)
        if not inside.all():
            away = ndimage.distance_transform_edt(inside, steps)[inner(seeds.box, box)]
            farthest = float(away[seeds.inside].max())
            if farthest <= radius or box == limits:
                return farthest
        elif box == limits:
            return radius
        radius *= 2


def at_image_edge(box: Box, shape: tuple[int, ...]) -> np.ndarray:
    """Return which sides of a box are edges of the image, bool (ndim, 2)."""
    return np.array([(s.start == 0, s.stop == n) for s, n in zip(box, shape, strict=True)])
