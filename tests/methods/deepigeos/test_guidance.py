"""Guidance maps against known distances."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medseg.errors import DataError
from napari_medseg.methods.deepigeos.guidance import distance_maps, encode, guidance_maps


def scribbles(*marks: tuple[tuple[int, ...], int], shape: tuple[int, ...] = (5, 7)) -> np.ndarray:
    array = np.zeros(shape, np.uint8)
    for place, value in marks:
        array[place] = value
    return array


def test_euclidean_distances_in_class_order() -> None:
    maps = guidance_maps(np.zeros((1, 5, 7)), scribbles(((2, 1), 1), ((2, 5), 2)), 2, metric="euclidean", tau=10)
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
        maps = guidance_maps(np.zeros((1, 5, 7)), scribbles(((2, 1), 2)), 3, metric="euclidean", encoding=encoding)  # type: ignore[arg-type]
        assert (maps[0] == far).all()
        assert (maps[2] == far).all()
        assert not (maps[1] == far).all()


def test_no_marks_at_all() -> None:
    assert not guidance_maps(np.zeros((1, 5, 7)), scribbles(), 2).any()


def test_encodings() -> None:
    d = np.array([0, 2, 8, 100, np.inf])
    np.testing.assert_allclose(encode(d, "exp", 2), np.exp(-d / 2), rtol=1e-6)
    np.testing.assert_allclose(encode(d, "zscore_fixed", 2), [-2, -1, 2, 2, 2])


def test_geodesic_distance_is_asked_with_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fake(image: np.ndarray, seeds: np.ndarray, **options: object) -> np.ndarray:
        asked.append((image.shape, int(seeds.sum()), options))
        return np.full(seeds.shape, 3.0, np.float32)

    monkeypatch.setattr("napari_medseg.geodesic.geodesic_distance", fake, raising=False)
    maps = guidance_maps(np.zeros((2, 5, 7)), scribbles(((1, 1), 2)), 2, spacing=2.0, weight=0.5)
    assert asked == [((2, 5, 7), 1, {"spacing": (2.0, 2.0), "weight": 0.5})]
    np.testing.assert_allclose(maps[1], np.exp(-3.0), rtol=1e-6)
    assert not maps[0].any()


def test_bad_scribbles_are_refused() -> None:
    with pytest.raises(DataError, match="same size"):
        guidance_maps(np.zeros((1, 5, 6)), scribbles(((2, 1), 2)), 2)
    with pytest.raises(DataError, match="value 5"):
        guidance_maps(np.zeros((1, 5, 7)), scribbles(((2, 1), 5)), 2)
