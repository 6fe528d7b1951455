"""Evaluation metrics of a label map against its reference, by the names that the papers use.

Undefined ratios (0/0) are 0, but a score of two empty masks is 1, so that one blank image never poisons a mean.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable

import numpy as np

from napari_medseg.errors import DataError, SettingsError
from napari_medseg.evaluate.metrics.spacing import Spacing
from napari_medseg.image import SHORT_UNITS, Image, LabelKind, mm_per
from napari_medseg.io.geometry import in_order, measurable
from napari_medseg.io.grids import on_grid
from napari_medseg.measure.labels import foreground, refuse_negative

MICROSCOPIC = 0.01  # mm: pixels below it are a microscope's
Metric = Callable[[np.ndarray, np.ndarray, Spacing], float]
LENGTHS = ("assd", "hd95", "object_hausdorff", "matched_hausdorff")


def confusion(predicted: np.ndarray, truth: np.ndarray) -> tuple[int, int, int, int]:
    """Return true positives, false positives, false negatives and true negatives of two masks."""
    p, t = foreground(predicted), foreground(truth)
    tp, fp, fn = int((p & t).sum()), int((p & ~t).sum()), int((~p & t).sum())
    return tp, fp, fn, p.size - tp - fp - fn


def accuracy(p: np.ndarray, t: np.ndarray, spacing: Spacing = ()) -> float:
    """(TP + TN) / all."""
    tp, _, _, tn = confusion(p, t)
    return _ratio(tp + tn, p.size, 1.0)


def precision(p: np.ndarray, t: np.ndarray, spacing: Spacing = ()) -> float:
    """TP / (TP + FP)."""
    tp, fp, fn, _ = confusion(p, t)
    return _ratio(tp, tp + fp, float(fn == 0))


def recall(p: np.ndarray, t: np.ndarray, spacing: Spacing = ()) -> float:
    """TP / (TP + FN), the sensitivity."""
    tp, fp, fn, _ = confusion(p, t)
    return _ratio(tp, tp + fn, float(fp == 0))


def specificity(p: np.ndarray, t: np.ndarray, spacing: Spacing = ()) -> float:
    """TN / (TN + FP)."""
    _, fp, _, tn = confusion(p, t)
    return _ratio(tn, tn + fp, 1.0)


def dice(p: np.ndarray, t: np.ndarray, spacing: Spacing = ()) -> float:
    """2 TP / (2 TP + FP + FN)."""
    tp, fp, fn, _ = confusion(p, t)
    return _ratio(2 * tp, 2 * tp + fp + fn, 1.0)


def iou(p: np.ndarray, t: np.ndarray, spacing: Spacing = ()) -> float:
    """TP / (TP + FP + FN)."""
    tp, fp, fn, _ = confusion(p, t)
    return _ratio(tp, tp + fp + fn, 1.0)


def mcc(p: np.ndarray, t: np.ndarray, spacing: Spacing = ()) -> float:
    """Matthews correlation (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN)); 0 when undefined."""
    tp, fp, fn, tn = confusion(p, t)
    product = float(tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / product**0.5 if product else 0.0


OVERLAP_METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "precision": precision,
    "recall": recall,
    "specificity": specificity,
    "dice": dice,
    "iou": iou,
    "mcc": mcc,
}
SOURCES = {"tolerance": "TOLERANCE_METRICS", "objects": "OBJECT_METRICS", "surface": "SURFACE_METRICS"}


def get_metric(name: str) -> Metric:
    """Return a metric ``f(predicted, truth, spacing) -> float`` by name."""
    known = dict(OVERLAP_METRICS)
    for module, table in SOURCES.items():
        if name in known:
            break
        known |= getattr(importlib.import_module(f"napari_medseg.evaluate.metrics.{module}"), table)
    if name not in known:
        raise SettingsError(f"There is no metric {name!r}. Known metrics: {', '.join(known)}.")
    return known[name]


def compare(
    predicted: Image, truth: Image, names: Iterable[str], kind: LabelKind = "binary", *, each: bool = False
) -> dict[str, float]:
    """Return metrics of one image; for several classes the mean over classes and each as ``dice_1``, ``dice_2`` ...

    With `each` a class that is alone has its own too, so that images of a set can be averaged class by class.
    Of a movie, what is measured by distances and centrelines is found frame by frame, and the mean over all frames
    returned, as for a folder of the frames; what counts pixels counts those of all frames together.

    Raises
    ------
    DataError
        If nothing says how the two lie on each other, they lie elsewhere, labels are negative, or objects are not of
        one plane.
    """
    truth = in_order(truth)
    predicted = on_grid(predicted, truth, "result")
    for one in (predicted, truth):
        refuse_negative(one)
    p, t = np.asarray(predicted.data), np.asarray(truth.data)
    if kind == "instances" and t.ndim != 2:
        raise DataError(f"Objects are compared in one plane; {truth.name or 'the reference'} has axes {truth.axes}.")
    if kind == "binary":
        p, t = foreground(p), foreground(t)
    spacings = {name: spacing_of(name, truth) for name in names}
    timed = "T" in truth.axes
    if kind != "classes":
        return {name: _value(name, p, t, spacing, timed) for name, spacing in spacings.items()}
    return _by_class(p, t, spacings, timed, each)


def spacing_of(name: str, truth: Image) -> np.ndarray:
    """Return the steps in space, (n, n), in the unit of a metric's lengths, or of its tolerance (`tolerance_of`)."""
    truth = measurable(in_order(truth))
    first = int("T" in truth.axes)
    steps = truth.steps[first:, first:]
    if name != "nsd" or (mm := mm_per(truth.units[-1])) is None:
        return steps
    return steps * mm * (1e3 if tolerance_of(truth) == "1 um" else 1)


