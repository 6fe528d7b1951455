"""Geometric augmentation: one transform for an image (C, *spatial) and its target (*spatial) or (T, *spatial)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from scipy import ndimage

Mode = Literal["reflect", "grid-wrap", "nearest", "constant", "mirror"]
Arrays = tuple[np.ndarray, np.ndarray]


def random_crop(x: np.ndarray, y: np.ndarray, edge: int, multiple: int, rng: np.random.Generator) -> Arrays:
    """Cut a random crop of an image and its target; both are mirrored where they are smaller.

    Parameters
    ----------
    x, y
        (C, *spatial) and (*spatial) or (T, *spatial).
    edge
        Edge of the crop in pixels; 0: the whole image.
    multiple
        Sizes are rounded up to a multiple of this.
    rng
        Source of randomness.
    """
    sizes = x.shape[1:]
    wanted = [-(-(edge or n) // multiple) * multiple for n in sizes]
    missing = [(0, max(0, w - n)) for w, n in zip(wanted, sizes, strict=True)]
    if any(after for _, after in missing):
        x, y = (np.pad(a, [(0, 0)] * (a.ndim - len(sizes)) + missing, "symmetric") for a in (x, y))
    starts = [int(rng.integers(n - w + 1)) for w, n in zip(wanted, x.shape[1:], strict=True)]
    window: Any = (..., *(slice(s, s + w) for s, w in zip(starts, wanted, strict=True)))
    return np.ascontiguousarray(x[window]), np.ascontiguousarray(y[window])


def rotation(angle: float, ndim: int = 2, plane: tuple[int, int] = (0, 1)) -> np.ndarray:
    """Return the homogeneous (n+1, n+1) rotation by `angle` radians in the plane of two spatial axes."""
    matrix = np.eye(ndim + 1)
    i, j = plane
    matrix[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    return matrix


def translation(offset: Sequence[float]) -> np.ndarray:
    """Return the homogeneous shift by `offset` pixels per axis."""
    matrix = np.eye(len(offset) + 1)
    matrix[:-1, -1] = offset
    return matrix


def shearing(angle: float, ndim: int = 2, plane: tuple[int, int] = (0, 1)) -> np.ndarray:
    """Return the homogeneous shear by `angle` radians: the plane's second axis is tilted towards its first."""
    matrix = np.eye(ndim + 1)
    i, j = plane
    matrix[[i, j], [j, j]] = -np.sin(angle), np.cos(angle)
    return matrix


def scaling(factors: Sequence[float]) -> np.ndarray:
    """Return the homogeneous zoom by `factors` per axis (above 1 the result shows more of the image)."""
    return np.diag([*map(float, factors), 1.0])


def compose(*matrices: np.ndarray) -> np.ndarray:
    """Return the product of homogeneous matrices, for example ``rotation * shift * shear * zoom``."""
    product = matrices[0]
    for matrix in matrices[1:]:
        product = product @ matrix
    return np.asarray(product)


def random_matrix(
    rng: np.random.Generator,
    shape: Sequence[int],
    *,
    rotate: float = 0.0,
    shift: float = 0.0,
    shear: float = 0.0,
    zoom: tuple[float, float] = (1.0, 1.0),
) -> np.ndarray:
    """Draw a matrix rotation * shift * shear * zoom about the image centre.

    Parameters
    ----------
    rng
        Source of randomness.
    shape
        Spatial shape; rotation and shear are in the plane of its last two axes.
    rotate, shear
        Largest angle in radians, drawn from [-angle, angle].
    shift
        Largest shift as a fraction of each axis.
    zoom
        Range of the factor of each axis, drawn independently.
    """
    ndim = len(shape)
    plane = (ndim - 2, ndim - 1)
    return compose(
        rotation(rng.uniform(-rotate, rotate), ndim, plane),
        translation([rng.uniform(-shift, shift) * n for n in shape]),
        shearing(rng.uniform(-shear, shear), ndim, plane),
        scaling([rng.uniform(*zoom) for _ in shape]),
    )


def affine(
    x: np.ndarray,
    y: np.ndarray,
    matrix: np.ndarray,
    *,
    mode: Mode = "reflect",
    order: int = 1,
    target_order: int = 0,
) -> Arrays:
    """Resample image and target through one affine transform about the centre.

    Parameters
    ----------
    x
        Image (C, *spatial).
    y
        Target (*spatial) or (T, *spatial).
    matrix
        Homogeneous (n+1, n+1), from result position to source position, both relative to the image centre.
    mode
        What lies beyond the border (scipy's names; ``"grid-wrap"`` is periodic).
    order, target_order
        Spline orders; target values stay what they are with 0.
    """
    centre = (np.array(x.shape[1:]) - 1) / 2
    linear = matrix[:-1, :-1]
    offset = centre + matrix[:-1, -1] - linear @ centre

    def resample(array: np.ndarray, spline: int) -> np.ndarray:
        return np.asarray(ndimage.affine_transform(array, linear, offset, order=spline, mode=mode))

    moved_x = np.stack([resample(channel, order) for channel in x])
    if y.ndim == x.ndim - 1:
        return moved_x, resample(y, target_order)
    return moved_x, np.stack([resample(channel, target_order) for channel in y])


def random_flip(
    x: np.ndarray,
    y: np.ndarray,
    rng: np.random.Generator,
    *,
    axes: Sequence[int] | None = None,
    probability: float = 0.5,
) -> Arrays:
    """Flip image and target along each of `axes` (negative, default all spatial ones) with `probability`."""
    chosen = tuple(a for a in (axes or range(-x.ndim + 1, 0)) if rng.random() < probability)
    return np.ascontiguousarray(np.flip(x, chosen)), np.ascontiguousarray(np.flip(y, chosen))


def random_rot90(
    x: np.ndarray, y: np.ndarray, rng: np.random.Generator, *, plane: tuple[int, int] = (-2, -1)
) -> Arrays:
    """Turn image and target by a random multiple of 90 degrees; of 180 where the plane is not square."""
    square = x.shape[plane[0]] == x.shape[plane[1]]
    turns = int(rng.integers(4)) if square else 2 * int(rng.integers(2))
    return np.ascontiguousarray(np.rot90(x, turns, plane)), np.ascontiguousarray(np.rot90(y, turns, plane))
