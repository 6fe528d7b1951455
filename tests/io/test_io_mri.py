from __future__ import annotations

import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from napari_medseg import io
from napari_medseg.errors import DataError, ReadError, WriteError
from napari_medseg.image import Image
from napari_medseg.io.grids import same_grid
from napari_medseg.io.volumes import reader as mri
from napari_medseg.io.volumes.space import compose
from napari_medseg.preprocessing.volumes import to_itk

SERIES = "1.2.826.0.1.3680043.2.1125.1"


def oblique(dtype: str = "int16") -> Image:
    angle = np.deg2rad(25.0)
    direction = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    tilt = np.deg2rad(-10.0)
    direction = direction @ np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = compose((0.8, 1.1, 4.0), direction.ravel(), (-97.4, -129.8, -153.6))
    data = np.arange(3 * 5 * 7).reshape(3, 5, 7).astype(dtype)
    return Image(data, "ZYX", (4.0, 1.1, 0.8), ("millimeter",) * 3, affine, name="oblique")


def write_slices(folder: Path, positions: list[float], series: str = SERIES, prefix: str = "s", shape=(6, 5)) -> None:
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for n, z in enumerate(positions):
        slice_ = sitk.GetImageFromArray(np.full(shape, round(z * 10), np.int16))
        slice_.SetSpacing((0.7, 0.9))
        tags = {"0020|000e": series, "0020|000d": "1.2.3.4", "0008|0018": f"{series}.{n + 1}", "0008|0060": "MR",
                "0008|103e": f"T2 {prefix}", "0020|0032": f"-10\\20\\{z}", "0020|0037": "1\\0\\0\\0\\1\\0",
                "0018|0050": "2", "0020|0013": str(n)}  # fmt: skip
        for key, value in tags.items():
            slice_.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{prefix}{(n * 7) % 10}{n}.dcm"))
        writer.Execute(slice_)


@pytest.mark.parametrize("suffix", mri.SUFFIXES)
def test_oblique_volume_round_trips(tmp_path: Path, suffix: str) -> None:
    image = oblique()
    mri.write(tmp_path / f"case{suffix}", image)
    back = io.read_one(tmp_path / f"case{suffix}")
    assert back.axes == "ZYX"
    assert back.units == ("millimeter",) * 3
    assert back.data.dtype == np.int16
    assert back.name == "case"
    np.testing.assert_array_equal(back.data, image.data)
    np.testing.assert_allclose(back.scale, image.scale, rtol=1e-5)
    np.testing.assert_allclose(back.affine, image.affine, atol=1e-4)
    assert not list(tmp_path.glob(".*part*"))


@pytest.mark.parametrize(
    ("name", "words"),
    [("a.mnc", "MINC.*mnc2nii"), ("a+orig.BRIK", "AFNI"), ("a+orig.HEAD", "AFNI"), ("a.PAR", "Philips.*dcm2niix"),
     ("a.rec", "Philips"), ("a.hdr.gz", "Unpack both"), ("a.img.gz", "Unpack both")],
)  # fmt: skip
def test_volumes_of_other_programs_are_refused_with_the_way_out(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "a.REC").write_bytes(b"voxels")
    (tmp_path / name).write_bytes(b"volume" * 100)
    with pytest.raises(ReadError, match=words) as caught:
        io.read(tmp_path / name)
    assert len(str(caught.value)) < 250


def test_affine_maps_index_to_world_of_itk() -> None:
    image = oblique()
    itk = to_itk(image)
    index = (2, 3, 1)  # z, y, x
    world = np.asarray(image.affine) @ [*index, 1]
    np.testing.assert_allclose(world[:3][::-1], itk.TransformIndexToPhysicalPoint(index[::-1]), atol=1e-9)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64"])
def test_labels_keep_dtype_on_the_source_grid(tmp_path: Path, dtype: str) -> None:
    source = oblique()
    labels = source.labels_like((np.asarray(source.data) % 5).astype(dtype))
    mri.write(tmp_path / "mask.nii.gz", labels)
    back = io.read_one(tmp_path / "mask.nii.gz")
    assert back.data.dtype == np.dtype(dtype)
    assert same_grid(source, back)
    np.testing.assert_array_equal(back.data, labels.data)


