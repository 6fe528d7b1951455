from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from skimage.draw import line

from napari_medseg.measure.curves import attachments, fractal_dimension, length, smooth, tortuosity
from napari_medseg.measure.skeleton import grid_length, prune, strands, thin, trace

SIZE = 400


def drawn(points: np.ndarray, width: float) -> np.ndarray:
    grid = np.indices((SIZE, SIZE)).reshape(2, -1).T
    return (cKDTree(points).query(grid, distance_upper_bound=10)[0] <= width / 2).reshape(SIZE, SIZE)


def measured(mask: np.ndarray) -> tuple[float, float]:
    found = strands(mask)
    assert len(found) == 1
    return length(smooth(found[0].points, found[0].closed)), grid_length(found[0].points)


@pytest.mark.parametrize("angle", [0, 4, 17, 31, 44, 48, 60, 90, 104, 135, 152, 176])
@pytest.mark.parametrize("width", [1.5, 4])
def test_length_of_straight_lines(angle: int, width: float) -> None:
    t = np.linspace(-130, 130, 2000)[:, None]
    direction = np.array([np.sin(np.radians(angle)), np.cos(np.radians(angle))])
    corrected, _ = measured(drawn(np.array([200.3, 199.6]) + t * direction, width))
    assert corrected == pytest.approx(260, rel=0.01)


@pytest.mark.parametrize("slope", [1, 3, 7, 20, 40, 77, 150, 260])
def test_length_of_one_pixel_lines(slope: int) -> None:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[line(50, 50, 50 + slope, 310)] = True
    corrected, _ = measured(mask)
    assert corrected == pytest.approx(np.hypot(slope, 260), rel=0.01)


@pytest.mark.parametrize("radius", [15, 40, 120])
@pytest.mark.parametrize("width", [1.5, 3, 5])
def test_length_of_circles(radius: int, width: float) -> None:
    t = np.linspace(0, 2 * np.pi, 4000)
    corrected, naive = measured(drawn(np.stack([200.2 + radius * np.sin(t), 200.4 + radius * np.cos(t)], 1), width))
    true = 2 * np.pi * radius
    assert corrected == pytest.approx(true, rel=0.01)
    assert abs(naive / true - 1) > 0.02


@pytest.mark.parametrize(("amplitude", "wavelength"), [(10, 120), (20, 80), (30, 150), (5, 40)])
def test_length_of_sinusoids(amplitude: float, wavelength: float) -> None:
    x = np.linspace(30, 370, 20000)
    points = np.stack([200 + amplitude * np.sin(2 * np.pi * x / wavelength), x], 1)
    corrected, naive = measured(drawn(points, 3))
    assert corrected == pytest.approx(length(points), rel=0.01)
    assert abs(naive / length(points) - 1) > 0.02


def test_thin_lines_have_no_false_junctions() -> None:
    mask = np.zeros((30, 30), bool)
    mask[5, 5:20] = mask[5:20, 19] = True
    assert len(trace(thin(mask)).nodes) == 0
    assert len(strands(mask, shortest=5)) == 1


def test_t_junction_gives_three_segments_and_two_strands() -> None:
    mask = np.zeros((60, 60), bool)
    mask[30, 5:55] = mask[30:55, 30] = True
    graph = trace(thin(mask))
    assert (len(graph.segments), len(graph.nodes)) == (3, 1)
    lengths = sorted(grid_length(s.points) for s in strands(mask))
    assert lengths == pytest.approx([24, 49], abs=1.5)


@pytest.mark.parametrize("offset", [0, 4])
def test_crossing_gives_two_strands_that_go_straight_on(offset: int) -> None:
    mask = np.zeros((80, 80), bool)
    mask[line(5, 5, 75, 75)] = mask[line(5, 75 - offset, 75, 5)] = True
    found = strands(mask)
    assert len(found) == 2
    assert all(abs(s.points[0] - s.points[-1]).min() > 60 for s in found)


def test_spurs_are_pruned_and_branches_kept() -> None:
    mask = np.zeros((60, 60), bool)
    mask[30, 5:55] = mask[26:30, 20] = mask[30:55, 40] = True
    pruned = prune(thin(mask), 10, 10)
    assert not pruned[:28, 20].any()
    assert pruned[50, 40]
    assert len(trace(pruned).segments) == 3


def test_small_pieces_are_dropped() -> None:
    mask = np.zeros((60, 60), bool)
    mask[30, 5:55] = mask[10, 5:15] = True
    assert len(strands(mask, shortest=20)) == 1
    assert len(strands(mask, shortest=5)) == 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 3)])
def test_tiny_and_full_masks(shape: tuple[int, int]) -> None:
    assert strands(np.zeros(shape, bool)) == []
    assert isinstance(strands(np.ones(shape, bool), shortest=1), list)


def test_tortuosity() -> None:
    assert tortuosity(np.array([[0, 0], [3, 4.0]])) == 1.0
    t = np.linspace(0, np.pi, 500)
    half = np.stack([np.sin(t), np.cos(t)], 1)
    assert tortuosity(half) == pytest.approx(np.pi / 2, rel=1e-3)
    assert tortuosity(half, (2.0, 2.0)) == pytest.approx(np.pi / 2, rel=1e-3)
    ring = np.stack([np.sin(2 * t), np.cos(2 * t)], 1)
    assert tortuosity(ring) == pytest.approx(np.pi, rel=1e-3)
    assert tortuosity(np.zeros((2, 2))) == 1.0


def test_fractal_dimension() -> None:
    mask = np.zeros((256, 256), bool)
    assert fractal_dimension(mask) == 0
    assert fractal_dimension(np.ones((1, 1), bool)) == 0
    mask[128] = True
    assert fractal_dimension(mask) == pytest.approx(1, abs=0.01)
    assert fractal_dimension(np.ones((256, 256), bool)) == pytest.approx(2, abs=0.01)


def test_attachments_meet_the_inside_only() -> None:
    trunk = np.array([[50.0, 0], [50, 100]])
    branch = np.array([[51.0, 40], [90, 60]])
    prolonging = np.array([[50.0, 101], [50, 120]])
    found = attachments([trunk, branch, prolonging])
    assert [(a.path, a.end, a.host) for a in found] == [(1, 0, 0)]
