from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import directed_hausdorff

from napari_medseg.errors import DataError
from napari_medseg.evaluate.metrics import glands
from napari_medseg.evaluate.metrics import objects as o
from napari_medseg.evaluate.metrics.hausdorff import EMPTY_HAUSDORFF


def random_maps(seed: int, shape: tuple[int, int] = (48, 52)) -> tuple[np.ndarray, np.ndarray]:
    """Make a reference of random blobs and a prediction: some moved, some split, some lost, some invented."""
    rng = np.random.default_rng(seed)
    ref, pred = np.zeros(shape, int), np.zeros(shape, int)
    y, x = np.indices(shape)
    for i in range(1, rng.integers(3, 12)):
        cy, cx, r = rng.integers(0, shape[0]), rng.integers(0, shape[1]), rng.uniform(1, 8)
        if rng.random() < 0.85:
            ref[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = i
        if rng.random() < 0.85:
            pred[(y - cy - rng.integers(-3, 4)) ** 2 + (x - cx - rng.integers(-3, 4)) ** 2 < r * r] = 20 - i
    return pred, ref


def masks(labels: np.ndarray, minimum: int = 1) -> list[np.ndarray]:
    """Split into 8-connected components of equal value, in raster order of their first pixel."""
    found = []
    for value in np.unique(labels)[1:] if (labels == 0).any() else np.unique(labels):
        parts, n = ndimage.label(labels == value, np.ones((3, 3)))
        found += [parts == k for k in range(1, n + 1)]
    found = [m for m in found if m.sum() >= minimum]
    return sorted(found, key=lambda m: int(np.argmax(m.ravel())))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def hausdorff(a: np.ndarray, b: np.ndarray) -> float:
    p, q = np.argwhere(a), np.argwhere(b)
    return max(directed_hausdorff(p, q)[0], directed_hausdorff(q, p)[0])


def naive_match(preds: list[np.ndarray], refs: list[np.ndarray]) -> list[tuple[int, int]]:
    pairs, used = [], set()
    for i, g in enumerate(refs):
        candidates = [j for j, s in enumerate(preds) if j not in used and (g & s).any()]
        if candidates:
            j = max(candidates, key=lambda j: iou(g, preds[j]))
            used.add(j)
            pairs.append((i, j))
    return pairs


def naive_aji(preds: list[np.ndarray], refs: list[np.ndarray], greedy: bool) -> float:
    if greedy:
        pairs = naive_match(preds, refs)
    else:
        pairs = []
        for i, g in enumerate(refs):
            candidates = [j for j, s in enumerate(preds) if (g & s).any()]
            if candidates:
                pairs.append((i, max(candidates, key=lambda j: iou(g, preds[j]))))
    common = sum((refs[i] & preds[j]).sum() for i, j in pairs)
    union = sum((refs[i] | preds[j]).sum() for i, j in pairs)
    union += sum(g.sum() for i, g in enumerate(refs) if i not in {p[0] for p in pairs})
    union += sum(s.sum() for j, s in enumerate(preds) if j not in {p[1] for p in pairs})
    return common / union


def naive_weighted(preds: list[np.ndarray], refs: list[np.ndarray], score, nothing) -> float:  # type: ignore[no-untyped-def]
    total = 0.0
    for mine, others in ((refs, preds), (preds, refs)):
        area = sum(m.sum() for m in mine)
        for m in mine:
            overlaps = [(m & other).sum() for other in others]
            met = bool(overlaps) and max(overlaps) > 0
            value = score(m, others[int(np.argmax(overlaps))]) if met else nothing(m, others)
            total += 0.5 * m.sum() / area * value
    return total


SEEDS = range(12)


@pytest.mark.parametrize("seed", SEEDS)
def test_aji_equals_the_naive_reference(seed: int) -> None:
    pred, ref = random_maps(seed)
    assert o.aji_greedy(pred, ref) == pytest.approx(naive_aji(masks(pred), masks(ref), True))
    assert o.aji(pred, ref) == pytest.approx(naive_aji(masks(pred), masks(ref), False))


@pytest.mark.parametrize("seed", SEEDS)
def test_matched_metrics_equal_the_naive_reference(seed: int) -> None:
    pred, ref = random_maps(seed)
    preds, refs = masks(pred), masks(ref)
    pairs = naive_match(preds, refs)
    assert o.object_f1(pred, ref) == pytest.approx(2 * len(pairs) / (len(preds) + len(refs)))
    assert o.matched_dice(pred, ref) == pytest.approx(np.mean([dice(refs[i], preds[j]) for i, j in pairs]))
    assert o.matched_iou(pred, ref) == pytest.approx(np.mean([iou(refs[i], preds[j]) for i, j in pairs]))
    assert o.matched_hausdorff(pred, ref) == pytest.approx(np.mean([hausdorff(refs[i], preds[j]) for i, j in pairs]))


@pytest.mark.parametrize("seed", SEEDS)
def test_gland_metrics_equal_the_naive_reference(seed: int) -> None:
    pred, ref = random_maps(seed)
    preds, refs = masks(pred), masks(ref, minimum=3)
    zero = lambda m, others: 0.0  # noqa: E731
    nearest = lambda m, others: min(hausdorff(m, other) for other in others)  # noqa: E731
    assert o.object_dice(pred, ref) == pytest.approx(naive_weighted(preds, refs, dice, zero))
    assert o.object_iou(pred, ref) == pytest.approx(naive_weighted(preds, refs, iou, zero))
    assert o.object_hausdorff(pred, ref) == pytest.approx(naive_weighted(preds, refs, hausdorff, nearest))


@pytest.mark.parametrize("seed", SEEDS)
def test_panoptic_quality_equals_the_naive_reference(seed: int) -> None:
    pred, ref = random_maps(seed)
    ids = [np.unique(m)[1:] for m in (pred, ref)]
    good = [iou(ref == i, pred == j) for i in ids[1] for j in ids[0] if iou(ref == i, pred == j) > 0.5]
    recognition = 2 * len(good) / (len(ids[0]) + len(ids[1]))
    assert o.rq(pred, ref) == pytest.approx(recognition)
    assert o.sq(pred, ref) == pytest.approx(np.mean(good) if good else 0)
    assert o.pq(pred, ref) == pytest.approx(o.sq(pred, ref) * o.rq(pred, ref))


def test_aji_variants_differ_where_one_prediction_covers_two() -> None:
    ref = np.array([[1, 1, 1, 2, 2, 2]])
    pred = np.array([[1, 1, 1, 1, 1, 1]])
    assert o.aji(pred, ref) == pytest.approx(6 / 12)
    assert o.aji_greedy(pred, ref) == pytest.approx(3 / 9)


def test_hausdorff_is_in_the_unit_of_spacing() -> None:
    ref, pred = np.zeros((10, 10), int), np.zeros((10, 10), int)
    ref[2:5, 2:5] = 1
    pred[2:7, 2:5] = 1
    assert o.object_hausdorff(pred, ref, (0.5, 3.0)) == pytest.approx(1.0)
    assert o.matched_hausdorff(pred, ref, (2.0, 3.0)) == pytest.approx(4.0)


EMPTY = np.zeros((8, 8), int)
BLOCK = np.pad(np.ones((3, 3), int), ((1, 4), (1, 4)))


@pytest.mark.parametrize("name", o.OBJECT_METRICS)
def test_every_metric_is_defined_on_empty_maps(name: str) -> None:
    metric = o.OBJECT_METRICS[name]
    for pred, ref in ((EMPTY, EMPTY), (BLOCK, EMPTY), (EMPTY, BLOCK)):
        value = metric(pred, ref, (1.0, 1.0))
        if name == "matched_hausdorff":
            assert math.isnan(value)
        elif name == "object_hausdorff":
            assert value == (0.0 if pred is ref else EMPTY_HAUSDORFF / 2)
        elif name.startswith("matched"):
            assert value == 0
        else:
            assert value == float(pred is ref)


def test_gland_f1_counts_a_reference_once() -> None:
    ref = np.zeros((6, 10), int)
    ref[1:5, 1:9] = 1
    pred = ref.copy()
    pred[:, 5:] *= 2
    assert glands.f1_counts(pred, ref).tolist() == [1, 2, 1]
    assert o.OBJECT_METRICS["f1_glas"](pred, ref, (1, 1)) == pytest.approx(2 / 3)


def test_references_below_three_pixels_are_no_glands() -> None:
    ref = np.zeros((6, 6), int)
    ref[0, 0] = 1
    ref[3:6, 3:6] = 2
    assert o.object_dice(np.where(ref == 2, 1, 0), ref) == pytest.approx(1)


def test_pooled_terms_are_those_of_one_large_image() -> None:
    (p1, r1), (p2, r2) = random_maps(1), random_maps(2)
    both = [np.concatenate([np.pad(a, 1), np.pad(b, 1)]) for a, b in ((p1, p2), (r1, r2))]
    joined = glands.pooled([glands.dice_terms(p1, r1), glands.dice_terms(p2, r2)]).weighted(1.0)
    assert joined == pytest.approx(o.object_dice(*both))


def test_different_sizes_are_refused() -> None:
    with pytest.raises(DataError, match="same size"):
        o.aji(EMPTY, np.zeros((8, 9), int))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("steps", [np.array([[1.5, 1.1], [0.0, 0.6]]), np.diag([1.5, 0.6]) @ np.eye(2)[::-1]])
def test_distances_of_objects_on_sheared_and_turned_axes(seed: int, steps: np.ndarray) -> None:
    pred, ref = random_maps(seed)
    p, t = masks(pred), masks(ref, glands.MIN_GLAND)
    places = [[np.argwhere(mask) @ steps.T for mask in side] for side in (t, p)]
    far = np.array([[max(directed_hausdorff(a, b)[0], directed_hausdorff(b, a)[0]) for b in places[1]]
                    for a in places[0]])  # fmt: skip
    expected = []
    for distance, side, others in ((far, t, p), (far.T, p, t)):
        common = np.array([[(a & b).sum() for b in others] for a in side])
        best = np.where(common.any(1), distance[range(len(side)), common.argmax(1)], distance.min(1))
        expected.append(np.average(best, weights=[a.sum() for a in side]))
    assert glands.object_hausdorff(pred, ref, steps) == pytest.approx(np.mean(expected))
