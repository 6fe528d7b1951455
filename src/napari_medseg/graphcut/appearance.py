"""How much a voxel looks like the object rather than the background, learnt from marked and presumed voxels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from napari_medseg.geodesic.compiled import compiled

LEVELS = {1: 64, 2: 32, 3: 16}  # grey levels of each of the first one, two or three channels
BANDWIDTH = {1: 1.5, 2: 1.0, 3: 0.8}  # of the smoothing of a histogram, in levels
TRUNCATED = 3  # bandwidths at which the smoothing ends
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
        return self.overlaps(first, [second])[0]

    def overlaps(self, first: np.ndarray, others: Sequence[np.ndarray]) -> list[float]:
        """Return `overlap` of a set of voxels with each of `others`."""
        ours, out = self._density([first]), []
        for other in others:
            theirs = self._density([other])
            if ours is None or theirs is None:
                out.append(0.0)
            else:  # smoothing adds to what is at the ends of the range
                out.append(float(np.minimum(ours / ours.sum(), theirs / theirs.sum()).sum()))
        return out

    def _density(self, sets: Sequence[np.ndarray]) -> np.ndarray | None:
        size, codes = self.levels**self.channels, self.codes.reshape(-1)
        step = max(1, codes.size // SAMPLE)
        counts = [_counts(codes, chosen.reshape(-1), step, size) for chosen in sets if chosen.any()]
        shares = [count / total for count in counts if (total := count.sum())]
        if not shares:
            return None
        mean = sum(shares[1:], start=shares[0]) / len(shares)
        _smooth(mean, self.levels, _weights(BANDWIDTH[self.channels]))
        return np.asarray(mean * size)


def _trust(sets: Sequence[np.ndarray]) -> float:
    count = sum(int(np.count_nonzero(chosen)) for chosen in sets)
    return count / (count + FEW)


@cache
def _weights(deviation: float) -> np.ndarray:
    """Return a sampled Gaussian whose sum is 1."""
    radius = int(TRUNCATED * deviation + 0.5)
    values = np.exp(-0.5 / (deviation * deviation) * np.arange(-radius, radius + 1) ** 2)
    return np.asarray(values / values.sum())


@compiled
def _counts(codes: np.ndarray, chosen: np.ndarray, step: int, size: int) -> np.ndarray:
    """Return how often each code is among every `step`-th voxel of `chosen`, int64 (size,)."""
    out = np.zeros(size, np.int64)
    for i in range(0, codes.size, step):
        if chosen[i]:
            out[codes[i]] += 1
    return out


@compiled
def _smooth(values: np.ndarray, levels: int, weights: np.ndarray) -> None:
    """Convolve a histogram, in place, along each of its axes of `levels`; the outermost values go on beyond it."""
    radius, stride = weights.size // 2, values.size // levels
    line = np.empty(levels + 2 * radius)
    while stride:
        for block in range(0, values.size, levels * stride):
            for start in range(block, block + stride):
                for i in range(line.size):
                    line[i] = values[start + min(max(i - radius, 0), levels - 1) * stride]
                for i in range(levels):
                    total = line[i + radius] * weights[radius]
                    for j in range(radius):
                        total += (line[i + j] + line[i + 2 * radius - j]) * weights[j]
                    values[start + i * stride] = total
        stride //= levels
