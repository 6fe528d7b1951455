"""Metrics for thin structures: F1 of centrelines with a tolerance in pixels, and clDice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from napari_medseg.errors import DataError
from napari_medseg.evaluate.metrics.spacing import Spacing

Metric = Callable[[np.ndarray, np.ndarray, Spacing], float]


def centreline(mask: np.ndarray) -> np.ndarray:
    """Return the skeleton (bool) of a 2D or 3D mask (any value > 0 is foreground)."""
    from skimage.morphology import skeletonize

    return np.asarray(skeletonize(np.asarray(mask) > 0), bool)


def tolerance_scores(pred: np.ndarray, ref: np.ndarray, tolerance: float) -> tuple[float, float, float]:
    """Return precision, recall and F1 of the skeleton of `pred` against that of `ref`.

    A skeleton pixel is correct if the other skeleton has a pixel within `tolerance` pixels (Euclidean).
    Two empty masks agree perfectly; one empty mask scores 0.

    Raises
    ------
    DataError
        If the shapes differ.
    """
    p, r = centreline(_same_shape(pred, ref)), centreline(ref)
    if not p.any() or not r.any():
        value = float(p.any() == r.any())
        return value, value, value
    precision, recall = _share_near(p, r, tolerance), _share_near(r, p, tolerance)
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0


def tolerance_f1(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = (), tolerance: float = 3.0) -> float:
    """Return the F1 of `tolerance_scores`; the tolerance is in pixels whatever the `spacing`."""
    return tolerance_scores(pred, ref, tolerance)[2]


def cldice(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = ()) -> float:
    """Return the centreline Dice of two masks (Shit et al., CVPR 2021, eq. 1 and 2)."""
    p, r = np.asarray(_same_shape(pred, ref)) > 0, np.asarray(ref) > 0
    sp, sr = centreline(p), centreline(r)
    if not sp.any() or not sr.any():
        return float(sp.any() == sr.any())
    precision, sensitivity = float(r[sp].mean()), float(p[sr].mean())
    total = precision + sensitivity
    return 2 * precision * sensitivity / total if total else 0.0


def _share_near(points: np.ndarray, others: np.ndarray, tolerance: float) -> float:
    from scipy.ndimage import distance_transform_edt

    return float((distance_transform_edt(~others)[points] <= tolerance).mean())


def _same_shape(pred: np.ndarray, ref: np.ndarray) -> np.ndarray:
    if np.shape(pred) != np.shape(ref):
        raise DataError(f"Result {np.shape(pred)} and reference {np.shape(ref)} differ in size; compare the same grid.")
    return pred


TOLERANCE_METRICS: dict[str, Metric] = {
    "f1_1px": partial(tolerance_f1, tolerance=1.0),
    "f1_2px": partial(tolerance_f1, tolerance=2.0),
    "f1_3px": partial(tolerance_f1, tolerance=3.0),
    "cldice": cldice,
}
