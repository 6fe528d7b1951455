"""Adding and removing seeds against a new computation."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medseg.errors import DataError
from napari_medseg.geodesic import GeodesicMap, geodesic_distance


def image_of(shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.round(rng.random(shape), 1).astype(np.float32)  # ties and plateaus


def random_seeds(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    start = [rng.integers(0, n) for n in shape]
    seeds = np.zeros(shape, bool)
    seeds[tuple(slice(s, s + rng.integers(1, 4)) for s in start)] = True
    return seeds


@pytest.mark.parametrize("shape", [(40, 50), (50, 5), (10, 20, 34), (20, 12, 3)])
@pytest.mark.parametrize("weight", [0.5, 0.9, 1.0])
def test_random_edits_equal_a_new_map(shape: tuple[int, ...], weight: float) -> None:
    rng = np.random.default_rng(11)
    image, spacing = image_of(shape), tuple(np.linspace(0.7, 1.5, len(shape)))
    edited = GeodesicMap(image, spacing=spacing, weight=weight)
    history: list[np.ndarray] = []
    for _ in range(12):
        before = edited.distance.copy()
        if history and rng.random() < 0.5:
            box = edited.remove(history.pop(rng.integers(len(history))))
        else:
            history.append(random_seeds(rng, shape))
            box = edited.add(history[-1])
        expected = geodesic_distance(image, edited.seeds, spacing=spacing, weight=weight)
        np.testing.assert_allclose(edited.distance, expected, rtol=1e-5, atol=1e-6)
        outside = np.ones(shape, bool)
        if box is not None:
            outside[box] = False
        np.testing.assert_array_equal(before[outside], edited.distance[outside])


def test_channels_and_metric() -> None:
    image = np.random.default_rng(0).random((2, 12, 30))
    seeds = random_seeds(np.random.default_rng(1), (12, 30))
    first = GeodesicMap(image, channels=True, metric="harmonic")
    first.add(seeds)
    np.testing.assert_allclose(first.distance, geodesic_distance(image, seeds, metric="harmonic"))
    second = first.like()
    assert np.isinf(second.distance).all()
    assert not second.seeds.any()


def test_removing_everything_empties_the_map() -> None:
    edited = GeodesicMap(image_of((20, 30)))
    edited.add(np.eye(20, 30, dtype=bool))
    assert edited.distance[3, 3] == 0
    assert edited.remove(np.ones((20, 30), bool)) == (slice(0, 20), slice(0, 30))
    assert np.isposinf(edited.distance).all()


def test_nothing_new_changes_nothing() -> None:
    edited = GeodesicMap(image_of((20, 30)))
    seeds = np.eye(20, 30, dtype=bool)
    edited.add(seeds)
    assert edited.add(seeds) is None
    assert edited.remove(~seeds) is None


def test_a_near_seed_changes_a_small_box() -> None:
    edited = GeodesicMap(np.zeros((60, 400)), weight=0.5)
    seeds = np.zeros(edited.shape, bool)
    seeds[30, ::10] = True
    edited.add(seeds)
    more = np.zeros_like(seeds)
    more[33, 205] = True
    box = edited.add(more)
    assert box is not None
    assert box[1].stop - box[1].start <= 64


def test_the_distance_is_read_only() -> None:
    edited = GeodesicMap(image_of((20, 30)))
    edited.add(np.eye(20, 30, dtype=bool))
    with pytest.raises(ValueError, match="read-only"):
        edited.distance[0, 0] = 1


def test_wrong_shape() -> None:
    edited = GeodesicMap(image_of((20, 30)))
    with pytest.raises(DataError, match=r"\(30, 20\)"):
        edited.add(np.zeros((30, 20), bool))
    with pytest.raises(DataError, match=r"\(30, 20\)"):
        edited.remove(np.zeros((30, 20), bool))
