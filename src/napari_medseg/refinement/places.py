"""Where a user should look next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from napari_medseg.refinement.state import Place

WINDOW = 5
AVOID = 3
EDGE = 0.05
BLUR = 1.5
LEAST = 0.02


def boundary_uncertainty(mask: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return float32 (*spatial) in [0, 1]: high on the mask's border where the image (C, *spatial) has no edge."""
    p = ndimage.gaussian_filter((mask > 0).astype(np.float32), BLUR)
    edge = ndimage.gaussian_gradient_magnitude(features.mean(0), 1.0)
    return np.asarray(4 * p * (1 - p) * np.exp(-edge / EDGE), np.float32)


def uncertain_place(
    uncertainty: np.ndarray, scribbles: np.ndarray, visited: Sequence[tuple[int, ...]] = ()
) -> Place | None:
    """Return the least decided voxel that is neither scribbled nor in a place of `visited`, ``None`` if there is none.

    A place is the connected piece around its voxel that is at least half as undecided.
    """
    mean = ndimage.uniform_filter(uncertainty, WINDOW, mode="constant")
    if scribbles.any():
        mean[ndimage.binary_dilation(scribbles > 0, iterations=AVOID)] = 0
    for position in visited:
        if mean[position] > 0:
            mean[_piece(mean, position)] = 0
    index = tuple(map(int, np.unravel_index(int(mean.argmax()), mean.shape)))
    if mean[index] < LEAST:
        return None
    return Place(index, int(np.count_nonzero(_piece(mean, index))), f"undecided ({mean[index]:.0%})")


def _piece(mean: np.ndarray, position: tuple[int, ...]) -> np.ndarray:
    labels, _ = ndimage.label(mean >= mean[position] / 2)
    return np.asarray(labels == labels[position])


def disagreement(mask: np.ndarray, reference: np.ndarray) -> Place | None:
    """Return the innermost voxel of the largest connected region in which `mask` and `reference` differ."""
    best: tuple[int, np.ndarray, str] | None = None
    for value in np.unique(reference[reference != mask]):
        for region, why in (
            ((reference == value) & (mask != value) & (mask == 0), "missing"),
            ((reference == value) & (mask != value) & (mask != 0), "too much" if value == 0 else "other class"),
        ):
            labels, count = ndimage.label(region, np.ones((3,) * mask.ndim))
            if not count:
                continue
            sizes = np.bincount(labels.ravel())[1:]
            if best is None or sizes.max() > best[0]:
                best = (int(sizes.max()), labels == 1 + sizes.argmax(), why)
    if best is None:
        return None
    voxels, region, why = best
    box = ndimage.find_objects(region.astype(np.uint8))[0]
    depth = ndimage.distance_transform_edt(np.pad(region[box], 1))[(slice(1, -1),) * mask.ndim]
    inner = np.unravel_index(int(depth.argmax()), depth.shape)
    return Place(tuple(int(i + s.start) for i, s in zip(inner, box, strict=True)), voxels, why)
