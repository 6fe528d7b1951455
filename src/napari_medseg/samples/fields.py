"""Smooth random fields that generated images are textured with."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def smooth_field(rng: np.random.Generator, size: int, sigma: float) -> np.ndarray:
    """Return smooth noise (size, size) of zero mean and unit SD; coarse noise is drawn on a coarse grid.

    Parameters
    ----------
    sigma
        SD of the smoothing in pixels.
    """
    step = max(int(sigma / 3), 1)
    n = max(-(-size // step) + 1, 2)
    field = ndimage.gaussian_filter(rng.standard_normal((n, n)), sigma / step, mode="wrap")
    field = (ndimage.zoom(field, step, order=1) if step > 1 else field)[:size, :size]
    spread = field.std()
    return np.asarray((field - field.mean()) / (spread if spread > 0 else 1.0))
