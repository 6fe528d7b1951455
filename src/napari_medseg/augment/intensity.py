"""Intensity augmentation of images (C, *spatial) float32, 2D or 3D; targets stay as they are."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.interpolate import CubicSpline

Range = tuple[float, float]


def gamma(x: np.ndarray, rng: np.random.Generator, exponents: Range = (0.7, 1.5)) -> np.ndarray:
    """Raise intensities to a random power within their own range, which is kept (log-uniform exponent)."""
    low, high = float(x.min()), float(x.max())
    if low == high:
        return x.copy()
    power = float(np.exp(rng.uniform(*np.log(exponents))))
    changed = ((x - low) / (high - low)) ** power * (high - low) + low
    return np.asarray(changed, x.dtype)


def brightness_contrast(
    x: np.ndarray, rng: np.random.Generator, brightness: float = 0.1, contrast: float = 0.2
) -> np.ndarray:
    """Stretch intensities about their mean by a factor within 1 +- `contrast` and add up to +- `brightness`."""
    mean = float(x.mean(dtype=np.float64))
    factor = 1 + rng.uniform(-contrast, contrast)
    return np.asarray((x - mean) * factor + mean + rng.uniform(-brightness, brightness), x.dtype)


def gaussian_noise(x: np.ndarray, rng: np.random.Generator, sd: Range = (0.0, 0.05)) -> np.ndarray:
    """Add white noise of a random standard deviation."""
    noise = rng.standard_normal(x.shape, dtype=np.float32) * np.float32(rng.uniform(*sd))
    return np.asarray(x + noise, x.dtype)


def blur(x: np.ndarray, rng: np.random.Generator, sigma: Range = (0.0, 1.0)) -> np.ndarray:
    """Smooth each channel with a Gaussian of a random standard deviation in pixels."""
    width = rng.uniform(*sigma)
    return np.asarray(ndimage.gaussian_filter(x, (0, *(width,) * (x.ndim - 1))), x.dtype)


def bias_field(x: np.ndarray, rng: np.random.Generator, strength: float = 0.3, knots: int = 4) -> np.ndarray:
    """Multiply by a smooth positive field exp(f), the same for all channels, as the coils of a scanner do.

    Parameters
    ----------
    x
        Image (C, *spatial).
    rng
        Source of randomness.
    strength
        f is a cubic spline through random knots within +- `strength`.
    knots
        Knots along each axis.
    """
    field = rng.uniform(-strength, strength, (knots,) * (x.ndim - 1))
    for axis, size in enumerate(x.shape[1:]):
        weights = CubicSpline(np.arange(knots), np.eye(knots))(np.linspace(0, knots - 1, size))
        field = np.moveaxis(np.tensordot(weights, field, (1, axis)), 0, axis)
    return np.asarray(x * np.exp(field, dtype=np.float32), x.dtype)
