"""What P-Net and R-Net see: cases, intensities, crops and their changes, and maps of scribbles. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from napari_medseg.augment.elastic import elastic
from napari_medseg.augment.intensity import bias_field, gamma, gaussian_noise
from napari_medseg.augment.spatial import affine, compose, random_flip, rotation, scaling
from napari_medseg.errors import DataError
from napari_medseg.io.files import folders_in
from napari_medseg.io.pairs import Pair, PairList, case_files, case_name, list_images
from napari_medseg.methods.deepigeos.settings import Distance, Encoding
from napari_medseg.settings import DistanceEngine, Metric

Arrays = tuple[np.ndarray, np.ndarray]
FOREGROUND_SHARE = 0.5


class Intensity(NamedTuple):
    """Clipping limits, mean and standard deviation of one channel."""

    low: float
    high: float
    mean: float
    sd: float


def intensity(channel: np.ndarray, *, nonzero: bool = True, clip: float = 0.5) -> Intensity:
    """Measure a channel over its finite (by `nonzero` also nonzero) voxels, `clip` percent cut at each end."""
    kept = channel[np.isfinite(channel)].astype(np.float32)
    inside = kept[kept != 0] if nonzero else kept
    kept = inside if inside.size else kept
    if not kept.size:
        return Intensity(0.0, 0.0, 0.0, 1.0)
    low, high = np.percentile(kept, (clip, 100 - clip))
    kept = kept.clip(low, high)
    return Intensity(
        float(low), float(high), float(kept.mean(dtype=np.float64)), float(kept.std(dtype=np.float64)) or 1
    )


def standardise(block: np.ndarray, measured: list[Intensity]) -> np.ndarray:
    """Clip and z-score each channel of (C, *spatial); voxels that are not finite count as the darkest."""
    out = np.empty(block.shape, np.float32)
    for channel, result, (low, high, mean, sd) in zip(block, out, measured, strict=True):
        clean = np.nan_to_num(channel.astype(np.float32), nan=low, posinf=low, neginf=low)
        result[:] = (clean.clip(low, high) - mean) / sd
    return out


def case_folders(folder: Path, modalities: str, label: str) -> PairList:
    """Find cases by the comma-separated words in their files' names, and the label's: a sub-folder or files each.

    Sub-folders in which a word fits no file or several are returned as unpaired.
    """
    if not modalities.strip(" ,") or not label.strip():
        raise DataError(
            f"Cases as folders need words for image files and label file; got {modalities!r} and {label!r}. "
            "Set both modality_files and label_file, for example Flair,T1c and OTMultiClass."
        )
    below = folders_in(folder)
    pairs, unpaired = [], []
    for case in [*below, *list_images(folder)]:
        *images, reference = case_files(case, f"{modalities},{label}") or [case]
        if images:
            name = case.name if case.is_dir() else case_name(case, modalities)
            pairs.append(Pair(images[0], reference, name, {"modalities": tuple(images)}, name))
        elif case.is_dir():
            unpaired.append(case)
    if not pairs:
        names = ", ".join(path.name for path in list_images((below or [folder])[0])) or "no images"
        raise DataError(
            f"No case in {folder}: every word of {modalities!r} and {label!r} must be in the name of one file of a "
            f"case. The first folder holds {names}."
        )
    return PairList(tuple(pairs), tuple(unpaired))


def foreground_crop(x: np.ndarray, y: np.ndarray, edge: int, multiple: int, rng: np.random.Generator) -> Arrays:
    """Cut a crop, half of the time about a foreground voxel; smaller images are padded with their edge.

    Parameters
    ----------
    x, y
        Image (C, *spatial) and classes (*spatial).
    edge
        Edge in voxels; 0: the whole image.
    multiple
        Sizes are rounded up to a multiple of this.
    rng
        Source of randomness.
    """
    size = [-(-(edge or n) // multiple) * multiple for n in y.shape]
    foreground = np.flatnonzero(y) if edge and rng.random() < FOREGROUND_SHARE else np.empty(0)
    if foreground.size:
        centre = np.unravel_index(int(rng.choice(foreground)), y.shape)
        start = [int(c) - m // 2 for c, m in zip(centre, size, strict=True)]
    else:
        start = [int(rng.integers(max(0, n - m) + 1)) for n, m in zip(y.shape, size, strict=True)]
    start = [min(max(0, a), max(0, n - m)) for a, n, m in zip(start, y.shape, size, strict=True)]
    box = tuple(slice(a, a + m) for a, m in zip(start, size, strict=True))
    x, y = x[(slice(None), *box)], y[box]
    missing = [(0, m - n) for n, m in zip(y.shape, size, strict=True)]
    return np.pad(x, [(0, 0), *missing], "edge"), np.pad(y, missing, "edge")


def augment_case(
    x: np.ndarray, y: np.ndarray, modalities: int, rng: np.random.Generator, *, strength: float = 1.0, flip: bool = True
) -> Arrays:
    """Flip, turn by up to 22.5 degrees about every axis, zoom by 0.8 to 1.25 (DeepIGeoS); sometimes do more.

    With probability 0.2 the case is bent elastically, each with 0.3 the first `modalities` channels get another
    gamma, a bias field, noise. Further channels (a proposal) only move along. `strength` scales the turns, the
    logarithm of the zoom and these probabilities; without `flip` nothing is mirrored.
    """
    if flip:
        x, y = random_flip(x, y, rng)
    planes = [(0, 1)] if y.ndim == 2 else [(0, 1), (0, 2), (1, 2)]
    limit = np.deg2rad(22.5) * strength
    turns = [rotation(rng.uniform(-limit, limit), y.ndim, plane) for plane in planes]
    zoom = scaling([np.exp(strength * rng.uniform(np.log(0.8), np.log(1.25)))] * y.ndim)
    x, y = affine(x, y, compose(*turns, zoom), mode="nearest")
    if rng.random() < 0.2 * strength:
        x, y = elastic(x, y, rng)
    picture = x[:modalities]
    if rng.random() < 0.3 * strength:
        picture = gamma(picture, rng)
    if rng.random() < 0.3 * strength:
        low = picture.min()
        picture = bias_field(picture - low, rng) + low
    if rng.random() < 0.3 * strength:
        picture = gaussian_noise(picture, rng, (0.0, 0.1))
    return np.concatenate([picture, x[modalities:]]), y


def clean(labels: np.ndarray, *, largest: bool = False, smallest: int = 0) -> np.ndarray:
    """Set pieces of each class that have fewer than `smallest` voxels, or by `largest` all but the largest, to 0."""
    if not largest and smallest <= 1:
        return labels
    cleaned = labels.copy()
    for value in np.unique(labels[labels > 0]):
        pieces, _ = ndimage.label(labels == value, np.ones((3,) * labels.ndim))
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        dropped = sizes < smallest
        if largest:
            dropped |= np.arange(len(sizes)) != sizes.argmax()
        dropped[0] = False
        cleaned[dropped[pieces]] = 0
    return cleaned


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
