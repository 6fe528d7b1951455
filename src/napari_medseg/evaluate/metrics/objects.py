"""Object-level agreement of two instance maps: AJI, panoptic quality, object F1 / Dice / IoU / Hausdorff.

Every function takes prediction and reference (H, W) integer label maps and the pixel size, and returns one number. All
start from the sparse matrix of overlaps. Where nothing is in either map the agreement is 1 (Hausdorff 0).

Nuclei and gland metrics relabel both maps into 8-connected components of equal value, as the FullNet authors do; the
panoptic quality uses the ids as they are (a map with a single id is split into its components).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from napari_medseg.evaluate.metrics.glands import f1_glas, object_dice, object_hausdorff, object_iou
from napari_medseg.evaluate.metrics.hausdorff import Shapes
from napari_medseg.evaluate.metrics.overlap import Overlaps, best, overlaps
from napari_medseg.evaluate.metrics.spacing import Spacing
from napari_medseg.measure.labels import components, instances


def _nuclei(pred: np.ndarray, ref: np.ndarray) -> Overlaps:
    return overlaps(components(pred), components(ref))


def match_greedy(o: Overlaps) -> np.ndarray:
    """Pair each reference object, in label order, with the unused prediction of largest IoU; return pair indices."""
    used = np.zeros(o.pred_area.size, bool)
    chosen = []
    bounds = np.searchsorted(o.ref, np.arange(o.ref_area.size + 1))
    for start, stop in pairwise(bounds):
        pair = max((k for k in range(start, stop) if not used[o.pred[k]]), key=o.iou.__getitem__, default=-1)
        if pair >= 0:
            used[o.pred[pair]] = True
            chosen.append(pair)
    return np.asarray(chosen, np.int64)


def aji_greedy(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = (1.0, 1.0)) -> float:
    """Aggregated Jaccard index with one-to-one matching, as the FullNet authors compute it."""
    o = _nuclei(pred, ref)
    return _aggregate(o, match_greedy(o))


def aji(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = (1.0, 1.0)) -> float:
    """Aggregated Jaccard index of Kumar et al. (2017): a prediction may be the partner of several references."""
    o = _nuclei(pred, ref)
    partner = best(o.ref, o.iou, o.ref_area.size)
    return _aggregate(o, partner[partner >= 0])


def _aggregate(o: Overlaps, pairs: np.ndarray) -> float:
    common = o.pixels[pairs].sum()
    union = (o.ref_area[o.ref[pairs]] + o.pred_area[o.pred[pairs]]).sum() - common
    missed = o.ref_area.sum() - o.ref_area[np.unique(o.ref[pairs])].sum()
    spare = o.pred_area.sum() - o.pred_area[np.unique(o.pred[pairs])].sum()
    total = union + missed + spare
    return float(common / total) if total else 1.0


def object_f1(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = (1.0, 1.0)) -> float:
    """Object F1 = 2 TP / (2 TP + FP + FN) of greedily matched nuclei, without an IoU threshold."""
    o = _nuclei(pred, ref)
    total = o.ref_area.size + o.pred_area.size
    return 2 * match_greedy(o).size / total if total else 1.0


def matched_dice(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = (1.0, 1.0)) -> float:
    """Mean Dice of greedily matched nuclei, 0 without any."""
    o = _nuclei(pred, ref)
    pairs = match_greedy(o)
    return float(o.dice[pairs].mean()) if pairs.size else 0.0


def matched_iou(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = (1.0, 1.0)) -> float:
    """Mean IoU of greedily matched nuclei, 0 without any."""
    o = _nuclei(pred, ref)
    pairs = match_greedy(o)
    return float(o.iou[pairs].mean()) if pairs.size else 0.0


def matched_hausdorff(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = (1.0, 1.0)) -> float:
    """Mean Hausdorff distance of greedily matched nuclei in the unit of `spacing`, NaN without any."""
    pred, ref = components(pred), components(ref)
    o = overlaps(pred, ref)
    pairs = match_greedy(o)
    if not pairs.size:
        return math.nan
    refs, preds = Shapes(ref, spacing), Shapes(pred, spacing)
    return float(np.mean([refs.hausdorff(o.ref[k], preds, o.pred[k]) for k in pairs]))


# ---- panoptic quality
def _panoptic(pred: np.ndarray, ref: np.ndarray) -> tuple[float, float]:
    o = overlaps(instances(pred), instances(ref))
    true = o.iou[o.iou > 0.5]
    total = o.ref_area.size + o.pred_area.size
    if not total:
        return 1.0, 1.0
    return (float(true.mean()) if true.size else 0.0), 2 * true.size / total


def sq(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = (1.0, 1.0)) -> float:
    """Segmentation quality: mean IoU of the pairs above 0.5."""
    return _panoptic(pred, ref)[0]


def rq(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = (1.0, 1.0)) -> float:
    """Recognition quality: F1 of the pairs with IoU above 0.5."""
    return _panoptic(pred, ref)[1]


def pq(pred: np.ndarray, ref: np.ndarray, spacing: Spacing = (1.0, 1.0)) -> float:
    """Panoptic quality = SQ x RQ (Kirillov et al., 2019)."""
    return math.prod(_panoptic(pred, ref))


Metric = Callable[[np.ndarray, np.ndarray, Spacing], float]
OBJECT_METRICS: dict[str, Metric] = {
    "f1": object_f1,
    "aji": aji,
    "aji_greedy": aji_greedy,
    "pq": pq,
    "sq": sq,
    "rq": rq,
    "object_dice": object_dice,
    "object_iou": object_iou,
    "object_hausdorff": object_hausdorff,
    "f1_glas": f1_glas,
    "matched_dice": matched_dice,
    "matched_iou": matched_iou,
    "matched_hausdorff": matched_hausdorff,
}
