"""The sparse matrix of overlaps between the objects of two label maps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import coo_array

from napari_medseg.errors import DataError


@dataclass(frozen=True)
class Overlaps:
    """Overlapping pairs of reference object `ref[k]` and predicted object `pred[k]` with `pixels[k]` common pixels.

    Objects count from 0; pairs are sorted by reference object. `ref_area` and `pred_area` are in pixels.
    """

    ref: np.ndarray
    pred: np.ndarray
    pixels: np.ndarray
    ref_area: np.ndarray
    pred_area: np.ndarray

    @cached_property
    def iou(self) -> np.ndarray:
        """Intersection over union of each pair."""
        return np.asarray(self.pixels / (self.ref_area[self.ref] + self.pred_area[self.pred] - self.pixels))

    @cached_property
    def dice(self) -> np.ndarray:
        """Dice coefficient of each pair."""
        return np.asarray(2 * self.pixels / (self.ref_area[self.ref] + self.pred_area[self.pred]))


def overlaps(pred: np.ndarray, ref: np.ndarray) -> Overlaps:
    """Count common pixels of every pair of objects; labels must be 0 .. N."""
    if pred.shape != ref.shape:
        raise DataError(f"The prediction is {pred.shape} but the reference {ref.shape}; they must have the same size.")
    ref_area = np.bincount(ref.ravel())[1:]
    pred_area = np.bincount(pred.ravel())[1:]
    both = (ref > 0) & (pred > 0)
    shape = (ref_area.size + 1, pred_area.size + 1)
    matrix = coo_array((np.ones(int(both.sum()), np.int64), (ref[both], pred[both])), shape=shape).tocsr().tocoo()
    matrix.sum_duplicates()
    order = np.lexsort((matrix.col, matrix.row))
    return Overlaps(matrix.row[order] - 1, matrix.col[order] - 1, matrix.data[order], ref_area, pred_area)


def best(group: np.ndarray, value: np.ndarray, size: int) -> np.ndarray:
    """Return per group the index of its pair with the largest value (the first on ties), -1 without pairs."""
    chosen = np.full(size, -1)
    order = np.lexsort((-np.arange(group.size), value))
    chosen[group[order]] = order
    return chosen
