from __future__ import annotations

import numpy as np
import pytest

from napari_medseg.errors import DataError
from napari_medseg.evaluate.metrics.video import classification_scores, mask_scores, mcc
from napari_medseg.image import Image
from napari_medseg.measure import video


def masks_image(masks: np.ndarray, unit: str = "pixel") -> Image:
    return Image(masks, "TYX", (0.5, 0.1, 0.1), ("second", unit, unit), kind="labels")


def test_contrast_is_the_ratio_to_the_ring_and_ignores_saturation() -> None:
    frame = np.full((40, 40), 50, np.uint8)
    mask = np.zeros((40, 40), bool)
    mask[18:22, 18:22] = True
    frame[mask] = 120
    frame[18, 18] = 255  # specular: left out
    frame[10, 10] = 255
    inner = video.ring(mask, 0, 3)
    frame[inner] = 90  # blur around the nerve lies in the gap
    assert video.contrast(frame, mask)["nbr"] == pytest.approx(120 / 50)
    assert np.isnan(video.contrast(frame, mask)["cnr"])  # a constant ring has no noise
    noisy = frame.copy()
    noisy[::2] += (noisy[::2] == 50).astype(np.uint8) * 4
    outside = noisy[video.ring(mask)].astype(float)
    outside = outside[outside < 255]
    result = video.contrast(np.repeat(noisy[..., None], 3, 2), mask)
    assert result["cnr"] == pytest.approx((120 - outside.mean()) / outside.std())


def test_ring_equals_its_definition() -> None:
    mask = np.zeros((30, 34), bool)
    mask[5:7, 3:9] = True
    mask[20, 30] = True
    rows, columns = np.indices(mask.shape)
    points = np.argwhere(mask)
    distance = np.min([np.maximum(abs(rows - y), abs(columns - x)) for y, x in points], 0)
    np.testing.assert_array_equal(video.ring(mask, 2, 4), (distance > 2) & (distance <= 6))
    assert not video.ring(np.zeros((5, 5), bool)).any()


def test_table_has_one_row_per_frame() -> None:
    masks = np.zeros((3, 20, 30), np.uint8)
    masks[1, 2:6, 4:10] = 1
    masks[1, 15, 20] = 1
    rows = video.table(masks_image(masks, "millimeter"), Image(masks * 90 + 60, "TYX", (0.5, 0.1, 0.1)))
    assert rows["mask_area_px"].tolist() == [0, 25, 0]
    assert rows["n_components"].tolist() == [0, 2, 0]
    assert rows["time_s"].tolist() == [0, 0.5, 1]
    assert rows.loc[1, "mask_area_mm2"] == pytest.approx(0.25)
    points = np.argwhere(masks[1])
    assert rows.loc[1, ["centroid_y", "centroid_x"]].tolist() == pytest.approx(points.mean(0).tolist())
    assert rows.loc[1, "nbr"] == pytest.approx(150 / 60)
    assert rows.loc[[0, 2], "nbr"].isna().all()


def test_empty_movie_and_wrong_axes() -> None:
    rows = video.summary(masks_image(np.zeros((2, 4, 4), np.uint8)))
    assert rows.loc[0, "nerve_frames"] == 0
    assert rows.loc[0, "flicker"] == 0
    with pytest.raises(DataError, match="have the axes TYX"):
        video.table(Image(np.zeros((2, 4, 4), np.uint8), "ZYX", kind="labels"))
    with pytest.raises(DataError, match="Give the movie it is of"):
        video.table(masks_image(np.zeros((2, 4, 4), np.uint8)), Image(np.zeros((3, 4, 4)), "TYX"))


def test_intervals_and_flicker() -> None:
    present = [True, True, False, False, True, False]
    found = video.intervals(present, 0.5)
    assert found[["start", "stop", "frames"]].to_numpy().tolist() == [[0, 1, 2], [4, 4, 1]]
    assert found["stop_s"].tolist() == [1.0, 2.5]
    assert video.intervals([]).empty
    assert video.flicker([10, 10, 10]) == {"flicker": 0.0, "switches": 0}
    assert video.flicker([0, 10, 0, 10]) == {"flicker": 1.0, "switches": 3}
    assert video.flicker([10, 5])["flicker"] == 0.5


def test_classification_scores_by_hand() -> None:
    truth = np.array([1] * 10 + [0] * 10)
    score = np.array([0.9] * 8 + [0.2] * 2 + [0.8] * 1 + [0.1] * 9)
    rows = classification_scores(truth, score).set_index("metric")
    tp, fn, fp, tn = 8, 2, 1, 9
    expected = {"TPR": 0.8, "TNR": 0.9, "PPV": 8 / 9, "NPV": 9 / 11, "ACC": 17 / 20, "MCC": mcc(tp, fp, fn, tn)}
    for name, value in expected.items():
        assert rows.loc[name, "value"] == pytest.approx(value)
    pairs = [(p > n) + 0.5 * (p == n) for p in score[:10] for n in score[10:]]
    assert rows.loc["AUC", "value"] == pytest.approx(np.mean(pairs))
    assert ((rows["low"] <= rows["value"]) & (rows["value"] <= rows["high"])).all()
    assert rows["high"].max() <= 1
    # Wilson interval of 8/10, tabulated
    assert rows.loc["TPR", ["low", "high"]].tolist() == pytest.approx([0.4902, 0.9433], abs=1e-4)


