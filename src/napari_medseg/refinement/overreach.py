"""Background strokes in what strokes alone have made: how far it reaches too far.

A mask that was grown from strokes is about the set of voxels within some distance of them. A background stroke there
that is about as long as the strokes of the object says that this distance is wrong, not only that place: all that lies
as far away as the middle of the stroke, and is joined to it, goes back to the background. Shorter strokes and dots mean
what they cover and are left to the rule, as is an object of which a part was given (a proposal, a label map).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_medseg.refinement.reach import drawn_length

AS_LONG = 0.8


def too_far(
    distances: list[np.ndarray],
    mask: np.ndarray,
    given: np.ndarray,
    scribbles: np.ndarray,
    new: np.ndarray,
    spacing: tuple[float, ...],
) -> np.ndarray | None:
    """Return which voxels of `mask` reach too far, bool (*spatial); ``None`` where none do.

    Parameters
    ----------
    distances
        Geodesic distance (*spatial) to the strokes of each class, background first.
    mask, given
        Present classes and those before any stroke, uint8 (*spatial).
    scribbles, new
        All strokes and the new ones, uint8 (*spatial): k + 1 for class k.
    spacing
        Step of each axis.
    """
    painted = np.nonzero(new == 1)
    out = None
    for k in range(1, len(distances)):
        false = mask[painted] == k
        if not false.any() or (given == k).any():
            continue
        stroke = np.zeros(mask.shape, bool)
        stroke[painted] = false
        length, own = drawn_length(stroke, spacing), drawn_length(scribbles == k + 1, spacing)
        if length is None or own is None or length < AS_LONG * own:
            continue
        far = (mask == k) & (distances[k] >= np.median(distances[k][stroke]))
        pieces, count = ndimage.label(far, np.ones((3,) * mask.ndim))
        hit = np.zeros(count + 1, bool)
        hit[pieces[stroke]] = True
        hit[0] = False
        out = hit[pieces] if out is None else out | hit[pieces]
    return out
