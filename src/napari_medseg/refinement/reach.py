"""How far new strokes reach.

Where the class is not in the mask yet, up to the clearest border in the image; where no border is clear, one that makes
an object of about twice the stroke's extent is preferred. Where it is, a stroke in the middle of
an error is about as far from the mask's border as the error is wide: strokes change as many voxels as lie, each stroke
by itself, within 1.2 times that way (at least twice their own), but those that are nearest along the image. The border
lies between voxels, so the way is half a voxel short: a rim one voxel thin takes in nothing behind it. Erasing in an
image whose classes look different reaches up to three times as far, since appearance decides besides.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from napari_medseg.refinement.history import Box, box_of, widened

DEPTH, LENGTH, LEAST = 1.2, 1 / 3, 2.0
BESIDE = 0.5
MANY = 32
ERASE = 3.0
TOLD_APART = (0.4, 0.7)
COARSE, SHORT = 120_000, 16
START = 8.0

BITS = 18
NOISE = 0.05
SIGMAS = 2.0
CLEAR, CLEAR_BY_ITSELF = 0.5, 0.9
LIKELY, SPREAD = {2: 0.5, 3: 0.4}, 0.5
LINE = 2.5
NEIGHBOURS = 8
SHELL = 2.0
LEVELS = 96
FEWEST = 40
FLAT = 0.05


def reach_into_mask(
    d: np.ndarray, seeds: np.ndarray, own: np.ndarray, open_: np.ndarray, spacing: tuple[float, ...], most: float
) -> float:
    """Return the geodesic distance up to which strokes change an error of a mask that holds their class elsewhere.

    Parameters
    ----------
    d
        Geodesic distance (*spatial) to the strokes of the class.
    seeds, own, open_
        New strokes outside their class, voxels that have it, and voxels that may change; bool (*spatial).
    most
        Largest number of voxels to change, but for the least.
    """
    count = int(np.count_nonzero(seeds))
    around = 0
    for stroke in _strokes(seeds):
        way = depth(stroke, own, spacing) - BESIDE * min(spacing)
        around += voxels_within(stroke, open_, DEPTH * way, spacing)
    return _nth(d[open_], max(LEAST * count, min(around, most)))


def _strokes(seeds: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the connected strokes (bool) of `seeds`; all at once when there are too many to look at each."""
    found = box_of(seeds)
    assert found is not None  # callers have seeds
    pieces, count = ndimage.label(seeds[found], np.ones((3,) * seeds.ndim))
    if count > MANY:
        yield seeds
        return
    for number in range(1, count + 1):
        stroke = np.zeros_like(seeds)
        stroke[found] = pieces == number
        yield stroke


def reach_alone(d: np.ndarray, seeds: np.ndarray, open_: np.ndarray, spacing: tuple[float, ...]) -> float:
    """Return the same where nothing shows the size: a third of the strokes' extent to all sides."""
    found = box_of(seeds)
    assert found is not None  # there are seeds
    extent = max((s.stop - s.start) * step for s, step in zip(found, spacing, strict=True))
    around = voxels_within(seeds, open_, LENGTH * extent, spacing)
    return _nth(d[open_], max(LEAST * np.count_nonzero(seeds), around))


def drawn_length(strokes: np.ndarray, spacing: tuple[float, ...]) -> float | None:
    """Return the longest side of the box around strokes, bool (*spatial); ``None``: dots, which tell no size."""
    found = box_of(strokes)
    if found is None:
        return None
    sides = [int(s.stop) - int(s.start) for s in found]
    long = max(sides)
    thickness = (np.count_nonzero(strokes) / long) ** (1 / max(1, sum(side > 1 for side in sides) - 1))
    if long < LINE * thickness:
        return None
    return max(side * step for side, step in zip(sides, spacing, strict=True))


def likely_size(seeds: np.ndarray, open_: np.ndarray, spacing: tuple[float, ...]) -> float | None:
    """Return how many voxels an object around strokes is likely to have; ``None``: dots do not tell.

    People draw along an object, over half of its length or more: it holds the voxels within about half the strokes'
    length. `seeds`, `open_` are bool (*spatial), strokes and voxels that may change.
    """
    length = drawn_length(seeds, spacing)
    if length is None:
        return None
    around = voxels_within(seeds, open_, LIKELY[seeds.ndim] * length, spacing)
    return max(LEAST * np.count_nonzero(seeds), around)


def erasing(separability: float) -> float:
    """Return how much farther strokes reach that give voxels back to the background."""
    low, high = TOLD_APART
    return 1 + (ERASE - 1) * float(np.clip((separability - low) / (high - low), 0, 1))


def _nth(values: np.ndarray, n: float) -> float:
    if n >= values.size:
        return float("inf")
    return float(np.partition(values, int(n))[int(n)])


