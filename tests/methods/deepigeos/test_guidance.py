"""Guidance maps against known distances."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medseg.errors import DataError
from napari_medseg.geodesic import geodesic_distance
from napari_medseg.methods.deepigeos.inputs import distance_maps, encode
from napari_medseg.settings import Metric


def scribbles(*marks: tuple[tuple[int, ...], int], shape: tuple[int, ...] = (5, 7)) -> np.ndarray:
    array = np.zeros(shape, np.uint8)
    for place, value in marks:
        array[place] = value
    return array


def test_euclidean_distances_in_class_order() -> None:
    distances = distance_maps(np.zeros((1, 5, 7)), scribbles(((2, 1), 1), ((2, 5), 2)), 2, metric="euclidean")
    maps = encode(distances, tau=10)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps[0, 2], np.exp(-np.abs(np.arange(7) - 1) / 10), rtol=1e-6)
    np.testing.assert_allclose(maps[1, 2], np.exp(-np.abs(np.arange(7) - 5) / 10), rtol=1e-6)


def test_spacing_counts() -> None:
    distances = distance_maps(
        np.zeros((1, 4, 5, 6)), scribbles(((0, 0, 0), 2), shape=(4, 5, 6)), 2, spacing=(4, 1, 0.5), metric="euclidean"
    )
    assert distances[1, 3, 0, 0] == 12
    assert distances[1, 0, 0, 5] == 2.5


def test_a_class_without_marks_is_far_everywhere() -> None:
    for encoding, far in (("exp", 0.0), ("zscore_fixed", 2.0)):
        distances = distance_maps(np.zeros((1, 5, 7)), scribbles(((2, 1), 2)), 3, metric="euclidean")
        maps = encode(distances, encoding)  # type: ignore[arg-type]
        assert (maps[0] == far).all()
        assert (maps[2] == far).all()
        assert not (maps[1] == far).all()


def test_no_marks_at_all() -> None:
    assert not encode(distance_maps(np.zeros((1, 5, 7)), scribbles(), 2)).any()


def test_encodings() -> None:
    d = np.array([0, 2, 8, 100, np.inf])
    np.testing.assert_allclose(encode(d, "exp", 2), np.exp(-d / 2), rtol=1e-6)
    np.testing.assert_allclose(encode(d, "zscore_fixed", 2), [-2, -1, 2, 2, 2])


@pytest.mark.parametrize("cost", ["linear", "harmonic", "product"])
def test_geodesic_distances_are_those_of_the_shared_function(cost: Metric) -> None:
    image = np.random.default_rng(0).random((2, 5, 7))
    marks = scribbles(((1, 1), 2))
    maps = distance_maps(image, marks, 2, spacing=2.0, weight=0.5, cost=cost)
    np.testing.assert_array_equal(maps[1], geodesic_distance(image, marks == 2, spacing=2.0, weight=0.5, metric=cost))
    assert np.isinf(maps[0]).all()


def test_bad_scribbles_are_refused() -> None:
    with pytest.raises(DataError, match="same size"):
        distance_maps(np.zeros((1, 5, 6)), scribbles(((2, 1), 2)), 2)
    with pytest.raises(DataError, match="value 5"):
        distance_maps(np.zeros((1, 5, 7)), scribbles(((2, 1), 5)), 2)
