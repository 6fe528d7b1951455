"""Distances between the surfaces of two masks: ASSD, 95 % Hausdorff distance, normalised surface Dice.

The surface of a mask is its voxels with a face neighbour outside it (or outside the image), as in MONAI. Distances are
in the unit of `spacing`: the step of each axis, or, of sheared axes too, the matrix (n, n) of `Image.steps`. When both
masks are empty they agree (distance 0, surface Dice 1); when one is, the distance is the image's longest diagonal, the
largest there can be, and the surface Dice is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_medseg.errors import DataError
from napari_medseg.evaluate.metrics.spacing import Spacing, sides_of, steps_of

Distances = tuple[np.ndarray, np.ndarray]


def assd(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = ()) -> float:
    """Average symmetric surface distance: mean over the voxels of both surfaces of the distance to the other."""
    if (empty := _if_empty(pred, ref, spacing)) is not None:
        return empty
    return float(np.concatenate(surface_distances(pred, ref, spacing)).mean())


def hd95(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = ()) -> float:
    """95 % Hausdorff distance: the larger of the two directed 95th percentiles of surface distance."""
    if (empty := _if_empty(pred, ref, spacing)) is not None:
        return empty
    return float(max(np.percentile(d, 95) for d in surface_distances(pred, ref, spacing)))


def nsd(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = (), tolerance: float = 1.0) -> float:
    """Normalised surface Dice: share of both surfaces that lies within `tolerance` (unit of `spacing`) of the other.

    An evaluation takes that of `napari_medseg.evaluate.metrics.compare.tolerance_of`.
    """
    if (empty := _if_empty(pred, ref, spacing)) is not None:
        return float(empty == 0)
    return float((np.concatenate(surface_distances(pred, ref, spacing)) <= tolerance).mean())


SURFACE_METRICS: dict[str, Callable[[np.ndarray, np.ndarray, Spacing], float]] = {
    "assd": assd,
    "hd95": hd95,
    "nsd": nsd,
}


def surface_distances(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = ()) -> Distances:
    """Return the distances from each surface voxel of `pred` to the surface of `ref`, and the other way round."""
    p, r = _masks(pred, ref)
    box = ndimage.find_objects((p | r).view(np.uint8))[0]
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (p[box], r[box])]
    steps = steps_of(spacing, p.ndim)
    sides = sides_of(steps)
    if sides is None:
        of_p, of_r = (np.argwhere(edge) @ steps.T for edge in edges)
        return cKDTree(of_r).query(of_p)[0], cKDTree(of_p).query(of_r)[0]
    to_p, to_r = (ndimage.distance_transform_edt(~edge, sampling=sides) for edge in edges)
    return to_r[edges[0]], to_p[edges[1]]


def _if_empty(pred: np.ndarray, ref: np.ndarray, spacing: Spacing) -> float | None:
    """Return the distance defined for empty masks, ``None`` if neither is empty."""
    p, r = _masks(pred, ref)
    if p.any() and r.any():
        return None
    if not p.any() and not r.any():
        return 0.0
    signs = np.array(list(product((-1, 1), repeat=p.ndim)))
    return float(np.linalg.norm(signs * p.shape @ steps_of(spacing, p.ndim).T, axis=1).max())


def _masks(pred: np.ndarray, ref: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if pred.shape != ref.shape:
        raise DataError(f"The result is {pred.shape} but the reference {ref.shape}. Compare on the same grid.")
    return np.asarray(pred) > 0, np.asarray(ref) > 0
