"""The rule by which strokes change a mask.

For each voxel, L is its present class (background where there is no mask), k the class of the nearest stroke of another
class, d the geodesic distances to all strokes. The voxel becomes k if ``d_k < min(d_L, reach_k)`` and it is joined to a
new stroke, and stays L otherwise: the nearer stroke wins, and beyond the reach of the new strokes the mask stays.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_medseg.refinement.history import changed_box

BITS = 18
NOISE = 0.05
SIGMAS = 2.0
CLEAR = 0.5
NEIGHBOURS = 8
SHELL = 2.0
LEVELS = 96
FEWEST = 40
CAREFUL = 3
FLAT = 0.05


def decide(
    distances: list[np.ndarray], mask: np.ndarray, reaches: list[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Apply the rule, but for the joining.

    Parameters
    ----------
    distances
        One map (*spatial) per class; the present `mask` uint8 (*spatial); one reach per class.

    Returns
    -------
    tuple
        Labels uint8, margin float32 (positive: changed; the distance by which), and the rival class uint8.
    """
    nearest = np.full(mask.shape, np.inf, np.float32)
    limit = np.full(mask.shape, np.inf, np.float32)
    rival = mask.copy()
    for k, d in enumerate(distances):
        own = mask == k
        nearer = ~own & (d < nearest)
        np.copyto(nearest, d, where=nearer)
        np.copyto(rival, np.uint8(k), where=nearer)
        np.copyto(limit, d, where=own)
    np.minimum(limit, np.asarray(reaches, np.float32)[rival], out=limit)
    with np.errstate(invalid="ignore"):
        margin = limit - nearest
    np.nan_to_num(margin, copy=False, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    return np.where(margin > 0, rival, mask), margin, rival


def joined(labels: np.ndarray, mask: np.ndarray, new: np.ndarray) -> None:
    """Take back, in place, the pieces of change in `labels` against `mask` that touch no new stroke."""
    box = changed_box(labels, mask)
    if box is None:
        return
    pieces, count = ndimage.label(labels[box] != mask[box], np.ones((3,) * labels.ndim))
    keep = np.zeros(count + 1, bool)
    keep[pieces[new[box] > 0]] = True
    keep[0] = False
    np.copyto(labels[box], mask[box], where=~keep[pieces])


def clearest_border(d: np.ndarray, features: np.ndarray, most: float = np.inf) -> float | None:
    """Return the distance at which the region grown from the strokes has its first clear border.

    For growing n, the n nearest voxels are compared with the shell of the next n: the contrast is the difference of
    their means, less what chance makes, over the root of their variances. The first local maximum that is clear enough
    counts. Without one the largest counts, but if `most` voxels bound the region (there is a mask already), a region of
    three times the strokes: too little costs a stroke more, a leak costs the user's trust. ``None``: no contrast
    at all, or too few voxels to tell.

    Parameters
    ----------
    d
        Distances (N,) of the voxels that may change, 0 at strokes.
    features
        Intensities (C, N) in [0, 1].
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
    allowed = int(np.count_nonzero(count[levels] <= max(most, smallest)))
    best = _first_peak(contrast, max(1, allowed))
    if best is None and np.isfinite(most):
        level = int(np.searchsorted(count, max(smallest, CAREFUL * strokes)))
    else:
        best = int(contrast.argmax()) if best is None else best
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


def _first_peak(contrast: np.ndarray, allowed: int) -> int | None:
    for i, value in enumerate(contrast[:allowed]):
        if value >= CLEAR and value == contrast[max(0, i - NEIGHBOURS) : i + NEIGHBOURS + 1].max():
            return i
    return None
