from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from napari_medseg import io
from napari_medseg.io.grids import same_grid
from napari_medseg.samples.mri import brain_volume, mri_folder, slice_2d


@pytest.mark.parametrize("seed", range(4))
def test_lesion_is_one_bright_piece_inside_the_brain(seed: int) -> None:
    image, mask = brain_volume(seed)
    assert (image.axes, mask.kind, image.units) == ("ZYX", "labels", ("millimeter",) * 3)
    assert same_grid(image, mask)
    lesion = mask.data > 0
    assert ndimage.label(lesion)[1] == 1
    assert 12 <= lesion.sum() < 0.3 * (image.data > 0).sum()
    around = ndimage.binary_dilation(lesion, iterations=4) & ~ndimage.binary_dilation(lesion) & (image.data > 0)
    assert image.data[lesion].mean() > image.data[around].mean() + 60
    assert (image.data[0] == 0).mean() > 0.5


def test_seed_decides_everything() -> None:
    first, again, other = (brain_volume(s, (24, 32, 28))[0].data for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_slice_and_folder(tmp_path: Path) -> None:
    image, mask = slice_2d(1, (64, 80))
    assert (image.axes, image.spatial_shape, mask.data.dtype) == ("YX", (64, 80), np.uint8)
    assert mask.data.any()
    folder = mri_folder(tmp_path / "data", 2, shape=(16, 24, 20))
    pictures = sorted((folder / "images").iterdir())
    assert [p.name for p in pictures] == ["case_000.nii.gz", "case_001.nii.gz"]
    label = io.read_one(folder / "labels" / "case_001.nii.gz", kind="labels")
    assert same_grid(io.read_one(pictures[1]), label)
    assert label.data.dtype == np.uint8
    assert mri_folder(tmp_path / "flat", 1, ndim=2).exists()
