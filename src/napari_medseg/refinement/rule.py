"""The rule by which strokes change a mask.

For each voxel, L is its present class (background where there is no mask), k another class with new strokes outside
itself, d the geodesic distances to all strokes, and o the log-odds that the voxel looks like k rather than L (clipped).
The voxel may become k if the strokes of k are nearer than those of L, ``d_k < d_L``, and within reach,
``d_k exp(-c o) < reach_k``: what looks like k is changed from farther away, what looks like L only close by. c is 1/3
where background becomes foreground, since that could leak anywhere, and 1 elsewhere, since a correction within the mask
cannot. Only changes joined to a new stroke are made; all else stays.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_medseg.refinement.history import changed_box

GROW, CORRECT = 1 / 3, 1.0
MOST_ODDS = 3.0
FARTHEST, NEAREST = 50.0, 1e-6


def decide(
    distances: list[np.ndarray], mask: np.ndarray, reaches: list[float], looks: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Apply the rule, but for the joining.

    Parameters
    ----------
    distances
        One map (*spatial) per class; the present `mask` uint8 (*spatial); one reach per class, -inf where it has no
        new stroke outside itself.
    looks
        Log-density of each class (K, *spatial) at each voxel; ``None``: all look alike.

    Returns
    -------
    tuple
        Labels uint8, margin float32 (positive: changed), and the rival class uint8. The margin is the logarithm of
        the smaller of ``reach_k / (d_k exp(-c o))`` and ``d_L / d_k``.
    """
    own = np.full(mask.shape, np.inf, np.float32)
    for k, d in enumerate(distances):
        np.copyto(own, d, where=mask == k)
    margin = np.full(mask.shape, -FARTHEST, np.float32)
    rival = mask.copy()
    strength = np.where(mask == 0, np.float32(GROW), np.float32(CORRECT))
    present = None if looks is None else np.take_along_axis(looks, mask[None].astype(np.intp), 0)[0]
    for k, (d, reach) in enumerate(zip(distances, reaches, strict=True)):
        if reach <= 0:
            continue
        way = np.log(np.maximum(d, np.float32(NEAREST), dtype=np.float32))
        with np.errstate(divide="ignore", invalid="ignore"):
            ahead = np.minimum(np.log(np.float32(reach)) - way, FARTHEST)
            if looks is not None:
                ahead += strength * np.clip(looks[k] - present, -MOST_ODDS, MOST_ODDS)
            ahead = np.minimum(ahead, np.log(own) - way)
        better = (mask != k) & (ahead > margin)
        np.copyto(margin, ahead, where=better)
        np.copyto(rival, np.uint8(k), where=better)
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
