"""Bodies of plain shape in noise, drawn for benchmarks: balls, ellipsoids, bars, boxes, shells and touching balls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from napari_medseg.image import Image

EDGE = {2: 160, 3: 56}  # of the pictures
NOISE = (0.02, 0.1, 0.2, 0.4)  # deviations, in units of the contrast
GREY, CONTRAST = 100.0, 100.0


def _ball(away: np.ndarray, radius: float) -> np.ndarray:
    return np.asarray((away**2).sum(0) <= radius**2)


def _ellipsoid(away: np.ndarray, radius: float) -> np.ndarray:
    radii = np.array([0.5, 0.8, 1.2])[-len(away) :] * radius
    return np.asarray(((away.T / radii).T ** 2).sum(0) <= 1)


def _bar(away: np.ndarray, radius: float) -> np.ndarray:
    return np.asarray((np.abs(away[:-1]) <= radius / 4).all(0) & (np.abs(away[-1]) <= 1.5 * radius))


def _box(away: np.ndarray, radius: float) -> np.ndarray:
    return np.asarray((np.abs(away) <= 0.8 * radius).all(0))


def _shell(away: np.ndarray, radius: float) -> np.ndarray:
    return _ball(away, 1.2 * radius) & ~_ball(away, 0.7 * radius)


SHAPES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "ball": _ball,
    "ellipsoid": _ellipsoid,
    "bar": _bar,
    "box": _box,
    "shell": _shell,
}


def bodies(ndim: int) -> Iterator[tuple[str, Image, np.ndarray]]:
    """Yield name, picture and the wanted object, bool (*spatial), of each shape in each noise.

    A pair is a ball one voxel from another like it.
    """
    edge = EDGE[ndim]
    away = np.indices((edge,) * ndim).astype(float) - (edge - 1) / 2
    radius = edge / 5
    for (name, draw), noise in product([*SHAPES.items(), ("pair", _ball)], NOISE):
        truth = draw(away, radius)
        bright = truth.copy()
        if name == "pair":
            beside = away.copy()
            beside[-1] -= 2 * radius + 2
            bright |= _ball(beside, radius)
        rng = np.random.default_rng(1)
        values = GREY + CONTRAST * (bright + rng.normal(0, noise, truth.shape))
        yield f"{name} {noise}", Image(values.astype(np.float32), axes="ZYX"[-ndim:]), truth