def test_real_oblique_volume_round_trips(tmp_path: Path, shared_data: Path) -> None:
    source = io.read_one(shared_data / "mri" / "samples" / "geodistk_img3d.nii.gz")
    assert source.spatial_shape == (45, 229, 300)
    np.testing.assert_allclose(source.scale, (4.0, 0.78125, 0.78125), rtol=1e-5)
    mri.write(tmp_path / "copy.nii.gz", source.labels_like((source.data > 500).astype(np.uint8)))
    back = io.read_one(tmp_path / "copy.nii.gz")
    np.testing.assert_allclose(back.affine, source.affine, atol=1e-3)
    np.testing.assert_array_equal(back.data, source.data > 500)


def test_big_endian_file_with_negative_values(shared_data: Path) -> None:
    image = io.read_one(shared_data / "mri" / "samples" / "nibabel_anatomical.nii")
    assert image.spatial_shape == (25, 41, 33)
    assert image.scale == (2.0, 2.0, 2.0)


def test_four_dimensions_are_channels_or_time(tmp_path: Path) -> None:
    data = np.random.default_rng(0).random((3, 4, 5, 6), np.float32)
    units = ("second", *("millimeter",) * 3)
    mri.write(tmp_path / "dynamic.nii", Image(data, "TZYX", (2.5, 3, 2, 1), units))
    dynamic = io.read_one(tmp_path / "dynamic.nii")
    assert (dynamic.axes, dynamic.scale) == ("TZYX", (2.5, 3.0, 2.0, 1.0))
    mri.write(tmp_path / "seconds.nii", Image(data, "TZYX", (1, 3, 2, 1), units))
    seconds = io.read_one(tmp_path / "seconds.nii")
    assert (seconds.axes, seconds.scale) == ("TZYX", (1.0, 3.0, 2.0, 1.0))
    nib.save(nib.Nifti1Image(data.transpose(3, 2, 1, 0), np.diag([1, 2, 3, 1])), tmp_path / "modalities.nii")
    modalities = io.read_one(tmp_path / "modalities.nii")
    assert (modalities.axes, modalities.scale) == ("CZYX", (3.0, 2.0, 1.0))
    mri.write(tmp_path / "vector.nii.gz", Image(data, "CZYX", (3, 2, 1), units[1:]))
    np.testing.assert_array_equal(io.read_one(tmp_path / "vector.nii.gz").data, data)


def test_one_slice_and_two_dimensions(tmp_path: Path) -> None:
    mri.write(tmp_path / "thin.nii.gz", Image(np.ones((1, 4, 5), np.uint8), "ZYX", (3, 1, 1), ("millimeter",) * 3))
    assert io.read_one(tmp_path / "thin.nii.gz").spatial_shape == (1, 4, 5)
    mri.write(tmp_path / "flat.mha", Image(np.ones((4, 5), np.uint8), "YX", (2, 1), ("millimeter",) * 2))
    flat = io.read_one(tmp_path / "flat.mha")
    assert (flat.axes, flat.scale) == ("YX", (2.0, 1.0))


def test_nan_voxels_are_kept_and_counted(tmp_path: Path) -> None:
    data = np.ones((2, 3, 4), np.float32)
    data[0, 0, :2] = np.nan
    mri.write(tmp_path / "nan.mha", Image(data, "ZYX", (1, 1, 1), ("millimeter",) * 3))
    image = io.read_one(tmp_path / "nan.mha")
    assert np.isnan(image.data).sum() == 2
    assert image.metadata["notes"] == ["2 voxels are not finite (NaN or infinite) and are left out."]


def test_missing_voxel_size_is_said(tmp_path: Path) -> None:
    mri.write(tmp_path / "a.nii", Image(np.ones((2, 3, 4), np.int16), "ZYX"))
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[80:92] = struct.pack("<3f", 0, 0, 0)
    (tmp_path / "zero.nii").write_bytes(raw)
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((2, 3, 4), np.int16)), str(tmp_path / "b.mha"))
    text = (tmp_path / "b.mha").read_bytes()
    (tmp_path / "none.mha").write_bytes(text.replace(b"ElementSpacing = 1 1 1\n", b""))
    for name in ("zero.nii", "none.mha"):
        image = io.read_one(tmp_path / name)
        assert not image.calibrated
        assert "does not state its voxel size" in image.metadata["notes"][0]
    (tmp_path / "zero.mha").write_bytes(text.replace(b"ElementSpacing = 1 1 1", b"ElementSpacing = 0 1 1"))
    with pytest.raises(ReadError, match="voxel size of 0: set the true size"):
        io.read(tmp_path / "zero.mha")


def test_damaged_and_empty_files(tmp_path: Path) -> None:
    mri.write(tmp_path / "a.nii.gz", oblique())
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes()[:60])
    (tmp_path / "text.nrrd").write_text("not a volume")
    (tmp_path / "empty.mha").touch()
    for name in ("cut.nii.gz", "text.nrrd", "empty.mha"):
        with pytest.raises(ReadError, match=name):
            io.read(tmp_path / name)


