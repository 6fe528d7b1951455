"""Object metrics of the GlaS challenge (Sirinukunwattana et al., 2017), per image and pooled over a set.

References are cleaned of components below 3 pixels. ``*_terms`` return what one image contributes; `pooled` joins the
objects of several images into one set, as the contest does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from napari_medseg.evaluate.metrics.hausdorff import Shapes
from napari_medseg.evaluate.metrics.overlap import Overlaps, best, overlaps
from napari_medseg.evaluate.metrics.spacing import Spacing
from napari_medseg.measure.labels import components

MIN_GLAND = 3


def clean_glands(ref: np.ndarray) -> np.ndarray:
    """Relabel a reference into components and drop those below 3 pixels."""
    parts = components(ref)
    return components(np.where(np.bincount(parts.ravel())[parts] < MIN_GLAND, 0, parts))


@dataclass(frozen=True)
class Terms:
    """Areas (in pixels) and values of the reference and of the predicted objects of one or several images."""

    ref_area: np.ndarray
    ref_value: np.ndarray
    pred_area: np.ndarray
    pred_value: np.ndarray

    def weighted(self, empty: float) -> float:
        """Return half the area-weighted mean over the references plus half that over the predictions."""
        if not self.ref_area.size and not self.pred_area.size:
            return empty
        sides = ((self.ref_area, self.ref_value), (self.pred_area, self.pred_value))
        return float(sum(0.5 * (a * v).sum() / a.sum() for a, v in sides if a.size))


def pooled(terms: Iterable[Terms]) -> Terms:
    """Join the objects of several images into one set, as the contest does."""
    parts = list(terms)
    fields = ("ref_area", "ref_value", "pred_area", "pred_value")
    return Terms(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))


def object_terms(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = (1.0, 1.0)) -> dict[str, Terms]:
    """Return what one image contributes to each object metric of the contest."""
    return {
        "object_dice": dice_terms(pred, ref),
        "object_iou": iou_terms(pred, ref),
        "object_hausdorff": hausdorff_terms(pred, ref, spacing),
    }


def pooled_scores(images: Sequence[dict[str, Terms]]) -> dict[str, float]:
    """Return the object metrics over the objects of all `images` as one set, as the contest defines them."""
    empty = {"object_dice": 1.0, "object_iou": 1.0, "object_hausdorff": 0.0}
    return {name: pooled(image[name] for image in images).weighted(value) for name, value in empty.items()}


def _partner_terms(o: Overlaps, value: np.ndarray) -> Terms:
    sides = []
    for group, area in ((o.ref, o.ref_area), (o.pred, o.pred_area)):
        chosen = best(group, o.pixels, area.size)
        sides += [area, np.where(chosen >= 0, value[chosen] if value.size else 0.0, 0.0)]
    return Terms(*sides)


def dice_terms(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = (1.0, 1.0)) -> Terms:
    """Dice of every object with its largest overlap, 0 without one."""
    o = overlaps(components(pred), clean_glands(ref))
    return _partner_terms(o, o.dice)


def iou_terms(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = (1.0, 1.0)) -> Terms:
    """IoU of every object with its largest overlap, 0 without one."""
    o = overlaps(components(pred), clean_glands(ref))
    return _partner_terms(o, o.iou)


def hausdorff_terms(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = (1.0, 1.0)) -> Terms:
    """Hausdorff distance of every object to its largest overlap, else to the object with the smallest distance.

    With an empty other map it is 1e5, as in the authors' code.
    """
    pred, ref = components(pred), clean_glands(ref)
    o = overlaps(pred, ref)
    refs, preds = Shapes(ref, spacing), Shapes(pred, spacing)
    known: dict[tuple[int, int], float] = {}

    def distance(i: int, j: int) -> float:
        if (i, j) not in known:
            known[i, j] = refs.hausdorff(i, preds, j)
        return known[i, j]

    best_pred = best(o.ref, o.pixels, o.ref_area.size)
    best_ref = best(o.pred, o.pixels, o.pred_area.size)
    of_ref = [
        distance(i, int(o.pred[k])) if k >= 0 else refs.nearest(i, preds, lambda j, i=i: distance(i, j))  # type: ignore[misc]
        for i, k in enumerate(best_pred)
    ]
    of_pred = [
        distance(int(o.ref[k]), j) if k >= 0 else preds.nearest(j, refs, lambda i, j=j: distance(i, j))  # type: ignore[misc]
        for j, k in enumerate(best_ref)
    ]
    return Terms(o.ref_area, np.asarray(of_ref), o.pred_area, np.asarray(of_pred))


def object_dice(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = (1.0, 1.0)) -> float:
    """Object Dice of the GlaS challenge."""
    return dice_terms(pred, ref).weighted(1.0)


def object_iou(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = (1.0, 1.0)) -> float:
    """Object IoU, the FullNet authors' analogue of object Dice."""
    return iou_terms(pred, ref).weighted(1.0)


def object_hausdorff(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = (1.0, 1.0)) -> float:
    """Object Hausdorff distance of the GlaS challenge in the unit of `spacing`; 1e5 for objects facing an empty map."""
    return hausdorff_terms(pred, ref, spacing).weighted(0.0)


def f1_counts(pred: np.ndarray, ref: np.ndarray) -> np.ndarray:
    """Return (true positives, predicted objects, reference objects) of one image; sum them over images to pool.

    A prediction is true if it covers half of the reference it overlaps most; a reference counts once.
    """
    o = overlaps(components(pred), clean_glands(ref))
    partner = best(o.pred, o.pixels, o.pred_area.size)
    partner = partner[partner >= 0]
    found = o.ref[partner][2 * o.pixels[partner] >= o.ref_area[o.ref[partner]]]
    return np.array([np.unique(found).size, o.pred_area.size, o.ref_area.size])


def f1_glas(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = (1.0, 1.0)) -> float:
    """Object F1 of the GlaS challenge."""
    return f1_of(f1_counts(pred, ref))


def f1_of(counts: np.ndarray) -> float:
    """Return F1 = 2 TP / (predicted + reference objects), 1 without objects."""
    total = counts[1] + counts[2]
    return float(2 * counts[0] / total) if total else 1.0
