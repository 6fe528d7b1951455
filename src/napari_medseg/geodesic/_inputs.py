"""Checked inputs of a distance transform and the edge costs of its three metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from napari_medseg.errors import DataError, SettingsError
from napari_medseg.settings import Metric

HARMONIC_EPS = 1e-5
LARGEST = 1e18  # of an intensity: the squared differences of several channels are still finite in float32


@dataclass(frozen=True)
class Problem:
    """An image with the metric on its grid.

    Parameters
    ----------
    image
        (C, *spatial) numbers, any real dtype.
    spacing
        Step per spatial axis.
    weight, metric
        See `geodesic_distance`.
    """

    image: np.ndarray
    spacing: tuple[float, ...]
    weight: float
    metric: Metric

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape."""
        return self.image.shape[1:]

    @property
    def eps(self) -> float | None:
        """Regulariser of the harmonic cost, None for the affine costs."""
        return HARMONIC_EPS if self.metric == "harmonic" else None

    def coefficients(self) -> tuple[np.ndarray, np.ndarray]:
        """Return a, b of `edge_cost`, (2,) * ndim float32 each, by the absolute offset per axis."""
        steps = np.ix_(*[(0.0, size * size) for size in self.spacing])
        step = np.sqrt(sum(steps[1:], start=steps[0]))
        share = np.full_like(step, self.weight)
        pairs = {"linear": ((1 - self.weight) * step, share), "product": (0 * step, step), "harmonic": (step, share)}
        a, b = pairs[self.metric]
        return a.astype(np.float32), b.astype(np.float32)


def edge_cost(gap: Any, a: Any, b: Any, eps: float | None) -> Any:
    """Return the cost of edges with intensity difference `gap` (numpy or torch)."""
    if eps is None:
        return a + b * gap
    return a * (gap + eps) / ((1 - b) * (gap + eps) + b)


def check_problem(image: Any, channels: bool, spacing: float | Sequence[float], weight: float, metric: str) -> Problem:
    """Check an image (*spatial), or with `channels` (C, *spatial), and a metric.

    Raises
    ------
    DataError
        If the image is not 2D or 3D, empty, not finite or above `LARGEST`, or the spacing is not positive.
    SettingsError
        If the weight or the metric is out of range.
    """
    if metric not in get_args(Metric):
        raise SettingsError(f"Metric {metric!r} is not known; choose one of {', '.join(get_args(Metric))}.")
    if not (_is_number(weight) and 0 <= weight <= 1):
        raise SettingsError(f"The weight must be a number from 0 (length only) to 1 (image only), got {weight!r}.")
    image = np.asarray(image)
    ndim = image.ndim - channels
    if ndim not in (2, 3) or image.size == 0:
        given = f"{image.shape}{' with channels first' * channels}"
        raise DataError(f"The image must be 2D or 3D and not empty, got shape {given}.")
    if image.dtype.kind not in "buif":
        raise DataError(f"The image must hold real numbers, got {image.dtype}.")
    if image.dtype.kind == "f" or image.dtype.itemsize == 8:
        ends = [float(image.min()), float(image.max())]
        if not np.isfinite(ends).all():
            raise DataError("The image holds NaN or infinite values; replace them (for instance by 0) first.")
        if max(map(abs, ends)) > LARGEST:
            raise DataError(f"The image holds values above {LARGEST:g}, too large to be squared; scale it first.")
    sizes = np.atleast_1d(np.asarray(spacing))
    steps = tuple(map(float, sizes)) if sizes.ndim == 1 and sizes.dtype.kind in "uif" else ()
    steps = steps * ndim if len(steps) == 1 else steps
    if len(steps) != ndim or not all(np.isfinite(s) and s > 0 for s in steps):
        raise DataError(f"Spacing must be one positive number or {ndim} of them (one per axis), got {spacing!r}.")
    return Problem(image if channels else image[None], steps, float(weight), metric)  # type: ignore[arg-type]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def check_region(roi: Any, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return a region as slices of whole numbers inside `shape`, or raise `DataError`."""
    parts = tuple(roi) if isinstance(roi, (tuple, list)) else (roi,)
    if len(parts) != len(shape) or not all(isinstance(part, slice) for part in parts):
        raise DataError(f"The region of interest must be one slice for each of {len(shape)} axes, got {roi!r}.")
    if any(part.step not in (None, 1) for part in parts):
        raise DataError(f"The region of interest must have a step of 1, for its voxels are neighbours; got {roi!r}.")
    try:
        bounds = [part.indices(n) for part, n in zip(parts, shape, strict=True)]
    except TypeError as error:
        raise DataError(f"The region of interest must have whole numbers as bounds, got {roi!r}.") from error
    return tuple(slice(start, max(start, stop)) for start, stop, _ in bounds)


def check_seeds(seeds: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return `seeds` as bool array of `shape`, or raise `DataError`."""
    mask: np.ndarray = np.asarray(seeds)
    if mask.shape != shape:
        raise DataError(f"Seeds of shape {mask.shape} do not fit an image of spatial shape {shape}.")
    if mask.dtype.kind not in "buif":
        raise DataError(f"The seeds must be a mask of the marked voxels (bool or numbers), got {mask.dtype}.")
    if mask.dtype.kind == "f" and np.isnan(mask).any():
        raise DataError("The seeds hold NaN; give a mask of the marked voxels.")
    return mask if mask.dtype == bool else np.not_equal(mask, 0)
