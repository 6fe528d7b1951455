"""What a network is told of the cells of a search, and what its answer says."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from napari_medseg.graphcut.level import Level

INPUTS = 13  # of a network
MOST_INPUT = 4.0
NEAREST = 0.02  # added to distances before their logarithms
LEAST_DICE = 1e-3  # the least Dice that a network can expect
STEADY = 0.02  # share of the image's range that counts as contrast in a flat image
Network = Callable[[np.ndarray], np.ndarray]  # from `inputs_of` to the log-odds of the object, float32 (*cells)


class Distances(NamedTuple):
    """Distances to the strokes of the object and of the background, and their log-ratio, float32 (*cells).

    `parted` is whether there are strokes of both kinds, a frame being one of the background.
    """

    near: np.ndarray
    far: np.ndarray
    ratio: np.ndarray
    parted: bool


def inputs_of(level: Level, distances: Distances, odds: np.ndarray, pushes: np.ndarray) -> np.ndarray:
    """Return what a network is told of each cell, float32 (`INPUTS`, *cells), all within about +-3.

    Three channels of the image (grey: thrice the same), each with mean 0 and deviation 1; strokes of the object and of
    the background, the presumed background, log-ratio of the distances, their logarithms, odds by appearance, the mask
    so far, how far new strokes reach, and the deviation within the cell for that of the image.
    """
    out = np.empty((INPUTS, *level.shape), np.float32)
    image = level.image[[0, min(1, len(level.image) - 1), min(2, len(level.image) - 1)]]
    axes = tuple(range(1, image.ndim))
    deviation = image.std(axes, keepdims=True) + STEADY
    out[:3] = (image - image.mean(axes, keepdims=True)) / deviation
    out[3], out[4], out[5] = level.object, level.background, level.near_background & ~level.background
    out[6] = distances.ratio / 2
    out[7], out[8] = (np.log(d + np.float32(NEAREST)) / 2 for d in (distances.near, distances.far))
    out[9] = odds / 2
    out[10] = 2 * level.share - 1 if level.mask.any() else 0
    out[11] = pushes / 2
    out[12] = 2 * level.deviation() / deviation.mean()
    return np.clip(out, -MOST_INPUT, MOST_INPUT, out=out)


def for_overlap(log_odds: np.ndarray) -> tuple[np.ndarray, float]:
    """Return log-odds of the object (any shape) moved so that zero expects the largest Dice, and that Dice.

    Of n voxels with probabilities p, of which those of a set S are labelled, it expects ``2 sum_S p / (|S| + sum p)``.
    Its maximum F is reached by all with p of at least F / 2 (Lipton et al. 2014, doi:10.1007/978-3-662-44851-9_15),
    and found from below: what these have is more, until it is F (Dinkelbach 1967, doi:10.1287/mnsc.13.7.492).
    """
    chosen = expit(log_odds.astype(np.float64)).ravel()
    total, best = float(chosen.sum()), 0.0
    while (dice := 2 * float(chosen.sum()) / (chosen.size + total)) > best:
        best = dice
        chosen = chosen[chosen >= best / 2]
    best = max(best, LEAST_DICE)
    return log_odds - np.float32(np.log(best / (2 - best))), best
