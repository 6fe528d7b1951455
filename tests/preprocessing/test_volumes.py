from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io.grids import on_grid, same_grid
from napari_medseg.io.volumes.space import compose
from napari_medseg.preprocessing.settings import VolumeSettings
from napari_medseg.preprocessing.volumes import brain_mask, n4, preprocess, resample, unit_range
from napari_medseg.samples.mri import brain_volume

CROP = VolumeSettings(crop=True)
OBLIQUE = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])


def oblique_brain() -> tuple[Image, Image]:
    image, mask = brain_volume(2, (24, 36, 32))
    affine = compose((1.0, 1.0, 1.5), OBLIQUE.ravel(), (5.0, -20.0, 8.0))
    return image.replace(affine=affine), mask.replace(affine=affine)


def test_crop_by_hand() -> None:
    data = np.zeros((8, 9, 10), np.int16)
    data[2:4, 3:5, 4:6] = np.arange(8).reshape(2, 2, 2) + 10
    done = preprocess(Image(data, "ZYX", (2, 1, 1)), CROP.updated(crop_margin=1))
    np.testing.assert_array_equal(done.data, data[1:5, 2:6, 3:7])
    np.testing.assert_allclose(np.asarray(done.affine)[:3, 3], (2, 2, 3))


@pytest.mark.parametrize("orient", ["keep", "RAS", "LPS"])
def test_crop_and_orientation_are_undone_exactly(orient: str) -> None:
    image, mask = oblique_brain()
    settings = CROP.updated(orient=orient)
    done = preprocess(image, settings)
    marked = preprocess(image.replace(data=np.where(mask.data > 0, 5000, image.data)), settings)
    back = on_grid(done.labels_like((marked.data == 5000).astype(np.uint8)), image)
    assert same_grid(back, image)
    assert back.data.dtype == np.uint8
    np.testing.assert_array_equal(back.data, mask.data)


def test_resampling_there_and_back_keeps_the_object() -> None:
    image, mask = oblique_brain()
    fine = preprocess(image, VolumeSettings(resample=1.0))
    assert fine.scale == pytest.approx((1.0, 1.0, 1.0))
    assert fine.spatial_shape == (36, 36, 32)
    back = on_grid(resample(mask, 1.0), image)
    both = (back.data > 0) & (mask.data > 0)
    assert 2 * both.sum() / (back.data.sum() + mask.data.sum()) > 0.95
    same = resample(Image(np.full((4, 5, 6), 3.0, np.float32), "ZYX", (3, 1, 1)), 1.5)
    assert np.all(same.data == 3.0)


def test_brain_mask_of_stripped_normalised_and_whole_heads() -> None:
    image, _ = brain_volume(0, (24, 36, 32))
    brain = np.asarray(image.data) > 0
    np.testing.assert_array_equal(brain_mask(image), brain)
    shifted = image.replace(data=image.data / 100 - 3.25)
    np.testing.assert_array_equal(brain_mask(shifted), brain)
    air = np.random.default_rng(0).integers(0, 20, brain.shape)
    noisy = brain_mask(image.replace(data=image.data + air))
    assert (noisy != ndimage.binary_fill_holes(brain)).mean() < 0.05


def test_n4_flattens_a_bias_field() -> None:
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (16, 32, 32)), indexing="ij")
    head = z**2 + y**2 + x**2 < 0.9
    rng = np.random.default_rng(0)
    clean = head * (200 + 60 * (np.abs(x) < 0.3) + rng.normal(0, 3, head.shape))
    biased = Image(clean * (1 + 0.4 * y + 0.2 * x), "ZYX")
    flat = n4(biased, shrink=2, iterations=20)
    tissue = head & (np.abs(x) > 0.35)
    before, after = (np.std(v[tissue]) / np.mean(v[tissue]) for v in (np.asarray(biased.data), flat))
    assert after < 0.4 * before


def test_nan_voxels_one_slice_and_channels() -> None:
    image, _ = brain_volume(1, (1, 40, 40))
    data = np.stack([image.data, image.data]).astype(np.float32)
    data[0, 0, 20, 20] = np.nan
    done = preprocess(Image(data, "CZYX", image.scale, image.units), CROP)
    assert done.axes == "CZYX"
    assert np.isfinite(done.data).all()
    assert done.data.dtype == np.float32


def test_empty_image_and_bad_input() -> None:
    flat = Image(np.zeros((4, 5, 6)), "ZYX")
    assert preprocess(flat, CROP).data.any() is np.False_
    with pytest.raises(DataError, match="Choose one time point"):
        preprocess(Image(np.zeros((2, 4, 5, 6)), "TZYX"), CROP)
    with pytest.raises(DataError, match="Set orientation to keep"):
        preprocess(Image(np.zeros((4, 5)), "YX"), VolumeSettings(orient="RAS"))


def test_unit_range() -> None:
    np.testing.assert_allclose(unit_range(np.array([-9.0, 0, 3])), [0, 0.5, 1])


def test_resampling_knows_the_unit() -> None:
    fine = Image(np.ones((4, 6, 8), np.float32), "ZYX", (500, 250, 250), ("micrometer",) * 3)
    again = resample(fine, 0.5)
    assert (again.spatial_shape, again.scale) == ((4, 3, 4), (500, 500, 500))


def test_a_sheared_grid_comes_back_from_its_crop() -> None:
    affine = np.diag([3.0, 2, 1, 1])
    affine[1, 0] = 0.8
    data = np.zeros((6, 12, 14), np.float32)
    data[2:4, 3:9, 4:11] = np.random.default_rng(0).random((2, 6, 7)) + 1
    image = Image(data, "ZYX", tuple(np.linalg.norm(affine[:3, :3], axis=0)), ("millimeter",) * 3, affine)
    small = preprocess(image, CROP.updated(crop_margin=0))
    assert small.spatial_shape == (2, 6, 7)
    back = on_grid(small.labels_like(np.ones(small.spatial_shape, np.uint8)), image)
    np.testing.assert_array_equal(back.data, data > 0)
    with pytest.raises(DataError, match="not at right angles"):
        preprocess(image, VolumeSettings(resample=1.0))
