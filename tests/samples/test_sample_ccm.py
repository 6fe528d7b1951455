from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, label

from napari_medseg.errors import DataError
from napari_medseg.evaluate.metrics.tolerance import tolerance_scores
from napari_medseg.io import read_one
from napari_medseg.io.grids import same_grid
from napari_medseg.measure.skeleton import thin
from napari_medseg.methods.sc_dcnn.method import ScDcnn
from napari_medseg.samples import load_sample
from napari_medseg.samples.ccm import CornealRanges, Painter, ccm_folder, ccm_image
from napari_medseg.samples.ccm_traces import corrupt


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    return ccm_image(3)[1].data > 0


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_sample_is_reproducible_and_like_the_real_thing() -> None:
    image, labels = load_sample("ccm")
    assert np.array_equal(image.data, ccm_image(0)[0].data)
    assert not np.array_equal(image.data, ccm_image(1)[0].data)
    assert (image.data.dtype, image.units, same_grid(image, labels)) == (np.uint8, ("micrometer",) * 2, True)
    z, nerve = (image.data - image.data.mean()) / image.data.std(), labels.data > 0
    distance = distance_transform_edt(~nerve)
    assert z[nerve].mean() - z[(distance >= 3) & (distance <= 6)].mean() == pytest.approx(1.2, abs=0.4)
    assert 0.02 < nerve.mean() < 0.12


QUIET = {"motion": (0.0, 0.0), "jumps": (-1.0, -1.0), "thin_fibres": (0.0, 0.0), "branches": (0.0, 0.0)}
EVEN = {"fading": (0.0, 0.0), "beading": (0.0, 0.0), "out_of_focus": (-1.0, -1.0), "brightness": (5.0, 5.0)}


def drawn(**ranges: tuple[float, float]) -> np.ndarray:
    painter = Painter(128, CornealRanges(**{**QUIET, **EVEN, **ranges}), np.random.default_rng(1))  # type: ignore[arg-type]
    fibres = painter.fibres()
    return np.stack([painter.glow(fibres), painter.centreline(fibres)[0]])


def test_a_nerve_is_as_bright_as_its_range_says_and_lies_on_its_centreline() -> None:
    glow, line = drawn(nerves=(1.0, 1.0))
    assert np.median(glow[line > 0]) == pytest.approx(5, rel=0.15)
    away = distance_transform_edt(line == 0) > 8
    assert glow[away].max() < 0.1


def test_what_nobody_sees_is_not_in_the_mask() -> None:
    assert not drawn(brightness=(0.2, 0.2))[1].any()
    assert drawn(brightness=(2.0, 2.0))[1].any()


def test_motion_moves_rows_of_picture_and_mask_alike() -> None:
    still, moved = drawn(nerves=(1.0, 1.0)), drawn(nerves=(1.0, 1.0), motion=(6.0, 6.0))
    assert not np.array_equal(still[1], moved[1])
    assert np.median(moved[0][moved[1] > 0]) > 3


def test_an_image_without_nerves_has_an_empty_mask_though_cells_are_bright() -> None:
    faint = CornealRanges(brightness=(0.01, 0.01), dendritic_cells=(6.0, 6.0))
    image, labels = ccm_image(0, 128, faint)
    assert not labels.data.any()
    assert image.data.max() > 1.5 * np.median(image.data)


@pytest.mark.parametrize("kind", ["centreline", "radius", "jitter", "delete", "add", "trace"])
def test_level_zero_and_empty_masks_are_unchanged(mask: np.ndarray, kind: str) -> None:
    assert np.array_equal(corrupt(mask, kind, 0, rng()), mask)  # type: ignore[arg-type]
    assert not corrupt(mask * False, kind, 1, rng()).any()  # type: ignore[arg-type]


def test_centreline_is_one_pixel_wide(mask: np.ndarray) -> None:
    centre = corrupt(mask, "centreline", 1, rng())
    assert np.array_equal(thin(centre), centre)
    assert tolerance_scores(centre, mask, 1)[2] > 0.97


@pytest.mark.parametrize("level", [1.0, 3.0])
def test_radius_changes_by_at_most_the_level(mask: np.ndarray, level: float) -> None:
    changed = corrupt(mask, "radius", level, rng())
    grown, shrunk = distance_transform_edt(~mask)[changed & ~mask], distance_transform_edt(mask)[mask & ~changed]
    assert grown.max() <= level + 1
    assert shrunk.max() <= level + 1
    assert len(grown)
    assert len(shrunk)


@pytest.mark.parametrize("level", [1.0, 3.0])
def test_jitter_stays_within_the_level(mask: np.ndarray, level: float) -> None:
    moved = corrupt(mask, "jitter", level, rng())
    assert not np.array_equal(moved, mask)
    assert distance_transform_edt(~mask)[moved].max() <= level + 1
    assert 0.9 < moved.sum() / mask.sum() < 1.1


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_deleted_share_of_the_length(mask: np.ndarray, share: float) -> None:
    left = corrupt(mask, "delete", share, rng())
    assert not (left & ~mask).any()
    assert 1 - left.sum() / mask.sum() == pytest.approx(share, abs=0.07)


def test_added_share_of_the_area(mask: np.ndarray) -> None:
    more = corrupt(mask, "add", 0.1, rng())
    assert (more | mask).sum() == more.sum()
    assert more.sum() / mask.sum() == pytest.approx(1.1, abs=0.06)
    assert label(more)[1] >= label(mask)[1]


def test_traces_get_worse_with_the_level(mask: np.ndarray) -> None:
    f1 = [tolerance_scores(corrupt(mask, "trace", level, rng()), mask, 3)[2] for level in (1, 3, 5)]
    assert f1[0] > f1[1] > f1[2] > 0.5


def test_unknown_corruption_is_refused(mask: np.ndarray) -> None:
    with pytest.raises(DataError, match="jitter"):
        corrupt(mask, "wrong", 1, rng())  # type: ignore[arg-type]


def test_folder_is_ready_for_training(tmp_path: Path) -> None:
    pairs = ScDcnn().find_pairs(ccm_folder(tmp_path / "f", 3, 64, kind="jitter", level=2.0)).pairs
    assert [p.subject for p in pairs] == ["S01", "S02", "S03"]
    x, y = ScDcnn().load_pair(pairs[0])
    exact = read_one(tmp_path / "f" / "exact" / "S01_OD_1_lab.tif").data
    assert x.shape == (1, 64, 64)
    assert not np.array_equal(y, exact)
