from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_medseg.errors import DataError
from napari_medseg.evaluate.metrics.objects import aji_greedy
from napari_medseg.io import read_one
from napari_medseg.measure import labels as label_maps
from napari_medseg.methods.fullnet import ternary as t
from napari_medseg.methods.fullnet.one_case import starts, windows
from napari_medseg.methods.fullnet.ternary import drop_small, inside_mask, label_objects


def blobs(seed: int = 0, shape: tuple[int, int] = (60, 70), n: int = 12) -> NDArray[np.int32]:
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    labels = np.zeros(shape, np.int32)
    for i in range(1, n + 1):
        cy, cx, r = rng.integers(0, shape[0]), rng.integers(0, shape[1]), rng.uniform(2, 8)
        labels[((y - cy) ** 2 + (x - cx) ** 2 < r * r) & (labels == 0)] = i
    return labels


def naive_ternary(labels: np.ndarray, radius: int) -> np.ndarray:
    inside, contour = np.zeros(labels.shape, bool), np.zeros(labels.shape, bool)
    for i in np.unique(labels)[1:]:
        mask = labels == i
        core = ndimage.binary_erosion(mask, t.disk(radius), border_value=1)
        inside |= core
        contour |= ndimage.binary_dilation(mask, t.disk(radius)) & ~core
    assert not (inside & contour).any()
    return np.where(inside, 1, np.where(contour, 2, 0))


def naive_weights(labels: np.ndarray, sigma: float) -> np.ndarray:
    distances = []
    for i in np.unique(labels)[1:]:
        parts = ndimage.label(labels == i, np.ones((3, 3)))[0]
        first = next(parts[y, x] for x in range(parts.shape[1]) for y in range(parts.shape[0]) if parts[y, x])
        filled = ndimage.binary_fill_holes(parts == first)
        points = [
            (y, x)
            for y, x in np.argwhere(filled)
            if any(
                not (0 <= y + dy < filled.shape[0] and 0 <= x + dx < filled.shape[1]) or not filled[y + dy, x + dx]
                for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
            )
        ]
        yy, xx = np.indices(labels.shape)
        distances.append(np.min([np.hypot(yy - y, xx - x) for y, x in points], axis=0))
    nearest = np.sort(distances, axis=0)
    return 1 + 10 * np.exp(-((nearest[0] + nearest[1]) ** 2) / (2 * sigma**2))


@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_ternary_equals_the_definition_per_instance(radius: int, seed: int) -> None:
    labels = blobs(seed)
    np.testing.assert_array_equal(t.ternary(labels, radius), naive_ternary(labels, radius))


def test_ternary_round_trip_and_one_channel_per_pixel() -> None:
    classes = t.ternary(blobs())
    rgb = t.to_rgb(classes)
    assert t.is_ternary(rgb)
    assert not t.is_ternary(np.full((4, 4, 3), 255, np.uint8))
    np.testing.assert_array_equal(rgb.sum(-1), 255)
    np.testing.assert_array_equal(t.from_rgb(rgb), classes)


def test_no_erosion_at_the_frame() -> None:
    labels = np.zeros((8, 8), np.int32)
    labels[:4] = 1
    np.testing.assert_array_equal(t.ternary(labels)[:, 3], [1, 1, 1, 2, 2, 0, 0, 0])


@pytest.mark.parametrize(("radius", "core"), [(1, slice(6, 14)), (2, slice(7, 13))])
def test_encoding_erodes_again_and_rings_the_rest(radius: int, core: slice) -> None:
    classes = np.zeros((20, 20), np.uint8)
    classes[5:15, 5:15] = t.INSIDE
    encoded = t.encode(classes, radius)
    expected = np.zeros((20, 20), bool)
    expected[core, core] = True
    if radius == 2:  # a disk of radius 2 does not reach the corners of its box
        np.testing.assert_array_equal(encoded[7:13, 7:13] == t.INSIDE, True)
    np.testing.assert_array_equal((encoded == t.INSIDE) & ~expected, False)
    assert encoded[4, 10] == t.CONTOUR
    assert encoded[3, 10] == t.BACKGROUND
    np.testing.assert_array_equal(t.encode(classes, radius, "fixed"), classes)