# ---- sizes, on a grid thinned out where it is large
def depth(seeds: np.ndarray, own: np.ndarray, spacing: tuple[float, ...]) -> float:
    """Return the largest physical distance of a seed from `own` (which holds a voxel), bool (*spatial) both."""
    radius = START * min(spacing)
    while True:
        box = _around(seeds, radius, spacing)
        whole = all(s.start == 0 and s.stop == n for s, n in zip(box, seeds.shape, strict=True))
        step = _thinning(box)
        thin = tuple(slice(s.start, s.stop, n) for s, n in zip(box, step, strict=True))
        inside = own[thin]
        if inside.any():
            way = ndimage.distance_transform_edt(~inside, step * spacing)
            places = tuple((np.argwhere(seeds[box]) // step).T)
            farthest = float(way[places].max())
            if farthest <= radius or whole:
                return farthest
            radius = 1.01 * farthest
        elif whole:
            return radius
        else:
            radius *= 2


def voxels_within(seeds: np.ndarray, open_: np.ndarray, radius: float, spacing: tuple[float, ...]) -> int:
    """Return about how many voxels of `open_` lie within `radius` (physical) of `seeds`, bool (*spatial) both."""
    box = _around(seeds, radius, spacing)
    step = _thinning(box)
    cells = np.argwhere(seeds[box]) // step
    inside = open_[tuple(slice(s.start, s.stop, n) for s, n in zip(box, step, strict=True))]
    far = np.ones(inside.shape, bool)
    far[tuple(cells.T)] = False
    near = ndimage.distance_transform_edt(far, step * spacing) <= radius
    return int(np.count_nonzero(near & inside) * np.prod(step))


def _around(seeds: np.ndarray, radius: float, spacing: tuple[float, ...]) -> Box:
    found = box_of(seeds)
    assert found is not None  # callers have seeds
    return widened(found, [int(radius / step) + 1 for step in spacing], seeds.shape)


def _thinning(box: Box) -> np.ndarray:
    """Return the step of each axis on which about `COARSE` voxels of a box are left; short axes keep all of theirs."""
    sizes = np.array([int(s.stop) - int(s.start) for s in box])
    long = sizes >= SHORT
    step = int(np.ceil((np.prod(sizes) / COARSE) ** (1 / max(1, int(np.count_nonzero(long))))))
    return np.where(long, max(1, step), 1)


# ---- the clearest border
def clearest_border(d: np.ndarray, features: np.ndarray, likely: float | None = None, ndim: int = 2) -> float | None:
    """Return the distance at which the region grown from the strokes has its first clear border.

    For growing n, the n nearest voxels are compared with the shell of the next n: the contrast is the difference of
    their means, less what chance makes, over the root of their variances. The first local maximum that is clear enough
    counts. Without one the largest counts, weighed by how near n is to the likely size: a log-normal of standard
    deviation `SPREAD` in the radius. ``None``: no contrast at all, or too few voxels to tell.

    Parameters
    ----------
    d
        Distances (N,) of the voxels that may change, 0 at strokes.
    features
        Intensities (C, N) in [0, 1].
    likely
        Likely size in voxels, if it is known: then only a border that is clear by itself counts for being the first.
    ndim
        Number of spatial axes.
    """
    if d.size < FEWEST:
        return None
    bins = np.ascontiguousarray(d, np.float32).view(np.int32) >> BITS  # logarithmic: 32 per octave, monotonic
    lowest = bins.min()
    bins = bins - lowest
    count = np.cumsum(np.bincount(bins).astype(np.float64))
    strokes = float(np.count_nonzero(d == 0))
    smallest = max(12.0, 1.3 * strokes)
    if smallest * 1.1 > count[-1]:
        return None
    levels = np.searchsorted(count, np.geomspace(smallest, count[-1] / 1.05, LEVELS))
    levels = np.unique(np.minimum(levels, len(count) - 2))
    contrast = _contrast(bins, count, features, levels)
    if levels[0] < 0 or contrast.max() < FLAT:
        return None
    best = _first_peak(contrast, CLEAR if likely is None else CLEAR_BY_ITSELF)
    if best is None:
        off = 0 if likely is None else np.log(count[levels] / likely) / ndim / SPREAD
        best = int((contrast * np.exp(-0.5 * np.square(off))).argmax())
    fine = np.arange(levels[max(0, best - 1)], levels[min(len(levels) - 1, best + 1)] + 1)
    values = _contrast(bins, count, features, fine)
    level = int(fine[np.flatnonzero(values >= 0.999 * values.max())[-1]])
    return float(np.int32((level + 1 + int(lowest)) << BITS).view(np.float32))  # the level's upper end


def _contrast(bins: np.ndarray, count: np.ndarray, features: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Return the contrast (RMS over channels) between the bins up to `inner` and the shell around them."""
    outer = np.searchsorted(count, np.minimum(count[inner] * SHELL + 8, count[-1]))
    outer = np.maximum(np.minimum(outer, len(count) - 1), inner + 1)
    n_in, n_out = count[inner], np.maximum(count[outer] - count[inner], 1)
    total = np.zeros(len(inner))
    for feature in features:
        first = np.cumsum(np.bincount(bins, feature))
        second = np.cumsum(np.bincount(bins, feature * feature))
        mean_in, mean_out = first[inner] / n_in, (first[outer] - first[inner]) / n_out
        spread_in = np.maximum(second[inner] / n_in - mean_in**2, 0)
        spread_out = np.maximum((second[outer] - second[inner]) / n_out - mean_out**2, 0)
        chance = SIGMAS**2 * (spread_in / n_in + spread_out / n_out)
        total += np.maximum((mean_in - mean_out) ** 2 - chance, 0) / (spread_in + spread_out + NOISE**2)
    return np.asarray(np.sqrt(total / len(features)))


def _first_peak(contrast: np.ndarray, clear: float) -> int | None:
    for i, value in enumerate(contrast):
        if value >= clear and value == contrast[max(0, i - NEIGHBOURS) : i + NEIGHBOURS + 1].max():
            return i
    return None
