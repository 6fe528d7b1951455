"""How much a voxel looks like the object rather than the background, learnt from marked and presumed voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

LEVELS = {1: 64, 2: 32, 3: 16}  # grey levels of each of the first one, two or three channels
BANDWIDTH = {1: 1.5, 2: 1.0, 3: 0.8}  # of the smoothing of a histogram, in levels
FLOOR = 0.05  # density, in units of the mean one, that any intensity has in both classes
MOST_ODDS = 3.0
SAMPLE = 200_000  # voxels of an image that densities are learnt from
FEW = 8  # voxels of a class that tell half of what many would tell


class Appearance:
    """Quantised intensities of an image, float32 (C, *spatial) in [0, 1]; channels after the third do not count."""

    def __init__(self, image: np.ndarray) -> None:
        self.channels = min(3, len(image))
        self.levels = LEVELS[self.channels]
        self.codes = np.zeros(image.shape[1:], np.int32)
        for channel in image[: self.channels]:
            self.codes *= self.levels
            self.codes += np.minimum(channel * self.levels, self.levels - 1).astype(np.int32)

    def odds(self, of_object: Sequence[np.ndarray], of_background: Sequence[np.ndarray]) -> np.ndarray:
        """Return the log-odds of the object at each voxel, float32 (*spatial), clipped to `MOST_ODDS`.

        The density of a class is the mean of the smoothed histograms of its sets of voxels, bool (*spatial); empty sets
        do not count, and a class without voxels speaks for neither.
        """
        ours, theirs = self._density(of_object), self._density(of_background)
        if ours is None or theirs is None:
            return np.zeros(self.codes.shape, np.float32)
        either, logs = (ours + theirs) / 2, []
        for density, sets in ((ours, of_object), (theirs, of_background)):
            trust = _trust(sets)
            logs.append(np.log(trust * density + (1 - trust) * either + FLOOR))
        return np.asarray(np.clip(logs[0] - logs[1], -MOST_ODDS, MOST_ODDS).astype(np.float32)[self.codes])

    def overlap(self, first: np.ndarray, second: np.ndarray) -> float:
        """Return how alike two sets of voxels, bool (*spatial), look: the share that their densities have in common."""
        densities = [self._density([chosen]) for chosen in (first, second)]
        if densities[0] is None or densities[1] is None:
            return 0.0
        return float(np.minimum(densities[0], densities[1]).mean())

    def _density(self, sets: Sequence[np.ndarray]) -> np.ndarray | None:
        size = self.levels**self.channels
        step = max(1, self.codes.size // SAMPLE)
        codes = self.codes.reshape(-1)[::step]
        counts = [np.bincount(codes[chosen.reshape(-1)[::step]], minlength=size) for chosen in sets]
        shares = [count / count.sum() for count in counts if count.any()]
        if not shares:
            return None
        mean = np.mean(shares, 0).reshape((self.levels,) * self.channels)
        smooth = ndimage.gaussian_filter(mean, BANDWIDTH[self.channels], mode="nearest", truncate=3)
        return np.asarray(smooth.ravel() * size)


def _trust(sets: Sequence[np.ndarray]) -> float:
    count = sum(int(np.count_nonzero(chosen)) for chosen in sets)
    return count / (count + FEW)
