"""Objects divided at their waists, and what tables say of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from napari_medseg.image import Image
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