@pytest.mark.parametrize("sigma", [1.5, 5.0])
@pytest.mark.parametrize("seed", range(3))
def test_weight_map_equals_the_formula(sigma: float, seed: int) -> None:
    labels = blobs(seed, (40, 44), 7)
    labels[2:12, 30:40], labels[5:8, 33:36] = 20, 0  # a hole
    labels[30:32, 2:4], labels[36:38, 2:5] = 21, 21  # two fragments
    expected = naive_weights(labels, sigma)
    np.testing.assert_allclose(t.weight_map(labels, sigma), expected, atol=2e-5)
    np.testing.assert_array_equal(t.weights_to_grey(t.weight_map(labels, sigma)), np.floor(20 * expected + 0.5))


def test_weight_grey_levels_of_the_reference() -> None:
    total = np.array([0, 5, 10, 15])
    weights = 1 + 10 * np.exp(-(total**2) / 50)
    np.testing.assert_array_equal(t.weights_to_grey(weights), [220, 141, 47, 22])


def test_weights_of_fewer_than_two_instances_are_one() -> None:
    labels = np.zeros((30, 30), np.int32)
    np.testing.assert_array_equal(t.weight_map(labels), 1)
    labels[5:9, 5:9] = 1
    np.testing.assert_array_equal(t.weight_map(labels), 1)


def test_single_id_is_split_into_components() -> None:
    mask = np.zeros((9, 9), np.uint8)
    mask[1:3, 1:3] = mask[6:8, 6:8] = 255
    assert label_maps.instances(mask).max() == 2
    kept = np.where(mask, [[7] * 9] * 5 + [[9] * 9] * 4, 0)
    np.testing.assert_array_equal(np.unique(label_maps.instances(kept)), [0, 1, 2])


def test_overflowed_8_bit_map_is_refused() -> None:
    grid = np.zeros((80, 80), np.int64)
    grid[::3, ::3] = np.arange(1, 27 * 27 + 1).reshape(27, 27)
    with pytest.raises(DataError, match="16-bit"):
        label_maps.instances((grid % 256).astype(np.uint8))
    assert label_maps.instances(grid.astype(np.uint16)).max() == 729


@pytest.mark.parametrize(("length", "expected"), [(1000, [0, 250, 500, 750]), (250, [0]), (200, [0])])
def test_patch_starts(length: int, expected: list[int]) -> None:
    assert starts(length) == expected


@pytest.mark.parametrize("length", [251, 400, 522, 775, 999, 1001, 2300])
def test_patches_cover_every_pixel(length: int) -> None:
    covered = np.zeros(length, bool)
    for start in starts(length):
        covered[start : start + 250] = True
        assert start + 250 <= length
    assert covered.all()


def test_patch_10_is_row_two_column_two() -> None:
    assert list(windows((1000, 1000)))[10] == (slice(500, 750), slice(500, 750))


def test_small_pieces_and_growth() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:6, 2:6] = mask[10, 10] = True
    assert drop_small(mask, 2).sum() == 16
    mask = np.zeros((12, 20), bool)
    mask[4:8, 2:7] = mask[4:8, 9:14] = True
    disk, free = label_objects(mask, 2, "disk"), label_objects(mask, 2, "free")
    assert disk.dtype == np.uint16
    assert disk[5, 8] == 2  # the larger id wins
    assert disk[5, 7] == 2
    assert free[5, 7] == 1
    np.testing.assert_array_equal(free[4:8, 2:7], 1)


def test_holes_are_filled_on_request() -> None:
    mask = np.ones((7, 7), bool)
    mask[3, 3] = False
    assert label_objects(mask, 0)[3, 3] == 0
    assert label_objects(mask, 0, fill_holes=True)[3, 3] == 1


def test_threshold_replaces_argmax() -> None:
    p = np.array([0.1, 0.45, 0.45], np.float32)[:, None, None]
    assert inside_mask(p)[0, 0]
    assert not inside_mask(p, 0.5)[0, 0]


@pytest.mark.data
@pytest.mark.parametrize(
    ("stem", "published"), [("Liver_TCGA-50-5931-01Z-00-DX1", 0.995), ("Kidney_TCGA-HE-7130-01Z-00-DX1", 0.921)]
)
def test_oracle_ceiling_of_the_pipeline(shared_data: Path, stem: str, published: float) -> None:
    folder = shared_data / "histology" / "kumar" / "val" / "labels"
    truth = label_maps.instances(read_one(folder / f"{stem}_label.png", "labels").data)
    encoded = t.encode(t.ternary(truth))
    labels = label_objects(drop_small(encoded == t.INSIDE, 20), 2)
    assert aji_greedy(labels, truth) == pytest.approx(published, abs=0.005)
