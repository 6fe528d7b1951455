"""Tiles cover every pixel once in sum, whatever the sizes; a 4x4 stitching by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medseg.inference import tiling


@pytest.mark.parametrize("length", [1, 5, 16, 17, 100, 257])
@pytest.mark.parametrize(
    ("tile", "overlap", "halo", "multiple"), [(16, 0, 0, 1), (16, 8, 4, 4), (16, 6, 2, 1), (64, 48, 20, 16)]
)
def test_weights_sum_to_one(length: int, tile: int, overlap: int, halo: int, multiple: int) -> None:
    axis = tiling.tile_axis(length, tile, overlap, halo, multiple)
    total = np.zeros(axis.size)
    for start, weight in zip(axis.starts, axis.weights, strict=True):
        total[start : start + axis.tile] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert axis.size >= length
    assert axis.size % multiple == 0
    assert all(start % multiple == 0 for start in axis.starts)


@pytest.mark.parametrize(("length", "tile", "expected"), [(1000, 400, 387), (1000, 1000, 1000), (300, 400, 300)])
def test_tiles_are_balanced(length: int, tile: int, expected: int) -> None:
    axis = tiling.tile_axis(length, tile, 80, 40)
    assert axis.tile == expected
    assert len(axis.starts) == -(-(length - 80) // (tile - 80))


def test_halo_of_inner_edges_counts_nothing() -> None:
    axis = tiling.tile_axis(40, 16, 8, 4)
    first, second = axis.weights[0], axis.weights[1]
    assert first[:4].tolist() == [1, 1, 1, 1]
    assert first[-4:].tolist() == [0, 0, 0, 0]
    assert second[:4].tolist() == [0, 0, 0, 0]


def test_stitching_4x4_by_hand() -> None:
    """Two 4x3 tiles over a 4x4 image overlap by two columns; weights rise 1/3, 2/3 across them."""
    axes = [tiling.tile_axis(4, 4, 0, 0), tiling.tile_axis(4, 3, 2, 0)]
    out = np.zeros((4, 4))
    for value, (starts, weight) in zip((3.0, 6.0), tiling.grid(axes), strict=True):
        out[:, starts[1] : starts[1] + 3] += value * weight
    # columns: only left; left 2/3 + right 1/3; left 1/3 + right 2/3; only right
    np.testing.assert_allclose(out, np.tile([3, 4, 5, 6], (4, 1)), atol=1e-6)


def test_reading_beyond_the_edge_reflects() -> None:
    block = tiling.read_block(np.arange(6, dtype=np.float32).reshape(1, 2, 3), (0, 0), (2, 5))
    assert block[0].tolist() == [[0, 1, 2, 1, 0], [3, 4, 5, 4, 3]]
    single = tiling.read_block(np.full((1, 1, 1), 7, np.float32), (0, 0), (2, 2))
    assert single[0].tolist() == [[7, 7], [7, 7]]
