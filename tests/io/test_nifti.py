"""NIfTI and its relatives: values, units and places as nibabel and SimpleITK read them, or as the header says."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from shorthand import notes

from napari_medseg import io
from napari_medseg.errors import ReadError
from napari_medseg.image import Image
from napari_medseg.preprocessing.volumes import affine_of

RNG = np.random.default_rng(3)
DATA = RNG.integers(-500, 500, (5, 6, 7)).astype(np.int16)  # x, y, z
OBLIQUE = np.array([[0.8, -0.3, 0.1, -90], [0.3, 1.1, 0.2, 12], [-0.1, -0.2, 3.9, 5], [0, 0, 0, 1.0]])
U, _, V = np.linalg.svd(OBLIQUE[:3, :3])
OBLIQUE[:3, :3] = U @ V @ np.diag([0.8, 1.1, 4.0])


def stored(
    path: Path, data: np.ndarray = DATA, affine: np.ndarray | None = OBLIQUE, version: int = 1, **fields
) -> Path:
    """Write a file by nibabel and set header `fields` as raw numbers behind its back."""
    kind = {1: nibabel.Nifti1Image, 2: nibabel.Nifti2Image}[version]
    made = kind(data, affine, dtype=data.dtype)
    made.header.set_xyzt_units("mm", "sec")
    raw = bytearray(made.to_bytes())
    for name, value in fields.items():
        field, place = made.header.template_dtype.fields[name][:2]
        packed = np.array(value, field.base).tobytes()
        raw[place : place + len(packed)] = packed
    path.write_bytes(gzip.compress(bytes(raw)) if path.suffix == ".gz" else bytes(raw))
    return path


def world(image: Image) -> np.ndarray:
    """Return nibabel's affine (x, y, z to RAS) of an image."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = image.affine[:3, :3][::-1, ::-1], image.affine[:3, 3][::-1]
    return np.diag([-1, -1, 1, 1]) @ matrix


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
)
def test_every_number_type_of_both_versions(tmp_path: Path, version: int, suffix: str, dtype: str) -> None:
    data = np.abs(DATA).astype(dtype)
    image = io.read_one(stored(tmp_path / f"a{suffix}", data, version=version))
    np.testing.assert_array_equal(image.data, data.T)
    assert image.data.dtype == dtype
    np.testing.assert_allclose(world(image), OBLIQUE, atol=1e-4)
    np.testing.assert_allclose(image.scale, (4, 1.1, 0.8), rtol=1e-5)


def test_place_is_that_of_itk(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.nii")
    np.testing.assert_allclose(io.read_one(path).affine, affine_of(sitk.ReadImage(str(path))), atol=1e-4)


@pytest.mark.parametrize("big", [False, True])
def test_pairs_and_analyze(tmp_path: Path, big: bool) -> None:
    header = nibabel.nifti1.Nifti1PairHeader(endianness=">" if big else "<")
    header.set_data_dtype(np.int16)
    nibabel.Nifti1Pair(DATA, OBLIQUE, header).to_filename(tmp_path / "scan.img")
    for name in ("scan.img", "scan.hdr"):
        image = io.read_one(tmp_path / name)
        np.testing.assert_array_equal(image.data, DATA.T)
        np.testing.assert_allclose(world(image), OBLIQUE, atol=1e-4)
    (tmp_path / "scan.hdr").unlink()
    with pytest.raises(ReadError, match=r"scan\.hdr is not beside it"):
        io.read(tmp_path / "scan.img")
    nibabel.AnalyzeImage(DATA, np.diag([2, 3, 4, 1])).to_filename(tmp_path / "old.img")
    old = io.read_one(tmp_path / "old.hdr")
    np.testing.assert_array_equal(old.data, DATA.T)
    assert old.scale == (4, 3, 2)
    assert "left and right" in notes(old)


@pytest.mark.parametrize("share", [0.1, 0.6, 0.95, 0.999])
def test_a_cut_file_is_refused(tmp_path: Path, share: float) -> None:
    for suffix in (".nii", ".nii.gz"):
        path = stored(tmp_path / f"a{suffix}", RNG.normal(size=(20, 20, 20)).astype(np.float32))
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ReadError, match=rf"a{suffix} .*cut short or damaged|damaged header"):
            io.read(path)


@pytest.mark.parametrize("dim", [[0, 5, 6, 7, 1, 1, 1, 1], [9, 5, 6, 7, 1, 1, 1, 1], [3, 5, -6, 7, 1, 1, 1, 1]])
def test_sizes_that_are_none_are_refused(tmp_path: Path, dim: list[int]) -> None:
    with pytest.raises(ReadError, match="damaged"):
        io.read(stored(tmp_path / "a.nii", dim=dim))


