"""Scribbles to network channels: one distance map per class, encoded so that near is large and far is small."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import ndimage

from napari_medseg.errors import DataError
from napari_medseg.methods.deepigeos.settings import Distance, Encoding

DEFAULT_TAU = {"geodesic": 1.0, "euclidean": 10.0}
FAR = 4.0


def guidance_maps(
    image: np.ndarray,
    scribbles: np.ndarray,
    n_classes: int,
    *,
    spacing: float | Sequence[float] = 1.0,
    weight: float = 0.9,
    metric: Distance = "geodesic",
    encoding: Encoding = "exp",
    tau: float | None = None,
) -> np.ndarray:
    """Return the encoded distance maps (L, *spatial) float32, one per class in class order (0 = background).

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
    weight
        Share of the image in the geodesic distance: an edge costs (1 - weight) * step + weight * contrast; 1: the
        paper's purely image-based distance.
    metric
        ``"geodesic"`` or ``"euclidean"``.
    encoding, tau
        See `encode`.
    """
    distances = distance_maps(image, scribbles, n_classes, spacing=spacing, weight=weight, metric=metric)
    return encode(distances, encoding, DEFAULT_TAU[metric] if tau is None else tau)


def distance_maps(
    image: np.ndarray,
    scribbles: np.ndarray,
    n_classes: int,
    *,
    spacing: float | Sequence[float] = 1.0,
    weight: float = 0.9,
    metric: Distance = "geodesic",
) -> np.ndarray:
    """Return the distance to the marks of each class, (L, *spatial) float32; infinite for a class without marks.

    The classes are computed in parallel threads.

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
    steps = np.broadcast_to(np.asarray(spacing, float), (scribbles.ndim,))
    distances = np.full((n_classes, *scribbles.shape), np.inf, np.float32)

    def fill(value: int) -> None:
        seeds = scribbles == value + 1
        if seeds.any():
            distances[value] = _distance(image, seeds, tuple(steps.tolist()), weight, metric)

    with ThreadPoolExecutor(n_classes) as pool:
        list(pool.map(fill, range(n_classes)))
    return distances


def _distance(
    image: np.ndarray, seeds: np.ndarray, spacing: tuple[float, ...], weight: float, metric: Distance
) -> np.ndarray:
    if metric == "euclidean":
        return np.asarray(ndimage.distance_transform_edt(~seeds, spacing), np.float32)
    from napari_medseg.geodesic.distance import geodesic_distance

    return np.asarray(geodesic_distance(image, seeds, spacing=spacing, weight=weight), np.float32)


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