def unit_of(truth: Image) -> str:
    """Return the unit of a metric's lengths, ``px`` without a pixel size."""
    unit = measurable(in_order(truth)).units[-1]
    return SHORT_UNITS.get(unit, unit)


def tolerance_of(truth: Image) -> str:
    """Return the tolerance of the surface Dice: 1 mm, of pixels below 0.01 mm 1 um, without a pixel size 1 px."""
    truth = measurable(in_order(truth))
    mm = mm_per(truth.units[-1])
    if mm is None:
        return f"1 {unit_of(truth)}"
    steps = truth.scale[int("T" in truth.axes) :]
    return "1 um" if max(steps) * mm < MICROSCOPIC else "1 mm"


def said_of_lengths(truth: Image, names: Iterable[str]) -> dict[str, str]:
    """Return ``length unit`` and ``nsd tolerance`` of those of the metrics that have one."""
    names = tuple(names)
    said = {"length unit": unit_of(truth)} if any(name.startswith(LENGTHS) for name in names) else {}
    return said | ({"nsd tolerance": tolerance_of(truth)} if any(name.startswith("nsd") for name in names) else {})


TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = 1, 2, 3


def error_map(predicted: np.ndarray, truth: np.ndarray, kind: LabelKind = "binary") -> np.ndarray:
    """Return 1 where both have foreground, 2 only the result, 3 only the reference, 0 elsewhere; uint8 (*spatial).

    Masks are read as `compare` reads them. With ``kind="classes"`` another class than the reference's is a false
    positive; instances count as foreground whatever their number.

    Raises
    ------
    DataError
        If the two are of different size.
    """
    if predicted.shape != truth.shape:
        raise DataError(f"The result is {predicted.shape} but its reference {truth.shape}. Compare on the same grid.")
    if kind == "binary":
        predicted, truth = foreground(predicted), foreground(truth)
    p, t = foreground(predicted), foreground(truth)
    right = p & t & (predicted == truth) if kind == "classes" else p & t
    errors = np.zeros(p.shape, np.uint8)
    errors[t & ~p] = FALSE_NEGATIVE
    errors[p] = FALSE_POSITIVE
    errors[right] = TRUE_POSITIVE
    return errors


def _value(name: str, p: np.ndarray, t: np.ndarray, spacing: Spacing, timed: bool) -> float:
    """Return a metric of two masks; of movies that of each frame, unless it counts pixels, and the mean of them."""
    metric = get_metric(name)
    if not timed or name in OVERLAP_METRICS:
        return float(metric(p, t, spacing))
    return float(np.mean([metric(*frames, spacing) for frames in zip(p, t, strict=True)]))


def _by_class(
    p: np.ndarray, t: np.ndarray, spacings: dict[str, np.ndarray], timed: bool, each: bool
) -> dict[str, float]:
    """Return each metric as the mean over classes, and of each class where there are several or `each` asks for it."""
    found = [int(k) for k in np.union1d(np.unique(p), np.unique(t)) if k > 0]
    classes = found or [1]
    rows: dict[str, float] = {}
    for name, spacing in spacings.items():
        values = [_value(name, p == k, t == k, spacing, timed) for k in classes]
        finite = [v for v in values if np.isfinite(v)]
        rows[name] = float(np.mean(finite)) if finite else float("nan")
        if len(found) > 1 or (each and found):
            rows |= {f"{name}_{k}": v for k, v in zip(classes, values, strict=True)}
    return rows


def _ratio(numerator: float, denominator: float, undefined: float) -> float:
    return numerator / denominator if denominator else undefined
