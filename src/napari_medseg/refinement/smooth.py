"""Mean-field smoothing of a changed region along image edges, without torch.

The model is that of CRF-Net (Wang et al. 2019) with the bilateral kernel on the 3^n neighbourhood and Potts costs; the
trained network has its own CRF-Net. The weights of a voxel's neighbours add up to at most 4 and speak for the class
that most of them have, so in each iteration only voxels beside another class can change: two iterations are exact when
done within three voxels of a border between classes. Nothing else is visited.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from scipy import ndimage

MAX_LOGIT = 6.0
APPEARANCE, SMOOTHNESS = 3.0, 1.0
THETA = 0.05
ITERATIONS = 2


def mean_field(
    logits: np.ndarray, mask: np.ndarray, rival: np.ndarray, features: np.ndarray, strokes: np.ndarray, n_classes: int
) -> np.ndarray:
    """Return labels uint8 (*spatial) after two mean-field iterations.

    Parameters
    ----------
    logits
        Log-odds (*spatial) of the class `rival` against the class `mask` (uint8); other classes are ruled out.
    features
        Intensities float32 (C, *spatial) in [0, 1].
    strokes
        Scribbles uint8 (*spatial): k + 1 fixes class k.
    n_classes
        Classes, background included.
    """
    shape = logits.shape
    unary = np.full((n_classes, *shape), -MAX_LOGIT, np.float32)
    np.put_along_axis(unary, mask[None].astype(np.intp), 0.0, 0)
    np.put_along_axis(unary, rival[None].astype(np.intp), np.where(rival == mask, 0, logits)[None], 0)
    painted = strokes > 0
    labels = np.where(painted, np.maximum(strokes, 1) - 1, unary.argmax(0)).astype(np.uint8)
    q = np.exp(unary - unary.max(0))
    q /= q.sum(0)
    np.copyto(q, np.moveaxis(np.eye(n_classes, dtype=np.float32)[labels], -1, 0), where=painted)
    size = 2 * (ITERATIONS + 1) + 1
    band = (ndimage.maximum_filter(labels, size) != ndimage.minimum_filter(labels, size)) & ~painted
    volume = (1,) * (3 - len(shape)) + shape  # the kernel knows volumes only
    places, share = np.argwhere(band.reshape(volume)), np.float32(1 / (3 ** len(shape) - 1))
    wide = [np.ascontiguousarray(array, np.float32).reshape(-1, *volume) for array in (unary, features, q)]
    for _ in range(ITERATIONS):
        wide[2] = _iterate(wide[0], wide[1], wide[2], places, share)
    smooth: np.ndarray = np.where(band, wide[2].reshape(unary.shape).argmax(0), labels).astype(np.uint8)
    return smooth


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _iterate(unary: np.ndarray, image: np.ndarray, q: np.ndarray, places: np.ndarray, share: float) -> np.ndarray:
    """Return class probabilities (K, Z, Y, X) updated at `places` (N, 3): unary and the neighbours' support."""
    n_classes, depth, height, width = q.shape
    out, logits = q.copy(), np.empty(n_classes, np.float32)
    for n in range(len(places)):
        z, y, x = places[n]
        logits[:] = unary[:, z, y, x]
        for dz in range(max(0, z - 1), min(depth, z + 2)):
            for dy in range(max(0, y - 1), min(height, y + 2)):
                for dx in range(max(0, x - 1), min(width, x + 2)):
                    if dz == z and dy == y and dx == x:
                        continue
                    gap = np.float32(0)
                    for c in range(len(image)):
                        gap += (image[c, z, y, x] - image[c, dz, dy, dx]) ** 2
                    weight = share * (APPEARANCE * np.exp(-gap / (2 * THETA**2)) + SMOOTHNESS)
                    for k in range(n_classes):
                        logits[k] += weight * q[k, dz, dy, dx]
        logits = np.exp(logits - logits.max())
        out[:, z, y, x] = logits / logits.sum()
    return out
