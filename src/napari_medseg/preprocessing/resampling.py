"""Bring an image to other pixel sizes along its own axes, and what was found there back onto its own pixels.

Pixel i of n pixels of size s covers i s to (i + 1) s; both grids begin at the same outer edge.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from napari_medseg.image import Image
from napari_medseg.io.geometry import matrix_of


def resampled(image: Image, steps: Sequence[float]) -> Image:
    """Return `image` with pixels of another size along its own axes, at the same place; the type of its values is kept.

    Intensities are `interpolated`; labels take the nearest pixel.

    Parameters
    ----------
    image
        With or without channels, which come first in the result.
    steps
        Size of the new pixels along each axis besides ``C``, in the units of the image.
    """
    factors = np.asarray(steps, float) / image.scale
    shape = tuple(max(1, round(n / f)) for n, f in zip(image.spatial_shape, factors, strict=True))
    channels = np.asarray(image.channels_first())
    if image.kind == "labels":
        data = np.stack([nearest(channel, factors, shape) for channel in channels])
    else:
        data = np.stack([_typed(interpolated(channel, factors, shape), channel.dtype) for channel in channels])
    affine = matrix_of(image).copy()
    affine[:-1, -1] += affine[:-1, :-1] @ ((factors - 1) / 2)
    affine[:-1, :-1] *= factors
    axes = "C" * ("C" in image.axes) + image.spatial_axes
    return image.replace(data=data if "C" in axes else data[0], axes=axes, scale=tuple(steps), affine=affine)


def interpolated(array: np.ndarray, factors: Sequence[float] | np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return float32 `shape` of an array (*spatial), each pixel `factors` pixels of it large.

    Larger pixels are the mean of what they cover, smaller ones lie on straight lines between the old ones' middles.
    """
    values = np.asarray(array, np.float32)
    for axis, (factor, n) in enumerate(zip(factors, shape, strict=True)):
        if factor != 1 or n != values.shape[axis]:
            first = np.moveaxis(values, axis, 0)
            flat = _weights(len(first), n, factor) @ first.reshape(len(first), -1)
            values = np.moveaxis(flat.reshape(n, *first.shape[1:]), 0, axis)
    return np.ascontiguousarray(values, np.float32)


def _weights(m: int, n: int, factor: float) -> sparse.csr_array:
    """Return the shares (n, m) of m pixels in n pixels, each `factor` of them large; the ends go on."""
    edges = np.minimum(np.arange(n + 1) * factor, m)
    taps = int(np.ceil(factor)) + 1 if factor > 1 else 2
    middle = np.maximum((np.arange(n) + 0.5) * factor - 0.5, 0)
    start = (edges[:-1] if factor > 1 else middle).astype(np.int64)
    columns = start[:, None] + np.arange(taps)
    if factor > 1:
        shares = np.minimum(columns + 1, edges[1:, None]) - np.maximum(columns, edges[:-1, None])
        shares = np.maximum(shares, 0) / np.diff(edges)[:, None]
    else:
        shares = np.abs(1 - np.arange(2) - (middle - start)[:, None])
    rows = np.repeat(np.arange(n), taps)
    kept = shares.ravel() > 0
    where = rows[kept], np.minimum(columns, m - 1).ravel()[kept]
    return sparse.csr_array((shares.ravel()[kept].astype(np.float32), where), shape=(n, m))


def nearest(labels: np.ndarray, factors: Sequence[float] | np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return `shape` of labels (*spatial), each pixel `factors` pixels of them large: the label at its middle."""
    indices = [
        np.minimum(((np.arange(n) + 0.5) * f).astype(np.int64), m - 1)
        for n, f, m in zip(shape, factors, labels.shape, strict=True)
    ]
    return np.asarray(labels[np.ix_(*indices)])


def _typed(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return values as those of the image that they are interpolated from."""
    return np.rint(values).astype(dtype) if dtype.kind in "iub" else values.astype(dtype)
