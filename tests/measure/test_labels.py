"""Objects divided at their waists, and what tables say of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io.geometry import part_of
from napari_medseg.measure import KINDS, measure, measured_labels, summarise
from napari_medseg.measure.labels import facts_of_objects, pieces_of


def balls(distance: float, ndim: int = 2) -> np.ndarray:
    grid = np.mgrid[(slice(0, 30),) * (ndim - 1) + (slice(0, 60),)].astype(float)
    centre = np.array([15.0] * ndim)
    centre[-1] = 15

    def ball(shift: float) -> np.ndarray:
        offset = np.zeros(ndim)
        offset[-1] = shift
        return np.asarray(sum((g - c) ** 2 for g, c in zip(grid, centre + offset, strict=True)) < 100)

    return ball(0) | ball(distance)


def test_touching_balls_are_parted_in_the_middle() -> None:
    for ndim in (2, 3):
        pieces = pieces_of(balls(17, ndim), (1.0,) * ndim)
        sizes = np.bincount(pieces.ravel())[1:]
        assert len(sizes) == 2
        assert abs(sizes[0] - sizes[1]) < 0.06 * sizes.sum()
        np.testing.assert_array_equal(pieces > 0, balls(17, ndim))
        assert sorted(np.unique(pieces[..., :22])) == [0, pieces[(15,) * ndim]]


def test_a_disc_or_a_shallow_waist_stays_one() -> None:
    assert pieces_of(balls(0), (1.0, 1.0)).max() == 1
    assert pieces_of(balls(6), (1.0, 1.0)).max() == 1


def test_separate_pieces_are_told_apart() -> None:
    mask = np.zeros((5, 9), bool)
    mask[:, :2] = mask[:, 4:6] = mask[2, 8] = True
    assert np.bincount(pieces_of(mask, (1.0, 1.0)).ravel()).tolist() == [24, 10, 10, 1]


def test_a_table_becomes_the_facts_of_objects() -> None:
    labels = Image(np.eye(3, dtype=int), "YX", kind="labels", metadata={"objects": {"1": {"name": "a"}}})
    table = pd.DataFrame({"label": [1, 2], "area (px)": [3.0, np.nan], "class": ["x", "y"]})
    assert facts_of_objects(labels, table)["objects"] == {
        "1": {"name": "a", "measurements": {"area (px)": 3.0}, "class": "x"},
        "2": {"measurements": {}, "class": "y"},
    }
    assert facts_of_objects(labels, pd.DataFrame({"area": [1]})) == {}


@pytest.mark.parametrize("kind", ["nuclei", "afm"])
def test_ids_of_any_size_stay_those_of_the_table(kind: str) -> None:
    data = np.zeros((20, 20), np.uint64)
    data[2:5, 2:5], data[10:15, 10:15] = 3_000_000_000, 2**40 + 7
    labels = Image(data, "YX", kind="labels")
    kept = measured_labels(kind, labels).data
    np.testing.assert_array_equal(kept, data)
    assert measure(kind, labels)["label"].tolist() == [3_000_000_000, 2**40 + 7]


@pytest.mark.parametrize("kind", KINDS)
def test_negative_labels_are_refused(kind: str) -> None:
    data = np.zeros((20, 20), np.int16)
    data[2:5, 2:5], data[10:15, 10:15] = 1, -1
    for call in (measure, summarise, measured_labels):
        with pytest.raises(DataError, match=r"negative labels \(-1\)"):
            call(kind, Image(data, "YX", kind="labels"))


@pytest.mark.parametrize("kind", ["nerve", "nuclei", "afm", "video"])
def test_along_axes_that_are_not_at_right_angles_nothing_is_measured(kind: str) -> None:
    sheared = np.array([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 1]])
    steps = tuple(np.linalg.norm(sheared[:2, :2], axis=0))
    labels = Image(np.eye(9, dtype=np.uint8), "YX", steps, ("micrometer",) * 2, sheared, kind="labels")
    with pytest.raises(DataError, match="right angles"):
        measure(kind, labels)
    assert measure("volume", labels)["area (um^2)"].tolist() == [9.0]  # the determinant is 1


def test_objects_of_a_part_of_a_film_lie_in_its_picture() -> None:
    whole = Image(np.zeros((3, 60, 80)), "TYX", (0.5, 2, 3), ("second", "micrometer", "micrometer"))
    data = np.zeros((3, 20, 20), np.uint16)
    data[1, 4:7, 6:11] = 5
    part = part_of(whole.replace(data=data, kind="labels"), (0, 30, 40))
    row = measure("nuclei", part).iloc[0]
    assert (row["frame"], row["centroid y (um)"], row["centroid x (um)"]) == (1, 2 * 35, 3 * 48)


@pytest.mark.parametrize("kind", ["nuclei", "afm"])
def test_labels_named_x_y_are_measured_and_kept_in_the_usual_order(kind: str) -> None:
    data = np.zeros((10, 20), np.uint8)
    data[2:5, 10:18] = 1
    labels = Image(data, "XY", (2, 1), ("micrometer",) * 2, kind="labels")
    np.testing.assert_array_equal(measured_labels(kind, labels).data, data.T)
    assert measure(kind, labels)["area (um^2)"].tolist() == [48]
