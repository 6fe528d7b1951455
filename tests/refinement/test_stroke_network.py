"""The network of the geodesic engine: shapes, strokes above all, and sessions with and without it."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from napari_medseg.errors import CheckpointError
from napari_medseg.graphcut.energy import Search
from napari_medseg.graphcut.learned import INPUTS, for_overlap
from napari_medseg.graphcut.problem import Problem
from napari_medseg.image import Image
from napari_medseg.jobs import run
from napari_medseg.refinement import RefinementSession, RefinementSettings
from napari_medseg.refinement.seek import ALONE
from napari_medseg.refinement.stroke_network import (
    MARKS,
    WEIGHTS,
    FineStrokeNet,
    bundled,
    doubled,
    halved,
    load,
    log_odds,
    network_of,
    read,
)


def disc(shape: tuple[int, ...], radius: float) -> np.ndarray:
    away = sum((g - n / 2) ** 2 for g, n in zip(np.indices(shape), shape, strict=True))
    return np.asarray(away <= radius**2)


@pytest.mark.parametrize("cells", [(8, 8), (13, 5), (1, 1), (77, 81), (8, 8, 8), (3, 14, 9), (1, 1, 1)])
def test_answers_every_cell_of_a_grid_of_any_size(cells: tuple[int, ...]) -> None:
    inputs = np.random.default_rng(0).normal(size=(INPUTS, *cells)).astype(np.float32)
    found = bundled(inputs)
    assert found.shape == cells
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


@pytest.mark.parametrize("cells", [(16, 24), (77, 60), (3, 9, 14), (20, 24, 17)])
def test_what_makes_answers_fast_changes_them_by_rounding_only(cells: tuple[int, ...]) -> None:
    inputs = np.random.default_rng(0).normal(size=(INPUTS, *cells)).astype(np.float32)
    import torch

    network = load(len(cells))
    with torch.no_grad():
        expected = network(torch.from_numpy(inputs)[None])[0, 0].numpy()
    np.testing.assert_allclose(log_odds(network, inputs, "float32"), expected, atol=1e-4)
    np.testing.assert_allclose(log_odds(network, inputs, "bfloat16"), expected, atol=0.5)


def test_cells_half_as_many_are_means() -> None:
    import torch

    x = torch.rand(2, 3, 4, 6, 8)
    np.testing.assert_allclose(halved(x), torch.nn.functional.avg_pool3d(x, 2), atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 5, 1), (1, 16, 4, 6), (2, 12, 4, 1, 3), (1, 48, 2, 3, 4)])
def test_cells_twice_as_many_are_interpolated(shape: tuple[int, ...]) -> None:
    import torch

    x = torch.rand(shape)
    mode = "bilinear" if x.ndim == 4 else "trilinear"
    expected = torch.nn.functional.interpolate(x, scale_factor=2, mode=mode, align_corners=False)
    np.testing.assert_allclose(doubled(x), expected, atol=1e-6)


@pytest.mark.parametrize("ndim", [2, 3])
def test_zeros_behind_the_cells_change_nothing(ndim: int) -> None:
    import torch

    inputs = torch.randn(1, INPUTS, *(5, 19, 6)[:ndim])
    filled = torch.nn.functional.pad(inputs, [0, 2, 0, 5, 0, 3] if ndim == 3 else [0, 5, 0, 3])
    assert all(n % load(ndim).step == 0 for n in filled.shape[2:])
    with torch.no_grad():
        expected = load(ndim)(filled)[(..., *(slice(0, n) for n in inputs.shape[2:]))]
        np.testing.assert_allclose(load(ndim)(inputs), expected, atol=1e-4)


def test_what_single_cells_add_is_added_to_the_coarse_answer() -> None:
    import torch

    network, inputs = FineStrokeNet().eval(), torch.randn(1, INPUTS, 8, 16, 8)
    inputs[:, MARKS] = (inputs[:, MARKS] > 1).float()
    pooled = torch.nn.functional.avg_pool3d(inputs, 2)
    pooled[:, MARKS] = torch.nn.functional.max_pool3d(inputs[:, MARKS], 2)
    with torch.no_grad():
        network.last.weight.zero_()
        network.last.bias.fill_(0.5)
        expected = torch.nn.functional.interpolate(network.coarse(pooled), scale_factor=2, mode="trilinear") + 0.5
        np.testing.assert_allclose(network(inputs), expected, atol=1e-5)


def test_the_network_is_told_how_intensities_vary_within_cells() -> None:
    rng = np.random.default_rng(0)
    image = rng.random((2, 400, 400), np.float32)
    image[:, :, 200:] *= 0.25
    strokes = np.zeros((400, 400), np.int8)
    strokes[100, 50:90], strokes[300, 300:340] = 1, -1
    search = Search(Problem(image, (1.0, 1.0), strokes, strokes > 1), ALONE)
    search.solve(lambda x: np.zeros(x.shape[1:], np.float32))
    (height, width), (rows, columns) = search.factors, search.labels.shape
    blocks = image.mean(0)[: rows * height, : columns * width]
    whole = (rows - 1) * height, (columns - 1) * width  # the last cells are cut off
    blocks = blocks[: whole[0], : whole[1]].reshape(rows - 1, height, columns - 1, width)
    assert search.inputs is not None
    told = search.inputs[-1, :-1, :-1]
    np.testing.assert_allclose(told / told.max(), blocks.std((1, 3)) / blocks.std((1, 3)).max(), atol=2e-3)


@pytest.mark.parametrize("seed", range(5))
def test_zero_is_where_the_expected_dice_is_the_largest(seed: int) -> None:
    odds = np.random.default_rng(seed).normal(-1, 1.5, 10).astype(np.float32)
    p = 1 / (1 + np.exp(-odds.astype(float)))
    subsets = np.array(list(itertools.product((False, True), repeat=10)))
    expected = 2 * (subsets * p).sum(1) / (subsets.sum(1) + p.sum())
    moved, best = for_overlap(odds)
    assert best == pytest.approx(expected.max())
    np.testing.assert_array_equal(moved > 0, subsets[expected.argmax()])
    np.testing.assert_allclose(np.diff(moved), np.diff(odds), atol=1e-5)


@pytest.mark.parametrize("odds", [-1e9, -50.0, 0.0, 50.0, 1e9])
def test_a_network_of_one_opinion_gives_finite_votes(odds: float) -> None:
    moved, best = for_overlap(np.full((3, 4), odds, np.float32))
    assert np.isfinite(moved).all()
    assert 0 < best <= 1


def test_a_caller_may_be_in_inference_mode() -> None:
    import torch

    inputs = np.random.default_rng(0).normal(size=(INPUTS, 16, 24)).astype(np.float32)
    expected = bundled(inputs)
    load.cache_clear()
    with torch.inference_mode():
        np.testing.assert_array_equal(bundled(inputs), expected)
    np.testing.assert_array_equal(bundled(inputs), expected)


def test_a_volume_of_one_layer_is_a_picture() -> None:
    inputs = np.random.default_rng(0).normal(size=(INPUTS, 16, 24)).astype(np.float32)
    for axis in (0, 1, 2):
        volume = np.expand_dims(inputs, axis + 1)
        np.testing.assert_array_equal(bundled(volume).squeeze(axis), bundled(inputs))


def test_weights_have_the_shapes_of_the_network() -> None:
    for ndim in (2, 3):
        assert {k: v.shape for k, v in load(ndim).state_dict().items()} == {
            k: v.shape for k, v in network_of(ndim).state_dict().items()
        }


def test_weights_that_are_missing_or_damaged_are_told_in_one_line(tmp_path: Path) -> None:
    whole = (WEIGHTS / "strokes_2d.pt").read_bytes()
    for content in (None, b"", whole[:1000], whole[: len(whole) // 2], b"version https://git-lfs", whole):
        path = tmp_path / "strokes_3d.pt"  # the last are whole, but those of pictures
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"strokes_3d.pt .*turn off the setting Network\.") as raised:
            read(path, 3)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("says", [-1e9, 1e9])
def test_strokes_are_certain_whatever_a_network_says(says: float) -> None:
    strokes = np.zeros((40, 40), np.int8)
    strokes[10, 8:20], strokes[30, 8:20] = 1, -1
    told: list[np.ndarray] = []

    def network(inputs: np.ndarray) -> np.ndarray:
        told.append(inputs)
        return np.full(inputs.shape[1:], says, np.float32)

    image = np.random.default_rng(0).random((1, 40, 40), np.float32)
    search = Search(Problem(image, (1.0, 1.0), strokes, np.zeros((40, 40), bool)), ALONE)
    labels = search.solve(network)
    assert labels[10, 8:20].all()
    assert not labels[30, 8:20].any()
    assert len(told) == 1
    assert told[0].shape == (INPUTS, 40, 40)


def test_what_a_network_is_told_is_finite_and_small_on_a_constant_image() -> None:
    strokes = np.zeros((30, 30), np.int8)
    strokes[10, 8:20] = 1
    seen: list[np.ndarray] = []
    problem = Problem(np.zeros((2, 30, 30), np.float32), (1.0, 1.0), strokes, np.zeros((30, 30), bool))
    Search(problem, ALONE).solve(lambda x: (seen.append(x), x[0])[1])
    assert np.isfinite(seen[0]).all()
    assert np.abs(seen[0]).max() <= 4


def test_a_session_without_the_network_loads_no_torch() -> None:
    code = (
        "import numpy as np, sys; from napari_medseg import Image; from napari_medseg.jobs import run;"
        "from napari_medseg.refinement import RefinementSession, RefinementSettings;"
        "m = np.zeros((40, 40), np.uint8); m[10, 8:20] = 2;"
        "i = Image(np.eye(40, dtype=np.float32), axes='YX');"
        "s = RefinementSession(i, settings=RefinementSettings(network=NET));"
        "run(s.propose()); run(s.refine(m)); print('torch' in sys.modules)"
    )
    for network in (False, True):
        shown = subprocess.run(
            [sys.executable, "-c", code.replace("NET", str(network))], capture_output=True, text=True, check=True
        )
        assert shown.stdout.strip() == str(network)


@pytest.mark.parametrize("shape", [(120, 150), (24, 40, 40), (1, 120, 150)])
def test_one_stroke_finds_a_body_in_noise(shape: tuple[int, ...]) -> None:
    truth = disc(shape, min(n for n in shape if n > 1) / 4)
    image = Image(
        (truth + np.random.default_rng(1).normal(0, 0.2, shape)).astype(np.float32), axes="ZYX"[-len(shape) :]
    )
    marks = np.zeros(shape, np.uint8)
    middle = [n // 2 for n in shape]
    length = min(n for n in shape if n > 1) // 6
    marks[(*middle[:-1], slice(middle[-1] - length, middle[-1] + length))] = 2
    session = RefinementSession(image, settings=RefinementSettings())
    run(session.propose())
    mask = run(session.refine(marks)).mask > 0
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.9


@pytest.mark.parametrize("edge", [32, 48, 64])
def test_a_clear_ball_is_not_peeled(edge: int) -> None:
    truth = disc((edge, edge, edge), edge / 4)
    values = ndimage.gaussian_filter(truth.astype(float), 0.7) + np.random.default_rng(1).normal(0, 0.02, truth.shape)
    marks, m = np.zeros(truth.shape, np.uint8), edge // 2
    marks[m - 1 : m + 2, m - 1 : m + 2, m - edge // 6 : m + edge // 6] = 2
    scores = []
    for network in (False, True):
        settings = RefinementSettings(network=network)
        session = RefinementSession(Image(values.astype(np.float32), axes="ZYX"), settings=settings)
        mask = run(session.refine(marks)).mask > 0
        scores.append(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
    assert scores[1] > scores[0] - 0.01, scores


@pytest.mark.parametrize("shape", [(120, 150), (24, 40, 40)])
def test_a_stroke_in_a_rim_of_a_given_mask_takes_the_whole_rim_off_and_spares_others(shape: tuple[int, ...]) -> None:
    """Without the network less of the rim goes; other objects and classes stay."""
    radius = min(n for n in shape if n > 1) / 4
    truth = disc(shape, radius)
    values = (truth + np.random.default_rng(1).normal(0, 0.1, shape)).astype(np.float32)
    start = disc(shape, radius + 3).astype(np.uint8)
    start[..., :4], start[..., -3:] = 1, 2  # another object of the class, and one of another class
    marks, middle = np.zeros(shape, np.uint8), [n // 2 for n in shape]
    right = middle[-1] + round(radius) + 1
    marks[(*middle[:-2], slice(middle[-2] - 3, middle[-2] + 4), slice(right, right + 2))] = 1
    left = np.zeros(shape, bool)  # the rim on the side where nothing was drawn
    left[..., 4 : middle[-1]] = True
    left &= (start == 1) & ~truth
    masks = {}
    for network in (False, True):
        image = Image(values, axes="ZYX"[-len(shape) :])
        settings = RefinementSettings(network=network, classes=2)
        session = RefinementSession(image, proposal=start, settings=settings)
        masks[network] = run(session.refine(marks)).mask
    assert masks[False][left].mean() > 0.4
    assert (masks[True][left] > 0).mean() < 0.1
    assert (masks[True][truth] == 1).mean() > 0.97
    np.testing.assert_array_equal(masks[True][..., :4], start[..., :4])
    np.testing.assert_array_equal(masks[True][..., -3:], start[..., -3:])


def test_a_correction_does_not_go_on_where_the_border_would_be_less_clear() -> None:
    """A part is cut off a body that looks the same everywhere: what remains keeps its clear border."""
    truth = disc((120, 150), 40)
    values = (truth + np.random.default_rng(1).normal(0, 0.05, truth.shape)).astype(np.float32)
    session = RefinementSession(Image(values, axes="YX"), proposal=truth.astype(np.uint8))
    marks = np.zeros(truth.shape, np.uint8)
    marks[50:70, 110:113] = 1
    mask = run(session.refine(marks)).mask > 0
    kept = np.arange(150) < 85
    assert not mask[marks == 1].any()
    np.testing.assert_array_equal(mask[:, kept], truth[:, kept])


@pytest.mark.parametrize("network", [False, True])
def test_a_given_mask_on_a_constant_image_changes_near_the_stroke_alone(network: bool) -> None:
    start = disc((120, 150), 40).astype(np.uint8)
    image = Image(np.full(start.shape, 7, np.float32), axes="YX")
    session = RefinementSession(image, proposal=start, settings=RefinementSettings(network=network))
    marks = np.zeros(start.shape, np.uint8)
    marks[55:65, 110:113] = 1
    mask = run(session.refine(marks)).mask
    assert not mask[marks == 1].any()
    np.testing.assert_array_equal(mask[:, :90], start[:, :90])
