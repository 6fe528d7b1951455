"""Ternary labels, weight maps and label encoding of FullNet (Qu et al., MICCAI 2019), and the way back to objects."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import ndimage

from napari_medseg.measure.labels import EIGHT

Growth = Literal["disk", "free"]
BACKGROUND, INSIDE, CONTOUR = 0, 1, 2
PLUS = ndimage.generate_binary_structure(2, 1)
WEIGHT_PEAK = 10.0
WEIGHT_GREY = 20  # grey levels per unit of weight in a stored map
STRIP = 1024  # rows that are counted at once, to bound memory
CUTOFF = 6.0  # in sigma: beyond it a weight differs from 1 by less than 2e-7


def disk(radius: int) -> np.ndarray:
    """Return the disk footprint (2 radius + 1, 2 radius + 1), bool; radius 1 is the 3x3 plus."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(x * x + y * y <= radius * radius)


def ternary(labels: np.ndarray, radius: int = 1) -> np.ndarray:
    """Turn instances (H, W) into classes uint8 (H, W): 0 background, 1 inside, 2 contour.

    inside is the union of the instances eroded, contour the union of dilated minus eroded, by a disk of `radius`.
    Pixels beyond the image count as object for the erosion.
    """
    padded = np.pad(labels, radius, mode="constant", constant_values=-1)
    same = np.ones(labels.shape, bool)
    near = np.zeros(labels.shape, bool)
    for dy, dx in np.argwhere(disk(radius)):
        neighbour = padded[dy : dy + labels.shape[0], dx : dx + labels.shape[1]]
        same &= (neighbour == labels) | (neighbour == -1)
        near |= neighbour > 0
    inside = same & (labels > 0)
    return np.where(inside, INSIDE, np.where(near, CONTOUR, BACKGROUND)).astype(np.uint8)


def encode(classes: np.ndarray, radius: int = 1, encoding: Literal["paper", "fixed"] = "paper") -> np.ndarray:
    """Turn ternary classes (H, W) into the training target uint8 (H, W).

    ``"paper"`` uses the inside only, as the authors' code does: it is eroded once more by a disk of `radius`, and the
    target's contour is a ring around that. ``"fixed"`` keeps the ternary classes.
    """
    if encoding == "fixed":
        return classes.astype(np.uint8)
    inside = classes == INSIDE
    core = ndimage.binary_erosion(inside, disk(radius), border_value=1)
    ring = ndimage.binary_dilation(inside, PLUS) & ~core
    return np.where(ring, CONTOUR, np.where(inside, INSIDE, BACKGROUND)).astype(np.uint8)


def to_rgb(classes: np.ndarray) -> np.ndarray:
    """Store classes (H, W) as RGB uint8 (H, W, 3): red inside, green contour, blue background."""
    return np.stack([classes == INSIDE, classes == CONTOUR, classes == BACKGROUND], -1).astype(np.uint8) * 255


def from_rgb(rgb: np.ndarray) -> np.ndarray:
    """Read classes uint8 (H, W) from a ternary RGB picture; red wins over green."""
    return np.where(rgb[..., 0] > 127, INSIDE, np.where(rgb[..., 1] > 127, CONTOUR, BACKGROUND)).astype(np.uint8)


def is_ternary(rgb: np.ndarray) -> bool:
    """Whether (H, W, 3) is a ternary picture: one channel set to 255 at every pixel."""
    return rgb.ndim == 3 and rgb.shape[2] >= 3 and bool(np.all(rgb[..., :3].sum(-1, dtype=np.int64) == 255))


def weight_map(labels: np.ndarray, sigma: float = 5.0, cutoff: float = CUTOFF) -> np.ndarray:
    """Return w = 1 + 10 exp(-(d1 + d2)^2 / (2 sigma^2)), float32 (H, W).

    d1 <= d2 are the distances in pixels to the boundaries of the two nearest instances, the pixel's own included. Each
    instance is visited once, in a window of `cutoff` sigma around it, and two running minima are kept.
    """
    first, second = (np.full(labels.shape, np.inf, np.float32) for _ in range(2))
    margin = int(np.ceil(cutoff * sigma))
    for index, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        window = tuple(
            slice(max(s.start - margin, 0), min(s.stop + margin, n)) for s, n in zip(box, labels.shape, strict=True)
        )
        free = np.ones([s.stop - s.start for s in window], bool)
        inner = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(box, window, strict=True))
        free[inner] = ~outer_boundary(labels[box] == index)
        distance = ndimage.distance_transform_edt(free).astype(np.float32)
        nearest = first[window]
        second[window] = np.minimum(second[window], np.maximum(nearest, distance))
        first[window] = np.minimum(nearest, distance)
    total = first + second
    return np.asarray(1 + WEIGHT_PEAK * np.exp(-(total**2) / (2 * sigma**2)), np.float32)


def outer_boundary(mask: np.ndarray) -> np.ndarray:
    """Return the outermost inner boundary of a mask (H, W) with holes filled.

    Of several 8-connected fragments only the first in column-major order counts, as in MATLAB's ``bwboundaries``.
    """
    parts, n = ndimage.label(mask, EIGHT)
    if n > 1:
        column_major = parts.T.ravel()
        mask = parts == column_major[np.argmax(column_major > 0)]
    filled = np.pad(ndimage.binary_fill_holes(mask), 1)
    return np.asarray((filled & ~ndimage.binary_erosion(filled, PLUS))[1:-1, 1:-1])


def weights_to_grey(weights: np.ndarray) -> np.ndarray:
    """Store weights 1 .. 11 as grey levels uint8 20 .. 220, halves rounded up."""
    return np.floor(weights.astype(np.float64) * WEIGHT_GREY + 0.5).astype(np.uint8)


def weights_from_grey(grey: np.ndarray) -> np.ndarray:
    """Read weights float32 from grey levels."""
    return grey.astype(np.float32) / WEIGHT_GREY


# ---- from the probability of being inside to labelled objects
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
