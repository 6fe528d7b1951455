"""From the probability of being inside to labelled objects (FullNet's post-processing)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import ndimage

from napari_medseg.methods.fullnet.ternary import EIGHT, INSIDE, PLUS, disk

Growth = Literal["disk", "free"]
STRIP = 1024  # rows that are counted at once, to bound memory


def inside_mask(probabilities: np.ndarray, threshold: float = 0.0) -> np.ndarray:
    """Return where "inside" is the likeliest class of (3, H, W), or at least `threshold` if that is above 0."""
    if threshold > 0:
        return np.asarray(probabilities[INSIDE] >= threshold)
    background, inside, contour = probabilities  # compared in pairs: argmax would need eight bytes per pixel
    return np.asarray((inside > background) & (inside >= contour))


def drop_small(mask: np.ndarray, min_area: int) -> np.ndarray:
    """Remove 4-connected pieces of fewer than `min_area` pixels."""
    if min_area <= 1:
        return mask
    pieces, n = ndimage.label(mask, PLUS)
    area = np.zeros(n + 1, np.int64)
    for top in range(0, len(pieces), STRIP):
        area += np.bincount(pieces[top : top + STRIP].ravel(), minlength=n + 1)
    keep = area >= min_area
    keep[0] = False
    return np.asarray(keep[pieces])


def label_objects(mask: np.ndarray, grow: int, growth: Growth = "disk", fill_holes: bool = False) -> np.ndarray:
    """Label 8-connected objects and give them back the eroded rim.

    Parameters
    ----------
    mask
        (H, W).
    grow
        Radius in pixels.
    growth
        ``"disk"``: grey dilation by a disk; where two meet the larger id wins, also over the other's own pixels (the
        authors' code). ``"free"``: only into unlabelled pixels, each to its nearest object.
    fill_holes
        Whether enclosed holes become part of their object.

    Returns
    -------
    Labels 1 .. N, uint16, or uint32 for more than 65,535 objects.
    """
    mask = ndimage.binary_fill_holes(mask) if fill_holes else mask
    labels, n = ndimage.label(mask, EIGHT)
    if grow and growth == "disk":
        labels = ndimage.grey_dilation(labels, footprint=disk(grow))
    elif grow:
        from skimage.segmentation import expand_labels

        labels = expand_labels(labels, grow)
    return np.asarray(labels, np.uint16 if n < 2**16 else np.uint32)