def test_case_stacks_modalities_and_refuses_other_grids(tmp_path: Path) -> None:
    image = oblique()
    mri.write(tmp_path / "p1_flair.nii.gz", image)
    mri.write(tmp_path / "p1_t1c.nii.gz", image.replace(data=image.data + 1))
    case = io.read_channels([tmp_path / "p1_flair.nii.gz", tmp_path / "p1_t1c.nii.gz"])
    assert (case.axes, case.name, case.channels) == ("CZYX", "p1_flair", ("p1_flair", "p1_t1c"))
    np.testing.assert_array_equal(case.data[1], image.data + 1)
    mri.write(tmp_path / "p2_t2.nii.gz", image.replace(affine=np.diag([4.0, 1.1, 0.8, 1.0])))
    with pytest.raises(DataError, match="not on the same grid"):
        io.read_channels([tmp_path / "p1_flair.nii.gz", tmp_path / "p2_t2.nii.gz"])


def test_sheared_affine_and_unknown_suffix_are_refused(tmp_path: Path) -> None:
    affine = np.diag([4.0, 1.1, 0.8, 1.0])
    affine[0, 1] = 0.5
    with pytest.raises(WriteError, match="shears"):
        mri.write(tmp_path / "a.mha", oblique().replace(affine=affine))
    with pytest.raises(WriteError, match="Choose one of these suffixes"):
        mri.write(tmp_path / "a.xyz", oblique())
    with pytest.raises(WriteError, match="cannot be written"):
        mri.write(tmp_path / "no_folder" / "a.nii", oblique())


def test_dicom_series_is_sorted_along_its_normal(tmp_path: Path) -> None:
    write_slices(tmp_path / "d", [6, 0, 4, 2])
    assert mri.matches(tmp_path / "d")
    image = io.read_one(tmp_path / "d")
    assert image.data[:, 0, 0].tolist() == [0, 20, 40, 60]
    np.testing.assert_allclose(image.scale, (2, 0.9, 0.7))
    np.testing.assert_allclose(np.asarray(image.affine)[:3, 3], (0, 20, -10))
    by_file = io.read_one(next((tmp_path / "d").glob("*.dcm")))
    np.testing.assert_array_equal(by_file.data, image.data)


@pytest.mark.parametrize(
    ("positions", "message"),
    [([0, 2, 4, 8, 10], r"1 missing slice between .* \(4.00 mm, usual 2.00 mm\)"), ([0, 2, 2, 4], "duplicate slice: ")],
)
def test_incomplete_dicom_series_is_listed(tmp_path: Path, positions: list[float], message: str) -> None:
    write_slices(tmp_path / "d", positions)
    with pytest.raises(ReadError, match=message):
        io.read(tmp_path / "d")


def test_mixed_dicom_series_are_listed_and_one_can_be_chosen(tmp_path: Path) -> None:
    write_slices(tmp_path / "d", [0, 2, 4])
    write_slices(tmp_path / "d", [0, 3], SERIES + ".9", "other")
    with pytest.raises(ReadError, match=r"mixes 2 DICOM series: .*T2 .* \(3 files"):
        io.read(tmp_path / "d")
    chosen = io.read_one(sorted((tmp_path / "d").glob("other*"))[0])
    assert chosen.spatial_shape == (2, 6, 5)
    assert chosen.scale[0] == pytest.approx(3)


def test_dicom_slices_of_other_size_are_listed(tmp_path: Path) -> None:
    write_slices(tmp_path / "d", [0, 2])
    write_slices(tmp_path / "d", [4], prefix="t", shape=(8, 8))
    with pytest.raises(ReadError, match="not one regular stack"):
        io.read(tmp_path / "d")


def test_only_folders_with_dicom_match(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    assert not mri.matches(tmp_path)
    assert not mri.matches(tmp_path / "notes.txt")
    (tmp_path / "fake.dcm").write_bytes(b"\0" * 200)
    assert not mri.matches(tmp_path / "fake.dcm")


def test_volumes_without_a_place_stay_volumes(tmp_path: Path) -> None:
    head = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 5 4 3\nspacings: 1 2 3\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(head + bytes(60))
    image = io.read_one(tmp_path / "a.nrrd")
    assert image.affine is None
    assert mri.is_volume(image)
    assert not mri.is_volume(Image(np.zeros((3, 4, 5)), "ZYX", metadata={"source_file": "stack.tif"}))
