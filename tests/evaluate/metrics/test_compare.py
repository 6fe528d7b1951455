"""Metrics against a confusion table counted by hand and against the published reference vector's identities."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medseg.errors import DataError, SettingsError
from napari_medseg.evaluate.metrics.compare import compare, get_metric
from napari_medseg.image import Image, LabelKind

# TP 3, FP 1, FN 2, TN 4
P = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0]).reshape(2, 5)
T = np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0]).reshape(2, 5)
BY_HAND = {
    "accuracy": 0.7,
    "precision": 3 / 4,
    "recall": 3 / 5,
    "specificity": 4 / 5,
    "dice": 6 / 9,
    "iou": 3 / 6,
    "mcc": (3 * 4 - 1 * 2) / (4 * 5 * 5 * 6) ** 0.5,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name: str) -> None:
    result = compare(Image(P, "YX"), Image(T, "YX"), [name])
    assert result[name] == pytest.approx(BY_HAND[name])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.uint32, np.int64])
def test_labels_above_0_are_foreground_whatever_their_type(dtype: type) -> None:
    one, several = np.array([[0, 1, 1, 1]], dtype), np.array([[0, 2, 100, 127]], dtype)
    for p, t in ((one, several), (several, one)):
        assert compare(Image(p, "YX", kind="labels"), Image(t, "YX", kind="labels"), ["dice"])["dice"] == 1


def test_empty_masks_do_not_poison_a_mean() -> None:
    zero, one = Image(np.zeros((3, 3), np.uint8), "YX"), Image(np.eye(3, dtype=np.uint8), "YX")
    both = compare(zero, zero, BY_HAND)
    assert both == {"accuracy": 1, "precision": 1, "recall": 1, "specificity": 1, "dice": 1, "iou": 1, "mcc": 0}
    missed = compare(zero, one, ["dice", "precision", "recall", "mcc"])
    assert missed == {"dice": 0, "precision": 0, "recall": 0, "mcc": 0}


def test_classes_are_scored_one_by_one() -> None:
    p, t = np.array([[1, 1, 2, 2]]), np.array([[1, 1, 2, 0]])
    result = compare(Image(p, "YX"), Image(t, "YX"), ["dice"], "classes")
    assert result == {"dice_1": 1, "dice_2": pytest.approx(2 / 3), "dice": pytest.approx((1 + 2 / 3) / 2)}


def test_other_size_and_unknown_metric_are_refused() -> None:
    with pytest.raises(DataError, match="2 x 5 pixels"):
        compare(Image(P, "YX"), Image(np.zeros((3, 3), int), "YX"), ["dice"])
    with pytest.raises(SettingsError, match="nonsense"):
        get_metric("nonsense")


def test_the_published_reference_vector_is_consistent_with_ours() -> None:
    """Counts solved from the published accuracy, precision and recall of a 512x512 pair give its other values."""
    n, wrong = 512 * 512, round((1 - 0.989960) * 512 * 512)
    tp = round(wrong / (1 / 0.986602 + 1 / 0.974364 - 2))
    fp = round(tp * (1 / 0.986602 - 1))
    fn = wrong - fp
    p, t = np.zeros(n, np.uint8), np.zeros(n, np.uint8)
    p[: tp + fp], t[:tp], t[tp + fp : tp + fp + fn] = 255, 255, 255
    names = ("accuracy", "precision", "recall", "mcc", "dice", "iou")
    values = compare(Image(p.reshape(512, 512), "YX"), Image(t.reshape(512, 512), "YX"), names)
    published = dict(zip(names, (0.989960, 0.986602, 0.974364, 0.973726, 0.980445, 0.961640), strict=True))
    assert values == pytest.approx(published, abs=2e-5)
    background = compare(Image(255 - p.reshape(512, 512), "YX"), Image(255 - t.reshape(512, 512), "YX"), ["dice"])
    assert background["dice"] == pytest.approx(0.993246, abs=2e-5)


def shifted(unit: str, size: float, axes: str = "ZYX") -> tuple[Image, Image]:
    """A box and the same box two voxels to the right, of voxels of 3 x 0.6 x 0.6 mm in another unit."""
    truth = np.zeros((6, 20, 24), np.uint8)
    truth[1:4, 4:12, 4:14] = 1
    steps = tuple(step * size for step in (3, 0.6, 0.6))
    return tuple(Image(d, axes, steps, (unit,) * 3, kind="labels") for d in (np.roll(truth, 2, 2), truth))  # type: ignore[return-value]


def test_the_tolerance_is_a_length_and_no_number_of_units() -> None:
    found = [compare(*shifted(unit, size), ["nsd"])["nsd"] for unit, size in (("millimeter", 1), ("micrometer", 1e3))]
    assert found[0] == pytest.approx(found[1])
    assert found[0] == get_metric("nsd")(*(np.asarray(i.data) for i in shifted("millimeter", 1)), (3, 0.6, 0.6))
    small = [compare(*shifted(unit, size), ["nsd"])["nsd"] for unit, size in (("millimeter", 1e-3), ("micrometer", 1))]
    assert small == pytest.approx(found)  # of a microscope's pixels within 1 um


def test_objects_are_compared_in_one_plane() -> None:
    stack = Image(np.ones((2, 8, 9), np.uint8), "TYX", kind="labels")
    with pytest.raises(DataError, match="one plane"):
        compare(stack, stack, ["aji"], "instances")


@pytest.mark.parametrize("kind", ["binary", "classes", "instances"])
def test_negative_labels_are_refused(kind: LabelKind) -> None:
    labels = Image(np.array([[0, 1, -1]]), "YX", kind="labels")
    with pytest.raises(DataError, match="negative labels"):
        compare(labels, labels, ["dice"], kind)


def test_axes_in_another_order_are_compared_where_they_lie() -> None:
    truth = np.zeros((12, 12), np.uint8)
    truth[2:4, 3:11] = 1
    usual, turned = Image(truth, "YX", kind="labels"), Image(truth.T.copy(), "XY", kind="labels")
    assert compare(usual, turned, ["dice"])["dice"] == compare(turned, usual, ["dice"])["dice"] == 1
    assert compare(turned, turned, ["dice"])["dice"] == 1


def test_distances_of_a_sheared_layer_are_those_of_its_places() -> None:
    """Two planes of one voxel each, one step apart along a slanted axis: a step along it is 5 mm long."""
    truth, result = np.zeros((2, 8, 9, 9), np.uint8)
    truth[2, 4, 4] = result[3, 4, 4] = 1
    slanted = np.eye(4)
    slanted[:3, 0] = 3.0, 0.0, 4.0  # a step along z goes 4 mm to the side too: 5 mm in all
    images = [Image(data, "ZYX", (5, 1, 1), ("millimeter",) * 3, slanted, "labels") for data in (result, truth)]
    assert compare(*images, ["assd", "hd95"]) == {"assd": pytest.approx(5), "hd95": pytest.approx(5)}
    truth[2, 4, 4:9] = 1  # the last of them lies 3 mm below the result's voxel
    assert compare(*images, ["hd95"])["hd95"] == pytest.approx(np.percentile(np.hypot(3, [0, 1, 2, 3, 4]), 95))


@pytest.mark.parametrize("kind", ["binary", "classes"])
def test_a_movie_is_compared_frame_by_frame_in_space(kind: LabelKind) -> None:
    rng = np.random.default_rng(0)
    result, truth = (rng.random((2, 5, 12, 14)) < 0.2).astype(np.uint8)
    result[0], truth[0], truth[1] = 0, 0, 0
    names = ("assd", "hd95", "nsd", "f1_1px", "cldice")
    steps, units = (0.5, 0.5), ("micrometer",) * 2
    movie = [Image(d, "TYX", (30, *steps), ("second", *units), kind="labels") for d in (result, truth)]
    frames = [
        compare(*(Image(d, "YX", steps, units, kind="labels") for d in pair), names, kind)
        for pair in zip(result, truth, strict=True)
    ]
    expected = {name: pytest.approx(np.mean([frame[name] for frame in frames])) for name in names}
    assert compare(*movie, names, kind) == expected
    assert compare(*movie, ["dice"])["dice"] == pytest.approx(2 * (result & truth).sum() / (result.sum() + truth.sum()))
