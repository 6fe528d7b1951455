"""Scribbles to network channels: one distance map per class, encoded so that near is large and far is small."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from napari_medseg.errors import DataError
from napari_medseg.methods.deepigeos.settings import Distance, Encoding
from napari_medseg.settings import DistanceEngine, Metric

DEFAULT_TAU = {"geodesic": 1.0, "euclidean": 10.0}
FAR = 4.0


def distance_maps(
    image: np.ndarray,
    scribbles: np.ndarray,
    n_classes: int,
    *,
    spacing: float | Sequence[float] = 1.0,
    weight: float = 0.9,
    metric: Distance = "geodesic",
    cost: Metric = "linear",
    engine: DistanceEngine = "numba",
) -> np.ndarray:
    """Return the distance to the marks of each class (0 = background), (L, *spatial) float32; infinite without marks.

    Parameters
    ----------
    image
        (C, *spatial) intensities in about [0, 1].
    scribbles
        Integer (*spatial): 0 no mark, k + 1 a mark of class k.
    n_classes
        L, background included.
    spacing
        Step of each axis.
    weight, cost, engine
        Of the geodesic distance, where `cost` is its metric; weight 1 is the paper's purely image-based distance.
    metric
        ``"geodesic"`` or ``"euclidean"``.

    Raises
    ------
    DataError
        If the scribbles have another shape than the image or hold a value above L.
    """
    if scribbles.shape != image.shape[1:]:
        raise DataError(f"Scribbles {scribbles.shape} and image {image.shape[1:]} must have the same size.")
    largest = int(scribbles.max(initial=0))
    if largest > n_classes:
        raise DataError(
            f"There are scribbles of value {largest}, but {n_classes} classes take values up to {n_classes} "
            "(1 background, 2 foreground, 3 ... further classes). Erase or relabel them."
        )
    seeds = [scribbles == k + 1 for k in range(n_classes)]
    if metric == "geodesic":
        from napari_medseg.geodesic import geodesic_distances

        return np.stack(geodesic_distances(image, seeds, spacing=spacing, weight=weight, metric=cost, engine=engine))
    far = np.full(scribbles.shape, np.inf)
    maps = [ndimage.distance_transform_edt(~s, spacing) if s.any() else far for s in seeds]
    return np.stack(maps).astype(np.float32)


def encode(distances: np.ndarray, encoding: Encoding = "exp", tau: float = 1.0) -> np.ndarray:
    """Turn distances (infinite where there are no marks) into network channels, float32.

    ``"exp"``: exp(-d / tau), 1 at a mark and 0 far away. ``"zscore_fixed"``: (min(d, 4 tau) - 2 tau) / tau, the
    paper's fixed standardisation; its constants are not published, these keep the range within [-2, 2].
    A class without marks counts as infinitely far: 0, or 2.
    """
    d = np.asarray(distances, np.float32) / np.float32(tau)
    return np.asarray(np.exp(-d) if encoding == "exp" else np.minimum(d, np.float32(FAR)) - np.float32(FAR / 2))


def encode_proposal(proposal: np.ndarray, n_classes: int, ndim: int, *, soft: bool = False) -> np.ndarray:
    """Turn labels (*spatial) or probabilities (L, *spatial) into channels, float32: the foreground alone if L = 2.

    Probabilities become the likeliest class unless `soft`. With more classes there is one channel per class.
    """
    first = 1 if n_classes == 2 else 0
    if proposal.ndim > ndim:
        if soft:
            return np.asarray(proposal[first:], np.float32)
        proposal = proposal.argmax(0)
    if n_classes == 2:
        return np.asarray(proposal > 0, np.float32)[None]
    return np.stack([proposal == k for k in range(n_classes)]).astype(np.float32)


def decode_proposal(channels: np.ndarray) -> np.ndarray:
    """Turn the channels of `encode_proposal` back into labels uint8 (*spatial)."""
    return np.asarray(channels[0] > 0.5 if len(channels) == 1 else channels.argmax(0), np.uint8)
