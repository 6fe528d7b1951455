"""Where a user should look next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from napari_medseg.refinement.boxes import Box, box_of, widened
from napari_medseg.refinement.intensities import Intensities
from napari_medseg.refinement.state import Place

WINDOW = 5
AVOID = 3
EDGE = 0.05
BLUR = 1.5
AROUND = 12  # farther than both filters see
LEAST = 0.02


def boundary_uncertainty(mask: np.ndarray, intensities: Intensities) -> np.ndarray:
    """Return float32 (*spatial) in [0, 1]: high on the mask's border where the image has no edge."""
    out = np.zeros(mask.shape, np.float32)
    box = _box_around(mask > 0, AROUND)
    if box is not None:
        p = ndimage.gaussian_filter((mask[box] > 0).astype(np.float32), BLUR)
        edge = ndimage.gaussian_gradient_magnitude(intensities.inside(box).mean(0), 1.0)
        out[box] = 4 * p * (1 - p) * np.exp(-edge / EDGE)
    return out


def uncertain_place(
    uncertainty: np.ndarray, scribbles: np.ndarray, visited: Sequence[tuple[int, ...]] = ()
) -> Place | None:
    """Return the least decided voxel that is neither scribbled nor in a place of `visited`, ``None`` if there is none.

    A place is the connected piece around its voxel that is at least half as undecided.
    """
    box = _box_around(uncertainty > 0, AROUND)
    if box is None:
        return None
    mean = ndimage.uniform_filter(uncertainty[box], WINDOW, mode="constant")
    mean[ndimage.binary_dilation(scribbles[box] > 0, iterations=AVOID)] = 0
    for position in visited:
        inner = tuple(i - s.start for i, s in zip(position, box, strict=True))
        if all(0 <= i < n for i, n in zip(inner, mean.shape, strict=True)) and mean[inner] > 0:
            mean[_piece(mean, inner)] = 0
    index = tuple(int(i) for i in np.unravel_index(int(mean.argmax()), mean.shape))
    if mean[index] < LEAST:
        return None
    position = tuple(i + s.start for i, s in zip(index, box, strict=True))
    return Place(position, int(np.count_nonzero(_piece(mean, index))), f"undecided ({mean[index]:.0%})")


def _box_around(found: np.ndarray, margin: int) -> Box | None:
    """Return the smallest box with `margin` voxels around every true voxel, ``None`` if there is none."""
    box = box_of(found)
    return None if box is None else widened(box, [margin] * found.ndim, found.shape)


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
    return Place(tuple(i + s.start for i, s in zip(inner, box, strict=True)), voxels, why)