def test_where_the_voxels_begin(tmp_path: Path) -> None:
    np.testing.assert_array_equal(io.read_one(stored(tmp_path / "a.nii", vox_offset=0)).data, DATA.T)
    for wrong in (100, 1e9, np.nan, -352):
        with pytest.raises(ReadError, match="damaged"):
            io.read(stored(tmp_path / "a.nii", vox_offset=wrong))


def test_a_flipped_bit_in_a_packed_file_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.nii.gz", RNG.normal(size=(20, 20, 20)).astype(np.float32))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)
    with pytest.raises(ReadError, match="cut short or damaged"):
        io.read(path)


def test_a_plain_file_named_gz(tmp_path: Path) -> None:
    stored(tmp_path / "a.nii").rename(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(io.read_one(tmp_path / "a.nii.gz").data, DATA.T)


@pytest.mark.parametrize(
    ("slope", "inter", "right"),
    [(0, 5, DATA), (np.nan, 5, DATA), (2, -7, DATA * 2.0 - 7), (0.001, 0, DATA * np.float32(0.001)), (1, 0, DATA)],
)
def test_scaling(tmp_path: Path, slope: float, inter: float, right: np.ndarray) -> None:
    path = stored(tmp_path / "a.nii", scl_slope=slope, scl_inter=inter)
    np.testing.assert_allclose(io.read_one(path).data, right.T, rtol=1e-6)
    np.testing.assert_allclose(io.read_one(path).data, nibabel.load(path).get_fdata().T, rtol=1e-6)


@pytest.mark.parametrize(
    ("code", "unit", "factor"),
    [(1, "millimeter", 1000), (2, "millimeter", 1), (3, "micrometer", 1), (0, "millimeter", 1)],
)
def test_units(tmp_path: Path, code: int, unit: str, factor: float) -> None:
    image = io.read_one(stored(tmp_path / "a.nii", xyzt_units=code))
    assert set(image.units) == {unit}
    np.testing.assert_allclose(image.scale, np.array([4, 1.1, 0.8]) * factor, rtol=1e-5)
    np.testing.assert_allclose(image.affine[:3, 3][::-1], np.array([90, -12, 5]) * factor, rtol=1e-5)
    assert ("millimetres are assumed" in notes(image)) == (code == 0)


def test_time_is_in_seconds(tmp_path: Path) -> None:
    data = RNG.random((4, 5, 6, 3), np.float32)
    for code, step, right in ((8, 2.5, 2.5), (16, 2500, 2.5), (24, 2.5e6, 2.5)):
        image = io.read_one(
            stored(tmp_path / "a.nii", data, xyzt_units=2 | code, pixdim=[1, 0.8, 1.1, 4, step, 0, 0, 0])
        )
        assert (image.axes, image.units[0], image.scale[0]) == ("TZYX", "second", pytest.approx(right))
        assert "unit of time" not in notes(image)
    image = io.read_one(stored(tmp_path / "a.nii", data, xyzt_units=2, pixdim=[1, 0.8, 1.1, 4, 2000, 0, 0, 0]))
    assert "does not state a unit of time; 2000 seconds a step are assumed" in notes(image)
    image = io.read_one(stored(tmp_path / "a.nii", data, pixdim=[1, 0.8, 1.1, 4, 1, 0, 0, 0]))
    assert image.axes == "CZYX"
    np.testing.assert_array_equal(image.data, data.T)


def test_sform_wins_and_a_difference_is_said(tmp_path: Path) -> None:
    made = nibabel.Nifti1Image(DATA, OBLIQUE)
    made.set_qform(np.diag([1, 2, 3, 1.0]), 1)
    made.set_sform(OBLIQUE, 2)
    made.to_filename(tmp_path / "a.nii")
    image = io.read_one(tmp_path / "a.nii")
    np.testing.assert_allclose(world(image), OBLIQUE, atol=1e-4)
    assert "qform and sform differ" in notes(image)
    made.set_sform(OBLIQUE, 0)
    made.to_filename(tmp_path / "b.nii")
    np.testing.assert_allclose(world(io.read_one(tmp_path / "b.nii")), np.diag([1, 2, 3, 1]), atol=1e-5)


def test_a_useless_sform_is_not_used(tmp_path: Path) -> None:
    made = nibabel.Nifti1Image(DATA, OBLIQUE)
    made.set_qform(OBLIQUE, 1)
    made.set_sform(OBLIQUE, 2)
    path = tmp_path / "a.nii"
    path.write_bytes(made.to_bytes())
    raw = bytearray(path.read_bytes())
    raw[280:328] = bytes(48)
    path.write_bytes(raw)
    image = io.read_one(path)
    np.testing.assert_allclose(world(image), OBLIQUE, atol=1e-4)
    assert "is no place in space" in notes(image)


def test_no_place_and_no_size(tmp_path: Path) -> None:
    nowhere = {"qform_code": 0, "sform_code": 0}
    image = io.read_one(stored(tmp_path / "a.nii", **nowhere, pixdim=[1, 0.5, 0.5, 2, 0, 0, 0, 0]))
    assert (image.affine, image.scale, image.units[0]) == (None, (2, 0.5, 0.5), "millimeter")
    assert "where it lies" in notes(image)
    image = io.read_one(stored(tmp_path / "b.nii", **nowhere, pixdim=[1, 0.5, 0.5, 0, 0, 0, 0, 0]))
    assert (image.affine, image.scale, set(image.units)) == (None, (1, 1, 1), {"pixel"})
    assert "does not state its voxel size" in notes(image)


def test_skew_of_rounding_is_kept_and_noted(tmp_path: Path) -> None:
    rounded = np.array([[0.285, 0.1031, 0, 0], [-0.103, 0.285, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])
    image = io.read_one(stored(tmp_path / "a.nii", affine=rounded))
    np.testing.assert_allclose(world(image), rounded, atol=1e-6)
    assert "off right angles, as rounded matrices are" in notes(image)
    sheared = rounded.copy()
    sheared[0, 2] = 0.5
    image = io.read_one(stored(tmp_path / "b.nii", affine=sheared))
    np.testing.assert_allclose(world(image), sheared, atol=1e-6)
    assert "a sheared grid" in notes(image)


def test_left_handed_qform(tmp_path: Path) -> None:
    mirrored = OBLIQUE @ np.diag([-1, 1, 1, 1])
    made = nibabel.Nifti1Image(DATA, mirrored)
    made.set_qform(mirrored, 1)
    made.set_sform(None, 0)
    made.to_filename(tmp_path / "a.nii")
    assert {nibabel.load(tmp_path / "a.nii").header["pixdim"][0].item(), np.sign(np.linalg.det(mirrored))} == {-1.0}
    image = io.read_one(tmp_path / "a.nii")
    np.testing.assert_allclose(world(image), mirrored, atol=1e-4)
    io.write(tmp_path / "b.nii", image.labels_like(np.ones(image.data.shape, np.uint8)))
    np.testing.assert_array_equal(nibabel.load(tmp_path / "b.nii").affine, nibabel.load(tmp_path / "a.nii").affine)


def test_volumes_that_differ_are_no_labels(tmp_path: Path) -> None:
    four = np.zeros((5, 6, 7, 4), np.uint8)
    four[2, 2, 2, 3] = 1
    with pytest.raises(ReadError, match="4 volumes or channels that differ"):
        io.read_labels(stored(tmp_path / "a.nii", four))


@pytest.mark.parametrize("codes", [(1, 4), (1, 2), (0, 3), (2, 0), (0, 0)])
def test_a_result_carries_qform_sform_and_codes(tmp_path: Path, codes: tuple[int, int]) -> None:
    made = nibabel.Nifti1Image(DATA, OBLIQUE)
    template = np.array([[1.1, 0.1, 0, -30], [-0.05, 2.2, 0.1, 20], [0, 0.2, 3.1, 5], [0, 0, 0, 1]])
    made.set_qform(OBLIQUE, codes[0])
    made.set_sform(template, codes[1])
    made.to_filename(tmp_path / "a.nii")
    source = io.read_one(tmp_path / "a.nii")
    io.write(tmp_path / "mask.nii.gz", source.labels_like((np.asarray(source.data) > 0).astype(np.uint8)))
    before, after = (nibabel.load(tmp_path / name).header for name in ("a.nii", "mask.nii.gz"))
    for field in ("qform_code", "sform_code", "quatern_b", "qoffset_x", "srow_x", "srow_y", "srow_z", "pixdim"):
        np.testing.assert_array_equal(before[field], after[field], field)
    np.testing.assert_array_equal(
        nibabel.load(tmp_path / "mask.nii.gz").affine, nibabel.load(tmp_path / "a.nii").affine
    )


def test_a_result_elsewhere_carries_its_own_place(tmp_path: Path) -> None:
    source = io.read_one(stored(tmp_path / "a.nii"))
    moved = np.array(source.affine)
    moved[:3, 3] += 5
    labels = source.labels_like(np.ones(source.data.shape, np.uint8)).replace(affine=moved)
    io.write(tmp_path / "b.nii", labels)
    np.testing.assert_allclose(io.read_one(tmp_path / "b.nii").affine, moved, atol=1e-4)


def test_planes(tmp_path: Path) -> None:
    plane = np.arange(20, dtype=np.int16).reshape(5, 4)
    image = io.read_one(stored(tmp_path / "a.nii", plane, np.diag([0.5, 0.7, 1, 1])))
    assert (image.axes, image.scale) == ("YX", (pytest.approx(0.7), 0.5))
    np.testing.assert_array_equal(image.data, plane.T)
    coronal = np.array([[0.5, 0, 0, 0], [0, 0, 1, 0], [0, 0.7, 0, 9], [0, 0, 0, 1]])
    image = io.read_one(stored(tmp_path / "b.nii", plane, coronal))
    assert image.axes == "ZYX"
    np.testing.assert_array_equal(image.data[0], plane.T)
    np.testing.assert_allclose(world(image), coronal, atol=1e-6)


def test_five_and_more_axes(tmp_path: Path) -> None:
    field = RNG.random((4, 5, 6, 2, 3), np.float32)
    image = io.read_one(stored(tmp_path / "a.nii", field))
    assert image.axes == "CTZYX"
    np.testing.assert_array_equal(image.data, field.T)
    vectors = io.read_one(stored(tmp_path / "b.nii", field[:, :, :, :1]))
    assert vectors.axes == "CZYX"
    np.testing.assert_array_equal(vectors.data, field[:, :, :, 0].T.reshape(vectors.data.shape))
    with pytest.raises(ReadError, match="6 dimensions"):
        io.read(stored(tmp_path / "c.nii", np.zeros((2, 2, 2, 2, 2, 2), np.float32)))


def test_colours(tmp_path: Path) -> None:
    colours = np.zeros((5, 6, 7), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for k, name in enumerate("RGB"):
        colours[name] = RNG.integers(0, 255, colours.shape)
        colours[name][0, 0, 0] = k
    image = io.read_one(stored(tmp_path / "a.nii", colours))
    assert (image.axes, image.channels) == ("ZYXC", ("red", "green", "blue"))
    np.testing.assert_array_equal(image.data[..., 1], colours["G"].T)


def test_complex_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="complex64"):
        io.read(stored(tmp_path / "a.nii", np.zeros((4, 5, 6), np.complex64)))


def test_labels_that_nibabel_scaled(tmp_path: Path) -> None:
    labels = RNG.integers(0, 4, (5, 6, 7)).astype(np.uint8)
    for dtype in (np.uint8, np.int16):
        made = nibabel.Nifti1Image(labels.astype(float), OBLIQUE)
        made.header.set_data_dtype(dtype)
        made.to_filename(tmp_path / "a.nii")
        assert nibabel.load(tmp_path / "a.nii").dataobj.slope != 1
        np.testing.assert_array_equal(io.read_labels(tmp_path / "a.nii").data, labels.T)
    fractions = nibabel.Nifti1Image(np.linspace(0, 1, 210).reshape(5, 6, 7), OBLIQUE)
    fractions.header.set_data_dtype(np.uint8)
    fractions.to_filename(tmp_path / "b.nii")
    with pytest.raises(ReadError, match=r"fractions, not labels \(stored with a scaling factor"):
        io.read_labels(tmp_path / "b.nii")


def test_labels_say_so_by_their_intent(tmp_path: Path) -> None:
    grid = io.read_one(stored(tmp_path / "a.nii"))
    io.write(tmp_path / "b.nii", grid.labels_like(np.ones(grid.data.shape, np.uint8)))
    assert nibabel.load(tmp_path / "b.nii").header.get_intent()[0] == "label"
    assert io.read_one(tmp_path / "b.nii").kind == "labels"


def test_micrometres_stay_micrometres(tmp_path: Path) -> None:
    labels = Image(np.ones((4, 5, 6), np.uint8), "ZYX", (2.0, 0.5, 0.5), ("micrometer",) * 3, kind="labels")
    io.write(tmp_path / "a.nii.gz", labels)
    header = nibabel.load(tmp_path / "a.nii.gz").header
    assert (header.get_xyzt_units()[0], header.get_zooms()) == ("micron", (0.5, 0.5, 2.0))
    back = io.read_one(tmp_path / "a.nii.gz")
    assert (back.scale, back.units) == (labels.scale, labels.units)


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = stored(tmp_path / "a.nii", affine=np.eye(4), pixdim=[0, 1, 1, 3, 0, 0, 0, 0], bitpix=3)
    image = io.read_one(path)
    assert "is not that of its sform" in notes(image)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("step", [1e-30, 1e9])
def test_voxel_sizes_that_cannot_be_are_not_stated(tmp_path: Path, step: float) -> None:
    path = stored(tmp_path / "a.nii", affine=None, pixdim=[1, step, 1, 1, 1, 1, 1, 1])
    image = io.read_one(path)
    assert (image.scale, image.units, image.affine) == ((1.0,) * 3, ("pixel",) * 3, None)
    assert "which cannot be" in notes(image)
    np.testing.assert_array_equal(image.data, DATA.T)
    fine = io.read_one(stored(tmp_path / "b.nii", affine=None, pixdim=[1, 1e-5, 1e-5, 1e-4, 1, 1, 1, 1]))
    np.testing.assert_allclose(fine.scale, (1e-4, 1e-5, 1e-5))
