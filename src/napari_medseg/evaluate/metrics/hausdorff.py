"""Hausdorff distances between objects of two label maps, from their pixels alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_medseg.evaluate.metrics.spacing import Spacing, steps_of

EMPTY_HAUSDORFF = 1e5


class Shapes:
    """The objects of a label map (H, W) with labels 1 .. N, here 0 .. N - 1; distances in the unit of `spacing`."""

    def __init__(self, labels: np.ndarray, spacing: Spacing = (1.0, 1.0)) -> None:
        self.labels, self.steps = labels, steps_of(spacing, 2)
        self._boxes = ndimage.find_objects(labels)
        corners = [[*(s.start for s in box), *(s.stop - 1 for s in box)] for box in self._boxes]
        along = np.diag(self.steps) * (np.count_nonzero(self.steps, axis=1) == 1)  # 0: a place that the box leaves open
        self.bounds = np.asarray(corners, float).reshape(-1, 4) * np.tile(along, 2)
        self.pixels = lru_cache(None)(self._pixels)
        self.tree = lru_cache(None)(self._tree)

    def hausdorff(self, i: int, other: Shapes, j: int) -> float:
        """Return the symmetric Hausdorff distance of object `i` to object `j` of `other`, over all their pixels."""
        return max(self._directed(i, other, j), other._directed(j, self, i))

    def nearest(self, i: int, other: Shapes, distance: Callable[[int], float]) -> float:
        """Return the smallest ``distance(j)`` over the objects of `other`, 1e5 if there are none.

        Objects are tried in the order of a lower bound, the largest difference of their boxes' sides.
        """
        below = np.abs(other.bounds - self.bounds[i]).max(1)
        smallest = EMPTY_HAUSDORFF if not below.size else np.inf
        for j in np.argsort(below, kind="stable"):
            if below[j] >= smallest:
                break
            smallest = min(smallest, distance(int(j)))
        return float(smallest)

    def _directed(self, i: int, other: Shapes, j: int) -> float:
        pixels = self.pixels(i)
        outside = pixels[other.labels[pixels[:, 0], pixels[:, 1]] != j + 1]
        return float(other.tree(j).query(outside @ self.steps.T)[0].max()) if outside.size else 0.0

    def _pixels(self, i: int) -> np.ndarray:
        box = self._boxes[i]
        return np.asarray(np.argwhere(self.labels[box] == i + 1) + [s.start for s in box])

    def _tree(self, i: int) -> cKDTree:
        mask = self.labels[self._boxes[i]] == i + 1
        edge = mask & ~ndimage.binary_erosion(mask)
        return cKDTree((np.argwhere(edge) + [s.start for s in self._boxes[i]]) @ self.steps.T)
