"""Label maps: their ids, their objects, and what is one object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_medseg.errors import DataError
from napari_medseg.image import FACTS, Image

if TYPE_CHECKING:
    from pandas import DataFrame

EIGHT = np.ones((3, 3), bool)  # a pixel and its neighbours by a side or a corner
WAIST = 0.15  # share of half the widest place by which a waist must be narrower
FINE = 1000  # steps of depth
MASK = 255


def instances(labels: np.ndarray) -> np.ndarray:
    """Return instances 1 .. N, int32 (H, W), in the order of their ids.

    A map with a single id is split into its 8-connected components.

    Raises
    ------
    DataError
        If an 8-bit map has overflowed: all 255 ids are in use and several are shared by separate objects.
    """
    labels = np.asarray(labels)
    ids = ids_of(labels)
    if ids.size == 1:
        return np.asarray(ndimage.label(labels, EIGHT)[0], np.int32)
    if labels.dtype == np.uint8 and ids.size >= 250:
        _refuse_overflow(labels, ids.size)
    return consecutive(labels)


def refuse_negative(labels: Image) -> None:
    """Raise `DataError` where labels are below 0: 0 is the background, and objects count from 1."""
    data = np.asarray(labels.data)
    if data.dtype.kind in "if" and data.size and data.min() < 0:
        raise DataError(
            f"{labels.name or 'The label image'} holds negative labels ({data.min()}). Use 0 for background, 1, 2, ..."
        )


def foreground(labels: np.ndarray) -> np.ndarray:
    """Return where labels are foreground: bool of the same shape, true above 0 whatever the type of the integers.

    A threshold belongs to probabilities alone; a mask of 0 and 255 and one of 0, 1 and 2 mean what they say.
    """
    return np.asarray(np.asarray(labels) > 0)


def is_mask(labels: np.ndarray) -> bool:
    """Whether labels are 0 and 255, as masks of 8 bits are: 255 is then no class, but all that is foreground."""
    return bool(ids_of(np.asarray(labels)).tolist() == [MASK])


def ids_of(labels: np.ndarray) -> np.ndarray:
    """Return the sorted non-zero ids of a label map."""
    flat = labels.ravel()
    if flat.size == 0:
        return flat[:0]
    few = flat.max() < 2**24 and flat.dtype != np.uint64  # which `bincount` does not take
    ids = np.flatnonzero(np.bincount(flat)) if few else np.unique(flat)
    return ids[ids > 0]


def consecutive(labels: np.ndarray) -> np.ndarray:
    """Renumber ids to 1 .. N in ascending order, int32."""
    ids = ids_of(labels)
    return np.where(labels > 0, np.searchsorted(ids, labels) + 1, 0).astype(np.int32)


def _refuse_overflow(labels: np.ndarray, n_ids: int) -> None:
    n_objects = int(components(labels).max())
    if n_objects > n_ids + 5:
        raise DataError(
            f"The label map is 8-bit: its {n_ids} ids are shared by {n_objects} separate objects, so ids above 255 "
            "have overflowed. Export the instances as a 16-bit PNG or TIFF."
        )


def without_small(mask: np.ndarray, size: int, connectivity: int) -> np.ndarray:
    """Return `mask` without its connected components of fewer than `size` pixels.

    Parameters
    ----------
    connectivity
        1: pixels that share an edge (a face) are connected; 2: or a corner (an edge), and so on.
    """
    if size <= 1 or not mask.any():
        return mask
    pieces = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, connectivity))[0]
    keep = np.bincount(pieces.ravel()) >= size
    keep[0] = False
    return np.asarray(keep[pieces])


def components(labels: np.ndarray) -> np.ndarray:
    """Label the 8-connected components of equal value 1..N in raster order, int32 (H, W)."""
    from skimage.measure import label

    return np.asarray(label(np.asarray(labels), connectivity=2, background=0), np.int32)


def box_of(labels: np.ndarray, label: int) -> tuple[slice, ...] | None:
    """Return the smallest box that holds an object, ``None`` where there is no such object."""
    found = ndimage.find_objects((labels == label).astype(np.uint8))
    return found[0] if found else None


def pieces_of(mask: np.ndarray, step: Sequence[float]) -> np.ndarray:
    """Divide an object into its connected pieces, or, if it is one, at its waists.

    Parameters
    ----------
    mask
        The object, boolean, of two or three dimensions.
    step
        Size of a voxel along each axis.

    Returns
    -------
    int array
        The pieces as 1, 2, ...; only 1 where there is no waist. Touching round objects are parted by the watershed of
        the distance to the edge; a waist narrower by less than `WAIST` of the widest place parts nothing.
    """
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    pieces, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    if count != 1:
        return np.asarray(pieces)
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=step)[(slice(1, -1),) * mask.ndim]
    depth = np.round(depth / depth.max() * FINE).astype(np.int32)  # h-maxima of floats are inexact
    seeds, _ = ndimage.label(h_maxima(depth, round(WAIST * FINE)), np.ones((3,) * mask.ndim))
    return np.asarray(watershed(-depth, seeds, mask=mask))


def facts_of_objects(image: Image, features: DataFrame) -> dict[str, Any]:
    """Return as metadata what a table with a column ``label`` or ``index`` says of objects: class and measurements.

    Outlines of other programs keep it (`napari_medseg.io.exports`).
    """
    column = next((name for name in ("index", "label") if name in features), None)
    if column is None:
        return {}
    known = dict(image.metadata.get(FACTS, {}))
    numbers = features.select_dtypes("number").drop(columns=column)
    for row, label in enumerate(features[column]):
        if label != label or int(label) == 0:
            continue
        said = {name: float(value) for name, value in numbers.iloc[row].items() if value == value}
        kept = {**known.get(str(int(label)), {}), "measurements": said}
        classes = [str(features[name].iloc[row]) for name in ("class", "type") if name in features]
        known[str(int(label))] = {**kept, **({"class": classes[0]} if classes else {})}
    return {FACTS: known}
