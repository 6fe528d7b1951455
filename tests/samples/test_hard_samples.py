"""Tissue and scans with the hard things of real ones: repeatable, calibrated, with what their ranges promise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from napari_medseg.io.grids import same_grid
from napari_medseg.measure.labels import components
from napari_medseg.samples.glands import RANGES as GLANDS
from napari_medseg.samples.glands import gland_tile
from napari_medseg.samples.scans import RANGES as SCANS
from napari_medseg.samples.scans import hard_scan
from napari_medseg.samples.tissue import RANGES, tissue_tile


@pytest.mark.parametrize("make", [hard_scan, tissue_tile, gland_tile])
@pytest.mark.parametrize("size", [64, 150])
def test_the_same_seed_gives_the_same(make: object, size: int) -> None:
    assert callable(make)
    image, labels = make(3, size)
    np.testing.assert_array_equal(image.data, make(3, size)[0].data)
    assert not np.array_equal(image.data, make(4, size)[0].data)
    assert image.spatial_shape == labels.spatial_shape == (size, size)
    assert same_grid(image, labels)
    assert image.units == ("micrometer", "micrometer")


def test_nuclei_are_dark_blue_whole_and_numbered() -> None:
    for seed in range(4):
        image, labels = tissue_tile(seed, 200)
        ids = np.unique(labels.data)
        np.testing.assert_array_equal(ids, np.arange(ids.size))
        assert ids.size > 5
        inside = labels.data > 0
        assert image.data[inside].mean() < image.data[~inside].mean()


@pytest.mark.parametrize("crypts", [0.0, 1.0])
def test_glands_are_whole_apart_and_numbered(crypts: float) -> None:
    """Each label is one piece without holes, lumens are the brightest of it, and stroma lies between any two."""
    ranges = dataclasses.replace(GLANDS, crypts=crypts, debris=0.0, cover=(0.5, 0.5), crypt_lumen=(0.4, 0.4))
    for seed in range(3):
        image, labels = gland_tile(seed, 260, ranges)
        glands = np.asarray(labels.data)
        np.testing.assert_array_equal(np.unique(glands), np.arange(glands.max() + 1))
        assert glands.max() >= 1
        assert components(glands > 0).max() == glands.max()
        assert 0.2 < (glands > 0).mean() < 0.9
        deep = ndimage.distance_transform_edt(np.pad(glands > 0, 1, mode="edge"))[1:-1, 1:-1]
        shades = image.data.mean(-1)
        assert shades[deep > 0.85 * deep.max()].mean() > shades[(deep > 2) & (deep < 0.3 * deep.max())].mean()


def test_nuclei_overlap_only_as_far_as_asked() -> None:
    crowded = dataclasses.replace(RANGES, crowding=(0.6, 0.6), overlap=(0.3, 0.3), magnification=(1.0, 1.0))
    apart = dataclasses.replace(crowded, overlap=(0.0, 0.0), crowding=(2.0, 2.0))
    tiles = [[tissue_tile(seed, 256, ranges)[1].data for seed in (0, 1)] for ranges in (crowded, apart)]
    pieces = [np.mean([components(tile > 0).max() / tile.max() for tile in pair]) for pair in tiles]
    assert pieces[0] < 0.8 * pieces[1]


def test_scan_without_instrument_is_its_topography() -> None:
    still = ["tilt", "bow", "cubic", "rings", "jumps", "shadow", "overshoot", "scars", "noise"]
    still += ["line_offsets", "line_walk"]
    quiet = dataclasses.replace(SCANS, **dict.fromkeys(still, (0.0, 0.0)), drift=0.0, eight_bit=0.0, debris=(0, 0))
    for seed in range(3):
        image, mask = hard_scan(seed, 256, quiet)
        height = image.data - np.median(image.data[mask.data == 0])
        far = mask.data == 0
        assert np.abs(height[far]).mean() < height[~far].mean() / 5
        assert height[~far].mean() > 5


def test_export_to_eight_bit_leaves_256_levels() -> None:
    image, _ = hard_scan(0, 128, dataclasses.replace(SCANS, eight_bit=1.0))
    assert np.unique(image.data).size <= 256
