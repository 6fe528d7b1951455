"""Level AFM height images: line alignment, scars, robust polynomial background, and heights above the glass.

Heights are (Y, X) arrays in nm; every function returns float64 of the same shape and leaves its input alone. The
constants of `above_glass` were tried by hand on every second of the 48 training scans of the astrocyte study, whose
cells cover up to half of a scan; `benchmarks glass`, written afterwards, scores such choices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_medseg.errors import DataError

Heights = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
MAD_TO_SIGMA = 1.4826
FIT_PIXELS = 2**18  # a polynomial needs no more; larger images are sampled on a grid
# of `above_glass`
SMOOTHING = 0.5  # SD in pixels
SAMPLES = 128  # rows and columns that surfaces are fitted on
FIRST_ORDER, ORDER = 2, 3  # total degree of the first and the later surfaces
ENVELOPE = 0.05  # weight of what stands above the first surface; what lies below weighs the rest
ENVELOPE_FITS = 25
ROUNDS = 16
PEAK_SHARE, PEAK_REACH = 0.12, 0.85  # the glass is the narrowest 12 % of heights among the lower 85 %
RISE, FALL = 4.5, 4.0  # in SD of the glass: what stands higher or lies deeper is no glass
MARGIN = 3  # pixels around cells that are no glass either
LEAST_GLASS = 0.02
ROW_PIXELS = 20  # a line with less glass takes its offset from its neighbours
SETTLED = 1e-4


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
    axes = [_axis(n) for n in values.shape]
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


@dataclass(frozen=True)
class Standing:
    """Heights (Y, X) above the glass, and the SD of the glass after smoothing, both in the scan's unit."""

    height: Heights
    noise: float

    def relative(self) -> Heights:
        """Return smoothed heights in SD of the glass; all 0 for a constant scan."""
        smooth = ndimage.gaussian_filter(self.height, SMOOTHING)
        return smooth / self.noise if self.noise > 0 else np.zeros_like(smooth)


def above_glass(height: np.ndarray, cells: Mask | None = None) -> Standing:
    """Subtract the glass: a surface of third degree and each line's offset, both fitted to what is no cell.

    The first surface is a lower envelope, because cells may cover about half of the scan; where the cells are known, it
    is fitted beside them. Then, up to `ROUNDS` times, what stands out is left out and surface and offsets are fitted
    anew.

    Parameters
    ----------
    height
        Heights (Y, X), finite, lines along X; any unit.
    cells
        Pixels (Y, X) that are known to be no glass, whatever their height; ``None``: none are known.

    Raises
    ------
    DataError
        If `height` is no image or holds NaN or infinite values.
    """
    values = require_finite(height)
    if np.ptp(values) == 0:
        return Standing(np.zeros_like(values), 0.0)
    smooth = ndimage.gaussian_filter(values, SMOOTHING)
    known: Mask = np.zeros(smooth.shape, bool) if cells is None else np.asarray(cells, bool)
    among = beside(known)
    if cells is None:
        background = np.broadcast_to(np.median(smooth), smooth.shape) + _envelope(smooth - np.median(smooth))
    else:
        background = _surface(smooth, among)
    offsets = np.zeros(len(values))
    before = None
    for _ in range(ROUNDS):
        level, noise = glass_level(smooth - background if cells is None else (smooth - background)[among])
        rest = smooth - background - level
        standing = known | (rest > RISE * noise)
        glass = beside(standing) & (rest > -FALL * noise)
        settled = before is not None and (standing != before).mean() < SETTLED
        if settled or glass.mean() < LEAST_GLASS:
            break
        before = standing
        offsets = offsets + _line_offsets(smooth - background, glass)
        background = _surface(smooth - offsets[:, None], glass) + offsets[:, None]
    level, noise = glass_level(smooth - background if cells is None else (smooth - background)[among])
    return Standing(values - background - level, noise)


def beside(cells: Mask) -> Mask:
    """Return what is neither cell nor within `MARGIN` pixels of one: the tip broadens edges."""
    return np.asarray(~ndimage.binary_dilation(cells, iterations=MARGIN)) if cells.any() else ~cells


def glass_level(heights: np.ndarray) -> tuple[float, float]:
    """Return the level of the glass and its SD: the densest low heights, and the spread of what lies below them."""
    stride = max(1, round(math.sqrt(heights.size) / (2 * SAMPLES)))
    ordered = np.sort(heights[(slice(None, None, stride),) * heights.ndim], axis=None)
    width, end = max(int(PEAK_SHARE * ordered.size), 1), max(int(PEAK_REACH * ordered.size), 2)
    spans = ordered[width:end] - ordered[: max(end - width, 0)]
    if not spans.size:
        return float(np.median(ordered)), float(ordered.std())
    first = int(spans.argmin())
    level = float(ordered[first] + ordered[first + width]) / 2
    below = ordered[ordered < level] - level
    return level, float(np.sqrt(np.mean(below**2))) if below.size else 0.0


def _envelope(smooth: Heights) -> Heights:
    """Fit a lower envelope: least squares that hardly minds what stands above the surface."""
    stride, terms = _sampled(smooth.shape, FIRST_ORDER)
    flat = smooth[stride].ravel()
    weights = np.ones(flat.size)
    for _ in range(ENVELOPE_FITS):
        coefficients = _solve(terms, flat, weights)
        weights = np.where(flat > coefficients @ terms, ENVELOPE, 1 - ENVELOPE)
    return _evaluate(coefficients, smooth.shape, FIRST_ORDER)


def _surface(smooth: Heights, glass: Mask) -> Heights:
    stride, terms = _sampled(smooth.shape, ORDER)
    middle = float(np.median(smooth[stride]))
    coefficients = _solve(terms, smooth[stride].ravel() - middle, glass[stride].ravel().astype(float))
    return middle + _evaluate(coefficients, smooth.shape, ORDER)


def _line_offsets(rest: Heights, glass: Mask) -> Heights:
    """Return the median height of each line's glass, interpolated where there is too little."""
    columns = slice(None, None, max(1, rest.shape[1] // 1024))
    known = glass[:, columns].sum(1) >= min(ROW_PIXELS, rest.shape[1] // 4)
    if not known.any():
        return np.zeros(len(rest))
    part = np.where(glass[known][:, columns], rest[known][:, columns], np.nan)
    rows = np.arange(len(rest))
    return np.asarray(np.interp(rows, rows[known], np.nanmedian(part, axis=1)))


def _sampled(shape: tuple[int, ...], order: int) -> tuple[tuple[slice, ...], Heights]:
    stride = tuple(slice(None, None, max(1, n // SAMPLES)) for n in shape)
    axes = [_axis(n)[part] for n, part in zip(shape, stride, strict=True)]
    return stride, _monomials(axes[0], axes[1], order)


def _axis(n: int) -> Heights:
    return np.linspace(-1, 1, n) if n > 1 else np.zeros(1)


def _solve(terms: Heights, flat: Heights, weights: Heights) -> Heights:
    weighted = terms * weights
    return np.asarray(np.linalg.lstsq(weighted @ terms.T, weighted @ flat, rcond=None)[0])


def _evaluate(coefficients: Heights, shape: tuple[int, ...], order: int) -> Heights:
    """Evaluate the polynomial row by power of x, which needs no (terms, pixels) array."""
    y, x = (_axis(n) for n in shape)
    powers = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]
    by_x = np.zeros((order + 1, len(y)))
    for coefficient, (i, j) in zip(coefficients, powers, strict=True):
        by_x[i] += coefficient * y**j
    return np.asarray(by_x.T @ np.stack([x**i for i in range(order + 1)]))
