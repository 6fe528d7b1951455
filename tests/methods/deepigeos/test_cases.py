"""Intensities, patches and cleaning of MR cases."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io import read_channels
from napari_medseg.methods.deepigeos.inputs import case_folders, clean, foreground_crop, intensity, standardise


def test_intensity_by_hand() -> None:
    measured = intensity(np.array([0, 0, 1.0, 3.0, np.nan]), clip=0)
    assert measured == (1.0, 3.0, 2.0, 1.0)
    assert intensity(np.array([0, 0, 1.0, 3.0]), nonzero=False, clip=0).mean == 1.0
    np.testing.assert_allclose(standardise(np.array([[0, 1, 2, 3, 9, np.nan]]), [measured]), [[-1, -1, 0, 1, 1, -1]])


def test_whole_image_is_padded_to_the_multiple() -> None:
    x, y = np.arange(15, dtype=np.float32).reshape(1, 3, 5), np.arange(15).reshape(3, 5)
    padded_x, padded_y = foreground_crop(x, y, 0, 4, np.random.default_rng(0))
    assert padded_y.shape == (4, 8)
    assert np.array_equal(padded_y[:3, :5], y)
    assert np.array_equal(padded_x[0], padded_y)
    assert (padded_y[:3, 5:] == y[:, -1:]).all()


def test_a_patch_larger_than_the_image_is_padded() -> None:
    x, y = np.zeros((1, 5, 30), np.float32), np.zeros((5, 30), np.int64)
    y[2, 29] = 1
    crop_x, crop_y = foreground_crop(x, y, 16, 1, np.random.default_rng(1))
    assert crop_x.shape == (1, 16, 16)
    assert crop_y.shape == (16, 16)


def test_clean_works_per_class() -> None:
    labels = np.array([[1, 1, 0, 1, 2, 2, 2, 0, 2]], np.uint8)
    assert clean(labels, smallest=2).tolist() == [[1, 1, 0, 0, 2, 2, 2, 0, 0]]
    assert clean(labels, largest=True).tolist() == [[1, 1, 0, 0, 2, 2, 2, 0, 0]]
    assert clean(labels) is labels
    assert not clean(np.zeros((3, 3), np.uint8), largest=True).any()


def test_modalities_of_unequal_size_are_refused(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    sizes = iter([(4, 4), (4, 5)])
    monkeypatch.setattr("napari_medseg.io.read_one", lambda file: Image(np.zeros(next(sizes)), "YX"))
    with pytest.raises(DataError, match="differ in size"):
        read_channels((tmp_path / "a", tmp_path / "b"))


def test_brats_folders(shared_data) -> None:  # type: ignore[no-untyped-def]
    found = case_folders(shared_data / "mri" / "brats2013", "Flair,T1c", "OTMultiClass")
    assert len(found.pairs) == 4
    assert all(len(pair.extra["modalities"]) == 2 for pair in found.pairs)  # type: ignore[arg-type]


def test_a_word_that_fits_no_file_is_named_with_the_files(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "p1").mkdir()
    for name in ("p1_flair.nii.gz", "p1_seg.nii.gz"):
        (tmp_path / "p1" / name).touch()
    assert [pair.stem for pair in case_folders(tmp_path, "flair", "seg").pairs] == ["p1"]
    with pytest.raises(DataError, match=r"'t1'.*p1_flair\.nii\.gz, p1_seg\.nii\.gz"):
        case_folders(tmp_path, "t1", "seg")
    flat = case_folders(tmp_path / "p1", "flair", "seg").pairs
    assert [(p.image.name, p.label.name) for p in flat if p.label] == [("p1_flair.nii.gz", "p1_seg.nii.gz")]
