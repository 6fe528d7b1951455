"""How much each voxel looks like each class, learnt from the strokes and the present mask.

The density of a class is half the histogram of its strokes, half that of its voxels in the mask (all of one where the
other is missing), smoothed by a Gaussian. Intensities are quantised once per image: 64 levels of one
channel, 32 x 32 of two, 16 x 16 x 16 of the first three of more.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

LEVELS = {1: 64, 2: 32, 3: 16}
BANDWIDTH = {1: 1.5, 2: 1.0, 3: 0.7}
FLOOR = 0.02
SLAB = 2**22


class Appearance:
    """Quantised intensities of one image.

    Parameters
    ----------
    features
        Intensities float32 (C, *spatial) in [0, 1].
    """

    def __init__(self, features: np.ndarray) -> None:
        self.channels = min(3, len(features))
        self.levels = LEVELS[self.channels]
        self.codes = np.zeros(features.shape[1:], np.int16)
        thick = max(1, SLAB // max(1, self.codes[0].size))
        for start in range(0, len(self.codes), thick):  # by slabs: a large volume leaves no room for copies
            codes = self.codes[start : start + thick]
            for feature in features[: self.channels, start : start + thick]:
                codes *= np.int16(self.levels)
                codes += np.minimum(feature * self.levels, self.levels - 1).astype(np.int16)

    def densities(
        self, strokes: np.ndarray, mask: np.ndarray, n_classes: int, box: tuple[slice, ...] | None = None
    ) -> np.ndarray:
        """Return the density of each class (K, codes), mean 1, in `box`; 0 everywhere for a class without voxels.

        Parameters
        ----------
        strokes, mask
            Scribbles (k + 1 for class k) and classes, uint8, both of the shape of `box`.
        n_classes
            K, background included.
        """
        codes = self.codes if box is None else self.codes[box]
        size = self.levels**self.channels
        painted = np.flatnonzero(strokes)
        marks = strokes.ravel()[painted].astype(np.int64) - 1
        drawn = np.bincount(marks * size + codes.ravel()[painted], minlength=n_classes * size)
        classes = mask.ravel().astype(np.int32) if n_classes > 2 else mask.ravel()
        present = [np.bincount(codes.ravel()[classes == k], minlength=size) for k in range(1, n_classes)]
        rest = np.bincount(codes.ravel(), minlength=size) - np.sum(present, axis=0)
        both = np.stack([drawn.reshape(n_classes, size), np.stack([rest, *present])]).astype(float)
        totals = both.sum(-1, keepdims=True)
        both /= np.maximum(totals, 1)
        shape = (2, n_classes, *(self.levels,) * self.channels)
        width = (0, 0, *(BANDWIDTH[self.channels],) * self.channels)
        smooth = ndimage.gaussian_filter(both.reshape(shape), width, mode="nearest").reshape(both.shape)
        return np.asarray(size * smooth.sum(0) / np.maximum((totals > 0).sum(0), 1))


def log_density(densities: np.ndarray) -> np.ndarray:
    """Return the logarithm of densities, float32, floored so that unseen intensities speak for no class."""
    return np.log(densities + FLOOR).astype(np.float32)


def separability(densities: np.ndarray, k: int) -> float:
    """Return how well class `k` is told from the other classes: total variation in [0, 1]."""
    shares = densities / np.maximum(densities.sum(1, keepdims=True), 1e-9)
    return float(0.5 * np.abs(shares[k] - np.delete(shares, k, 0).mean(0)).sum())
