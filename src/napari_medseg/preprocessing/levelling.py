"""Level AFM height images: line alignment, robust polynomial background, scars.

Heights are (Y, X) arrays in nm; every function returns float64 of the same shape and leaves its input alone.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_medseg.errors import DataError

Heights = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
MAD_TO_SIGMA = 1.4826
FIT_PIXELS = 2**18  # a polynomial needs no more; larger images are sampled on a grid


def require_finite(height: npt.ArrayLike) -> Heights:
    """Return `height` as float64 (Y, X).

    Raises
    ------
    DataError
        If it is no image, or holds NaN or infinite heights.
    """
    values = np.asarray(height, np.float64)
    if values.ndim != 2 or values.size == 0:
        raise DataError(f"Levelling needs one height image (Y, X), got an array of shape {values.shape}.")
    bad = int(values.size - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise DataError(
            f"{bad} non-finite heights of {values.size} (NaN or infinite). Export the scan again with its gaps filled."
        )
    return values


def align_lines(height: npt.ArrayLike) -> Heights:
    """Remove the offsets between scan lines: each row's median difference to the row above becomes 0."""
    values = require_finite(height)
    steps = np.median(np.diff(values, axis=0), axis=1)
    offsets: Heights = np.concatenate([[0.0], np.cumsum(steps)])[:, None]
    return values - offsets


def robust_sigma(values: np.ndarray) -> float:
    """Return 1.4826 times the median absolute deviation."""
    return float(MAD_TO_SIGMA * np.median(np.abs(values - np.median(values)))) if values.size else 0.0


def background(height: npt.ArrayLike, order: int = 2, exclude: Mask | None = None, n_iter: int = 10) -> Heights:
    """Fit the substrate by a polynomial of total degree `order`, cells left out.

    Least squares over the pixels below median + 2 * 1.4826 * MAD of the residual, repeated until that set stands still.

    Parameters
    ----------
    height
        Heights (Y, X), finite.
    order
        0 level, 1 plane, 2 plane and bowl.
    exclude
        Pixels (Y, X) known to be no substrate, for example a cell mask.
    n_iter
        Most fits.

    Returns
    -------
    ndarray
        Background (Y, X); subtract it to level the image.
    """
    values = require_finite(height)
    stride = math.ceil(math.sqrt(values.size / FIT_PIXELS))
    sample = (slice(None, None, stride), slice(None, None, stride))
    middle = float(np.median(values[sample]))
    flat = values[sample].ravel() - middle
    axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in values.shape]
    terms = _monomials(axes[0][::stride], axes[1][::stride], order)
    used = allowed = np.ones(flat.size, bool) if exclude is None else ~np.asarray(exclude, bool)[sample].ravel()
    if np.count_nonzero(allowed) <= len(terms):
        used = allowed = np.ones(flat.size, bool)
    coefficients = np.zeros(len(terms))
    for _ in range(n_iter):
        weighted = terms * used
        coefficients = np.linalg.lstsq(weighted @ terms.T, weighted @ flat, rcond=None)[0]  # normal equations
        residual = flat - coefficients @ terms
        limit = np.median(residual[used]) + 2 * robust_sigma(residual[used])
        chosen = allowed & (residual <= limit)
        if np.count_nonzero(chosen) <= len(terms) or np.array_equal(chosen, used):
            break
        used = chosen
    return middle + (coefficients @ _monomials(axes[0], axes[1], order)).reshape(values.shape)


def _monomials(y: np.ndarray, x: np.ndarray, order: int) -> Heights:
    """Return x^i y^j for i + j <= order as (terms, pixels)."""
    powers = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]
    return np.stack([np.outer(y**j, x**i).ravel() for i, j in powers])


def flatten(height: npt.ArrayLike, order: int = 2, exclude: Mask | None = None) -> Heights:
    """Return heights above the robust polynomial `background`."""
    return require_finite(height) - background(height, order, exclude)


def remove_scars(height: npt.ArrayLike, threshold: float = 3.0, length: int = 16) -> Heights:
    """Replace scars (runs of one line that differ from both neighbouring lines alike) by the neighbours' mean.

    Parameters
    ----------
    height
        Heights (Y, X), finite, lines along X.
    threshold
        Least deviation from the neighbouring lines, in robust sigmas of that deviation.
    length
        Least length of a scar in pixels.
    """
    values = require_finite(height)
    if values.shape[0] < 3:
        return values.copy()
    above, below, line = values[:-2], values[2:], values[1:-1]
    highest, lowest = np.maximum(above, below), np.minimum(above, below)
    limit = threshold * robust_sigma(line - (above + below) / 2)
    long_run = np.ones((1, max(1, length)), bool)
    scar = np.zeros(line.shape, bool)
    for excess in (line - highest, lowest - line):
        scar |= ndimage.binary_opening(excess > limit, long_run) if limit > 0 else False
    result = values.copy()
    result[1:-1][scar] = ((above + below) / 2)[scar]
    return result


def level(height: npt.ArrayLike, *, order: int | None = 2, lines: bool = False, scars: bool = False) -> Heights:
    """Run the steps asked for: line alignment, scar removal, robust background of degree `order` (``None``: none)."""
    values = require_finite(height)
    values = align_lines(values) if lines else values
    values = remove_scars(values) if scars else values
    return values if order is None else flatten(values, order)