def test_mcc_matches_its_formula_and_is_zero_where_undefined() -> None:
    assert mcc(8, 1, 2, 9) == pytest.approx((72 - 2) / np.sqrt(9 * 10 * 10 * 11))
    assert mcc(10, 10, 0, 0) == 0


def test_one_class_only_gives_nan_not_a_crash() -> None:
    rows = classification_scores(np.ones(3), np.array([0.9, 0.8, 0.2])).set_index("metric")
    assert np.isnan(rows.loc["AUC", "value"])
    assert np.isnan(rows.loc["TNR", "value"])
    with pytest.raises(DataError, match="do not fit"):
        classification_scores(np.ones(3), np.ones(2))


def test_missed_nerve_frames_score_zero() -> None:
    full, none = np.ones((2, 2)), np.zeros((2, 2))
    half = np.array([[1, 1], [0, 0]])
    rows = mask_scores([full, none, none, half], [full, full, none, none]).set_index("over")
    assert rows.loc["nerve frames", "dice"] == pytest.approx(0.5)
    assert rows.loc["found frames", "dice"] == 1
    assert rows.loc["all frames", "dice"] == pytest.approx((1 + 0 + 1 + 0) / 4)
    assert rows.loc["all frames", "dice_pooled"] == pytest.approx(2 * 4 / (6 + 8))
    zero = mask_scores([full, none, none, half], [full, full, none, none], empty="zero").set_index("over")
    assert zero.loc["all frames", "iou"] == pytest.approx(0.25)
    with pytest.raises(DataError, match="numbers of frames"):
        mask_scores([full], [full, full])
    with pytest.raises(DataError, match="Frame 0 is"):
        mask_scores([full], [np.ones((3, 3))])


@pytest.mark.parametrize("keeper", ["film", "masks"])
def test_frames_of_a_film_of_variable_rate_keep_their_own_times(keeper: str) -> None:
    masks = np.zeros((4, 20, 30), np.uint8)
    masks[1:3, 5:9, 5:9] = 1
    known = {"video": {"times": [0.0, 0.1, 2.0, 2.1]}}
    labels = masks_image(masks).replace(metadata=known if keeper == "masks" else {})
    film = Image(masks * 90 + 60, "TYX", (0.7, 1, 1), ("second", "pixel", "pixel"), metadata=known)
    rows = video.table(labels, film if keeper == "film" else None)
    assert rows["time_s"].tolist() == [0.0, 0.1, 2.0, 2.1]
    total = video.summary(labels, film if keeper == "film" else None)
    assert total["nerve_s"].item() == pytest.approx(2.1 - 0.1)


def test_masks_without_a_time_step_take_that_of_their_film() -> None:
    masks = np.zeros((3, 20, 30), np.uint8)
    masks[1] = 1
    film = Image(masks, "TYX", (0.5, 1, 1), ("second", "pixel", "pixel"))
    labels = Image(masks, "TYX", kind="labels")
    assert video.table(labels, film)["time_s"].tolist() == [0.0, 0.5, 1.0]
    assert video.summary(labels, film)["nerve_s"].item() == pytest.approx(0.5)


@pytest.mark.parametrize("axes", ["TYXC", "TCYX", "CTYX"])
def test_the_contrast_does_not_depend_on_where_channels_are_stored(axes: str) -> None:
    masks = np.zeros((2, 40, 40), np.uint8)
    masks[:, 15:20, 15:20] = 1
    movie = np.full((2, 40, 40, 3), (20, 50, 80), np.uint8)  # 50 is the mean
    movie[masks > 0] = 200
    movie = movie if axes == "TYXC" else np.moveaxis(movie, -1, axes.index("C"))
    rows = video.table(Image(masks, "TYX", kind="labels"), Image(movie, axes))
    assert rows["nbr"].tolist() == pytest.approx([4, 4])


def test_a_part_of_a_movie_begins_at_its_own_time() -> None:
    affine = np.diag([0.5, 1.0, 1.0, 1.0])
    affine[0, 3] = 4
    units = ("second", "pixel", "pixel")
    labels = Image(np.ones((3, 4, 5), np.uint8), "TYX", (0.5, 1, 1), units, affine, kind="labels")
    assert video.table(labels)["time_s"].tolist() == [4, 4.5, 5]


def test_the_mean_area_is_said_in_the_unit_of_the_movie_too() -> None:
    masks = np.zeros((3, 20, 30), np.uint8)
    masks[1, 2:6, 4:10] = 1
    masks[2, 2:6, 4:9] = 1
    said = video.summary(Image(masks, "TYX", (0.5, 0.25, 0.5), ("second", "micrometer", "micrometer"), kind="labels"))
    assert said["mean_area_px"].tolist() == [22]
    assert said["mean_area_um2"].tolist() == pytest.approx([22 * 0.125])
    assert "mean_area_um2" not in video.summary(Image(masks, "TYX", kind="labels"))
