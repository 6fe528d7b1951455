"""Overlay pictures for quality control: the image with its labels outlined and tinted, small."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.image import Image
from napari_medseg.io.files import replacing

PALETTE = np.array(
    [(230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (70, 240, 240), (240, 50, 230),
     (210, 245, 60), (250, 190, 212), (0, 128, 128)], np.float32,
)  # fmt: skip
TINT = 0.25
STRETCH = (0.5, 99.5)


def write_overlay(path: Path, image: Image, labels: Image) -> None:
    """Write the `overlay` of a case as PNG."""
    from PIL import Image as Pillow

    with replacing(path) as part:
        Pillow.fromarray(overlay(image, labels)).save(part, format="PNG", optimize=True)


def overlay(image: Image, labels: Image, *, size: int = 512, drawn: bool = True) -> np.ndarray:
    """Return a picture (Y, X, 3) uint8, at most `size` pixels long, of an image with its labels.

    Of a volume or movie it is the plane with most labelled pixels, of several channels the first, or the colours of
    an 8-bit RGB image. With `drawn` false it is the same plane of the image alone.
    """
    index = _busiest_plane(labels.data)
    step = max(1, math.ceil(max(labels.spatial_shape[-2:]) / size))
    grid = (*index, slice(None, None, step), slice(None, None, step))
    mask = np.asarray(labels.data[grid])
    picture = _picture(np.asarray(image.channels_first()[(slice(None), *grid)]))
    if not drawn:
        return np.asarray(picture.round(), np.uint8)
    colours = PALETTE[(mask.astype(np.int64) - 1) % len(PALETTE)]
    weight = np.where(_edges(mask), 1.0, np.where(mask > 0, TINT, 0.0))[..., None]
    return np.asarray((picture * (1 - weight) + colours * weight).round(), np.uint8)


def _busiest_plane(labels: Any) -> tuple[int, ...]:
    """Return the index of the plane (last two axes) with most labelled pixels, the middle one if there are none."""
    outer = labels.shape[:-2]
    if not outer:
        return ()
    counts = np.array([np.count_nonzero(labels[i]) for i in np.ndindex(outer)])
    best = int(counts.argmax()) if counts.any() else len(counts) // 2
    return tuple(int(i) for i in np.unravel_index(best, outer))


def _picture(channels: np.ndarray) -> np.ndarray:
    """Return float32 (Y, X, 3) from 0 to 255 of (C, Y, X)."""
    if len(channels) in (3, 4) and channels.dtype == np.uint8:
        return np.asarray(channels[:3].transpose(1, 2, 0), np.float32)
    plane = np.nan_to_num(channels[0].astype(np.float32), posinf=0, neginf=0)
    low, high = np.percentile(plane, STRETCH) if plane.size else (0, 0)
    grey = np.clip((plane - low) / (high - low or 1), 0, 1) * 255
    return np.asarray(np.repeat(grey[..., None], 3, 2), np.float32)


def _edges(mask: np.ndarray) -> np.ndarray:
    """Return the labelled pixels that have a neighbour with another label."""
    padded = np.pad(mask, 1, mode="edge")
    centre = padded[1:-1, 1:-1]
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.asarray((centre > 0) & np.logical_or.reduce([other != centre for other in neighbours]), bool)
