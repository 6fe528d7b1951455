"""How undecided a network is about a whole case: the order in which a reviewer looks at a folder."""

from __future__ import annotations

import math

import numpy as np

SMALLEST = 1e-7
BLOCK = 2**22  # values taken at once


def mean_entropy(probabilities: np.ndarray) -> float:
    """Return the mean predictive entropy of probabilities (K, *spatial), from 0 (sure) to 1 (guessing everywhere).

    Up to two channels the last one is the foreground's probability p and the entropy that of p and 1 - p; more channels
    are classes. It is divided by that of a guess, ln 2 or ln K.
    """
    k = len(probabilities)
    flat = probabilities[-1:].reshape(1, -1) if k <= 2 else probabilities.reshape(k, -1)
    total, n = 0.0, max(flat.shape[1], 1)
    for start in range(0, flat.shape[1], BLOCK):
        p = np.clip(flat[:, start : start + BLOCK].astype(np.float32), SMALLEST, 1 - SMALLEST)
        p = np.stack([p[0], 1 - p[0]]) if k <= 2 else p / p.sum(0)
        total += float(-(p * np.log(p)).sum(dtype=np.float64))
    return total / n / math.log(max(k, 2))
