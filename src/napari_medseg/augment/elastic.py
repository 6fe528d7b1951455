"""Elastic deformation: smooth random displacement of an image and its target."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_medseg.augment.spatial import Arrays


def elastic(
    x: np.ndarray, y: np.ndarray, rng: np.random.Generator, *, shift: float = 4.0, knots: int = 5, order: int = 1
) -> Arrays:
    """Displace image (C, *spatial) and target (*spatial, nearest) by cubic splines through random knots.

    Parameters
    ----------
    x, y
        Image and target.
    rng
        Source of randomness.
    shift
        Largest displacement of a knot in pixels, uniform per axis.
    knots
        Knots along each axis; axes shorter than this are not displaced.
    order
        Spline order of the image's interpolation.
    """
    shape = y.shape
    places = np.indices(shape, np.float32)
    grid = [np.linspace(0, knots - 1, n, dtype=np.float32) for n in shape]
    knot_places = np.stack(np.meshgrid(*grid, indexing="ij"))
    for axis, size in enumerate(shape):
        field = rng.uniform(-shift, shift, (knots,) * len(shape))
        if size >= knots:
            places[axis] += ndimage.map_coordinates(field, knot_places, order=3, mode="nearest", output=np.float32)
    moved = [ndimage.map_coordinates(channel, places, order=order, mode="nearest") for channel in x]
    return np.stack(moved), np.asarray(ndimage.map_coordinates(y, places, order=0, mode="nearest"))
