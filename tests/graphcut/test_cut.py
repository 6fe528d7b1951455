from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from napari_medseg.graphcut.appearance import Appearance
from napari_medseg.graphcut.cut import Neighbourhood, mean_contrast, minimum_cut
from napari_medseg.graphcut.pyramid import block_any, block_mean, block_sizes, finer, linear, nearest


def pairs(shape: tuple[int, ...]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Neighbours, each once: 8 in 2D, 6 in 3D."""
    near = [d for d in product((-1, 0, 1), repeat=len(shape)) if d > (0,) * len(shape)]
    near = near if len(shape) == 2 else [d for d in near if sum(map(abs, d)) == 1]
    found = []
    for p in np.ndindex(shape):
        for d in near:
            q = tuple(int(a + b) for a, b in zip(p, d, strict=True))
            if all(0 <= a < n for a, n in zip(q, shape, strict=True)):
                found.append((p, q))
    return found


def cost(image: np.ndarray, p: tuple[int, ...], q: tuple[int, ...], steps: tuple[float, ...], weight: float) -> float:
    gap = float(((image[(slice(None), *p)] - image[(slice(None), *q)]) ** 2).sum())
    way = np.linalg.norm((np.array(p) - q) * np.array(steps)) / min(steps)
    return weight * np.exp(-gap / (2 * mean_contrast(image))) / way


def energy(labels: np.ndarray, unary: np.ndarray, image: np.ndarray, steps: tuple[float, ...], weight: float) -> float:
    borders = sum(cost(image, p, q, steps, weight) for p, q in pairs(unary.shape) if labels[p] != labels[q])
    return float(borders - unary[labels].sum())


def test_no_labelling_of_a_small_image_costs_less() -> None:
    rng = np.random.default_rng(0)
    steps = (2.0, 1.0)
    for _ in range(5):
        image, unary = rng.random((1, 3, 3)).astype(np.float32), rng.normal(0, 3, (3, 3))
        found = minimum_cut(unary, image, np.ones((3, 3), bool), np.zeros((3, 3), bool), steps=steps, weight=2.0)
        all_labels = [np.array(bits, bool).reshape(3, 3) for bits in product((False, True), repeat=9)]
        least = min(energy(labels, unary, image, steps, 2.0) for labels in all_labels)
        assert energy(found, unary, image, steps, 2.0) == pytest.approx(least, abs=0.05)  # costs are whole thousandths


@pytest.mark.parametrize("shape", [(24, 31), (9, 10, 11)])
def test_the_flow_is_that_of_scipy(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    image, unary = rng.random((2, *shape)).astype(np.float32), rng.normal(0, 4, shape)
    steps, number = (1.0,) * len(shape), np.arange(unary.size).reshape(shape)
    found = minimum_cut(unary, image, np.ones(shape, bool), np.zeros(shape, bool))
    source, sink = unary.size, unary.size + 1
    edges = {}
    for p, q in pairs(shape):
        edges[number[p], number[q]] = edges[number[q], number[p]] = 1000 * cost(image, p, q, steps, 4.0)
    for p in np.ndindex(shape):
        edges[(source, number[p]) if unary[p] > 0 else (number[p], sink)] = 1000 * abs(unary[p])
    rows, columns = np.array(list(edges)).T
    graph = csr_array((np.rint(list(edges.values())).astype(np.int32), (rows, columns)), shape=(sink + 1, sink + 1))
    flow = maximum_flow(graph, source, sink).flow_value
    constant = 1000 * unary[unary > 0].sum()
    assert 1000 * energy(found, unary, image, steps, 4.0) + constant == pytest.approx(flow, rel=1e-3)


@pytest.mark.parametrize("shape", [(24, 31), (9, 10, 11)])
def test_a_further_cut_of_the_same_voxels_is_what_a_new_one_is(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)
    image, free, labels = rng.random((1, *shape)).astype(np.float32), rng.random(shape) < 0.9, rng.random(shape) < 0.5
    several = Neighbourhood(image, free, labels)
    for _ in range(4):
        unary = rng.normal(0, 4, shape)
        np.testing.assert_array_equal(several.cut(unary), minimum_cut(unary, image, free, labels))


def test_held_voxels_keep_their_label_and_pull_their_neighbours() -> None:
    labels = np.zeros((5, 9), bool)
    labels[:, 6:] = True
    free = np.zeros((5, 9), bool)
    free[:, 3:6] = True
    image = np.zeros((1, 5, 9), np.float32)
    image[:, :, 4:] = 1  # the edge lies between columns 3 and 4
    found = minimum_cut(np.zeros((5, 9)), image, free, labels)
    np.testing.assert_array_equal(found, np.broadcast_to(np.arange(9) >= 4, (5, 9)))
    np.testing.assert_array_equal(minimum_cut(np.ones((5, 9)), image, np.zeros((5, 9), bool), labels), labels)


def test_cells_are_about_cubic_and_few() -> None:
    cells = block_sizes((40, 200, 200), (3.0, 1.0, 1.0), 20_000)
    sizes = np.multiply(cells, (3.0, 1.0, 1.0))
    assert np.prod([-(-n // c) for n, c in zip((40, 200, 200), cells, strict=True)]) <= 20_000
    assert sizes.max() / sizes.min() < 2
    assert block_sizes((20, 30), (1.0, 1.0), 10_000) == (1, 1)
    assert block_sizes((2, 4000), (1.0, 1.0), 100) == (1, 80)
    assert finer((5, 2, 1)) == (3, 1, 1)


def test_blocks_and_the_way_back() -> None:
    array = np.arange(35.0).reshape(5, 7)
    means = block_mean(array, (2, 3))
    assert means.shape == (3, 3)
    assert means[0, 0] == pytest.approx(array[:2, :3].mean())
    assert means[2, 2] == pytest.approx(array[4, 6])
    assert block_mean(array > 16, (2, 3))[1, 1] == pytest.approx(np.mean(array[2:4, 3:6] > 16))
    volume = np.random.default_rng(0).random((4, 6, 8))
    np.testing.assert_allclose(
        block_mean(volume, (2, 3, 4)), volume.reshape(2, 2, 2, 3, 2, 4).mean((1, 3, 5)), rtol=1e-6
    )
    marks = np.zeros((5, 7), bool)
    marks[3, 5] = True
    assert np.argwhere(block_any(marks, (2, 3))).tolist() == [[1, 1]]
    ramp = np.broadcast_to(np.arange(24.0), (24, 24))
    back = linear(block_mean(ramp, (4, 4)), (4, 4), (2, 2), (12, 12))
    np.testing.assert_allclose(back[:, 1:-1], block_mean(ramp, (2, 2))[:, 1:-1], atol=1e-5)
    np.testing.assert_array_equal(nearest(np.eye(2), (4, 4), (1, 1), (8, 8)), np.kron(np.eye(2), np.ones((4, 4))))


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_odds_tell_what_looks_like_the_object(channels: int) -> None:
    image = np.full((channels, 20, 20), 0.2, np.float32)
    image[:, :, 10:] = 0.8
    here, there = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    here[2:8, 12:16] = there[2:8, 2:6] = True
    look = Appearance(image)
    odds = look.odds([here], [there])
    assert (odds[:, 10:] > 1).all()
    assert (odds[:, :10] < -1).all()
    few = look.odds([here & (np.arange(20) == 12) & (np.arange(20)[:, None] == 2)], [there])
    assert 0 < few[0, 15] < odds[0, 15]  # one voxel tells little
    assert not look.odds([here], [there & here]).any()
    assert look.overlap(here, here) == pytest.approx(1)
    assert look.overlap(here, there) < 0.05
