"""Parts of a picture that no microscope has seen: black borders, caption bars, what lies between frames of a mosaic."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

SIDE = 9  # pixels: no part is narrower
NARROW = 19  # pixels: what is narrower and lies in such a part is a letter, or a nerve on plain ground
LONG = 40  # pixels: no letter reaches so far


def unseen(grey: np.ndarray) -> np.ndarray:
    """Return the parts (Y, X) of exactly the lowest or highest value, with letters in them, bool.

    A part that something long and narrow runs through is the ground of a nerve or of a drawing, and was seen.
    """
    found = np.zeros(grey.shape, bool)
    for end in {grey.min(), grey.max()} if grey.size else ():
        plain = grey == end
        wide = ndimage.maximum_filter(_shrunk(plain, SIDE, False), SIDE, mode="constant")
        if not wide.any() or wide.all():
            continue
        closed = _shrunk(ndimage.maximum_filter(wide, NARROW, mode="constant"), NARROW, True)
        parts, _ = ndimage.label(closed)
        narrow, _ = ndimage.label(closed & ~plain, np.ones((3, 3)))
        sides = [[part.stop - part.start for part in place] for place in ndimage.find_objects(narrow)]
        far = np.array([False, *(np.hypot(*side) >= LONG for side in sides)])
        found |= closed & ~np.isin(parts, np.unique(parts[far[narrow]]))
    return found if not found.all() else ~found


def continued(grey: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Return a picture (Y, X) whose parts `outside` mirror what lies beside them, so that they have no edge."""
    if not outside.any():
        return grey
    nearest = ndimage.distance_transform_edt(outside, return_distances=False, return_indices=True)
    last = np.reshape(grey.shape, (2, 1, 1)) - 1
    mirrored = np.clip(2 * nearest - np.indices(grey.shape), 0, last)
    mirrored = np.where(outside[tuple(mirrored)], nearest, mirrored)
    return np.asarray(grey[tuple(mirrored)])


def _shrunk(mask: np.ndarray, side: int, beyond: bool) -> np.ndarray:
    """Return where a square of `side` pixels lies in a mask, which goes on `beyond` its border or not."""
    return np.asarray(ndimage.minimum_filter(mask, side, mode="constant", cval=beyond))
