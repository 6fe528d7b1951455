"""MetaImage, with SimpleITK as the other reader and writer."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from napari_medseg import io
from napari_medseg.errors import ReadError, WriteError
from napari_medseg.image import Image
from napari_medseg.io.volumes import reader
from napari_medseg.preprocessing.volumes import affine_of

RNG = np.random.default_rng(9)
DATA = RNG.integers(-500, 500, (7, 6, 5)).astype(np.int16)
DIRECTION = (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, -1)
HEAD = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nDimSize = 5 6 7\n"
    "ElementType = MET_SHORT\n"
)


def itk(data: np.ndarray = DATA, vector: bool = False) -> sitk.Image:
    image = sitk.GetImageFromArray(data, isVector=vector)
    image.SetSpacing((0.5, 0.7, 2.0))
    image.SetDirection(DIRECTION)
    image.SetOrigin((1.5, -2, 3))
    return image


def by_hand(path: Path, *lines: str, data: bytes = DATA.tobytes(), stored: str = "LOCAL") -> Path:
    path.write_bytes((HEAD + "".join(f"{line}\n" for line in lines) + f"ElementDataFile = {stored}\n").encode() + data)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
)
def test_what_itk_writes(tmp_path: Path, suffix: str, dtype: str, packed: bool) -> None:
    data = np.abs(DATA).astype(dtype)
    sitk.WriteImage(itk(data), str(tmp_path / f"a{suffix}"), useCompression=packed)
    image = io.read_one(tmp_path / f"a{suffix}")
    assert (image.data.dtype, image.axes) == (dtype, "ZYX")
    np.testing.assert_array_equal(image.data, data)
    np.testing.assert_allclose(image.affine, affine_of(itk()), atol=1e-12)
    assert image.units == ("millimeter",) * 3


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "uint64", "float32", "float64"])
def test_itk_reads_what_is_written(tmp_path: Path, dtype: str) -> None:
    image = Image(np.abs(DATA).astype(dtype), "ZYX", (2, 0.7, 0.5), ("millimeter",) * 3, affine_of(itk()))
    reader.write(tmp_path / "a.mha", image)
    back = sitk.ReadImage(str(tmp_path / "a.mha"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), image.data)
    np.testing.assert_allclose(affine_of(back), image.affine, atol=1e-12)


def test_components(tmp_path: Path) -> None:
    for channels, dtype, axes in ((2, np.float32, "CZYX"), (3, np.uint8, "ZYXC")):
        data = RNG.integers(0, 200, (*DATA.shape, channels)).astype(dtype)
        sitk.WriteImage(itk(data, vector=True), str(tmp_path / "a.mha"))
        image = io.read_one(tmp_path / "a.mha")
        assert image.axes == axes
        np.testing.assert_array_equal(image.channels_first(), np.moveaxis(data, -1, 0))
        reader.write(tmp_path / "b.mha", image)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "b.mha"))), data)


@pytest.mark.parametrize(
    ("unit", "name", "factor"),
    [("um", "micrometer", 1), ("mm", "millimeter", 1), ("cm", "millimeter", 10), ("?", "millimeter", 1)],
)
def test_units_of_distance(tmp_path: Path, unit: str, name: str, factor: float) -> None:
    lines = (f"DistanceUnits = {unit}", "ElementSpacing = 1 2 3", "Offset = 4 5 6")
    image = io.read_one(by_hand(tmp_path / "a.mha", *lines))
    assert (image.scale, image.units) == ((3 * factor, 2 * factor, factor), (name,) * 3)
    np.testing.assert_allclose(image.affine[:3, 3], np.array([6, 5, 4]) * factor)


@pytest.mark.parametrize("lines", list(permutations(("Offset = 1 2 3", "Origin = 4 5 6", "Position = 7 8 9"))))
@pytest.mark.parametrize("stated", [1, 2, 3])
def test_of_several_places_itks_is_taken(tmp_path: Path, lines: tuple[str, ...], stated: int) -> None:
    path = by_hand(tmp_path / "a.mha", "ElementSpacing = 1 1 1", *lines[:stated])
    image = io.read_one(path)
    assert tuple(image.affine[:3, 3][::-1]) == sitk.ReadImage(str(path)).GetOrigin()
    assert ("several places" in str(image.metadata.get("notes"))) == (stated > 1)


@pytest.mark.parametrize(
    "lines", list(permutations(("TransformMatrix = 0 1 0 1 0 0 0 0 1", "Rotation = 1 0 0 0 0 1 0 1 0")))
)
def test_of_several_directions_itks_is_taken(tmp_path: Path, lines: tuple[str, ...]) -> None:
    path = by_hand(tmp_path / "a.mha", "ElementSpacing = 1 2 3", *lines, "Orientation = -1 0 0 0 1 0 0 0 1")
    np.testing.assert_allclose(io.read_one(path).affine, affine_of(sitk.ReadImage(str(path))), atol=1e-12)


def test_micrometres_are_written_as_millimetres(tmp_path: Path) -> None:
    affine = np.diag([2, 0.5, 0.5, 1.0])
    affine[:3, 3] = (100, 200, 300)
    labels = Image(np.ones((4, 5, 6), np.uint8), "ZYX", (2, 0.5, 0.5), ("micrometer",) * 3, affine, kind="labels")
    io.write(tmp_path / "a.mha", labels)
    back = sitk.ReadImage(str(tmp_path / "a.mha"))
    np.testing.assert_allclose(back.GetSpacing(), (0.0005, 0.0005, 0.002))
    np.testing.assert_allclose(back.GetOrigin(), (0.3, 0.2, 0.1))


@pytest.mark.parametrize(
    "lines",
    [(), ("ElementSize = 1 2 3",), ("ElementSpacing: 1 2 3",), ("ElementSize = 9 9 9", "ElementSpacing = 1 2 3")],
)
def test_stated_sizes(tmp_path: Path, lines: tuple[str, ...]) -> None:
    image = io.read_one(by_hand(tmp_path / "a.mha", *lines))
    assert (image.scale, image.calibrated) == (((3, 2, 1), True) if lines else ((1, 1, 1), False))


def test_byte_order_text_and_skipped_headers(tmp_path: Path) -> None:
    big = by_hand(tmp_path / "a.mha", "ElementSpacing = 1 1 1", data=DATA.astype(">i2").tobytes())
    big.write_bytes(big.read_bytes().replace(b"MSB = False", b"MSB = True"))
    text = by_hand(tmp_path / "b.mha", data=" ".join(map(str, DATA.ravel())).encode())
    text.write_bytes(text.read_bytes().replace(b"BinaryData = True", b"BinaryData = False"))
    (tmp_path / "c.raw").write_bytes(b"my own head" + DATA.tobytes())
    skipped = by_hand(tmp_path / "c.mhd", "HeaderSize = -1", data=b"", stored="c.raw")
    for path in (big, text, skipped):
        np.testing.assert_array_equal(io.read_one(path).data, DATA)
        if path != text:  # ITK reads no text from the file itself
            np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), DATA)


def test_a_scaling_that_no_program_applies_is_said(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "a.mha", "ElementSpacing = 1 1 1", "ElementToIntensityFunctionSlope = 2")
    image = io.read_one(path)
    np.testing.assert_array_equal(image.data, sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    assert "ElementToIntensityFunctionSlope" in image.metadata["notes"][0]


def test_one_file_a_slice(tmp_path: Path) -> None:
    for k in range(7):
        (tmp_path / f"s{k:02}.raw").write_bytes(DATA[k].tobytes())
    listed = by_hand(tmp_path / "a.mhd", data="".join(f"s{k:02}.raw\n" for k in range(7)).encode(), stored="LIST")
    pattern = by_hand(tmp_path / "b.mhd", data=b"", stored="s%02d.raw 0 6 1")
    for path in (listed, pattern):
        np.testing.assert_array_equal(io.read_one(path).data, DATA)
    (tmp_path / "s03.raw").unlink()
    with pytest.raises(ReadError, match=r"a\.mhd keeps its voxels in s03\.raw, which is not there"):
        io.read(listed)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_cut_file_is_refused(tmp_path: Path, packed: bool, share: float) -> None:
    sitk.WriteImage(itk(RNG.normal(size=(20, 20, 20))), str(tmp_path / "a.mha"), useCompression=packed)
    content = (tmp_path / "a.mha").read_bytes()
    (tmp_path / "a.mha").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ReadError, match=r"a\.mha .*(cut short or damaged|names no ElementDataFile)"):
        io.read(tmp_path / "a.mha")


@pytest.mark.parametrize(
    ("line", "said"),
    [("ElementSpacing = 1 0 1", "voxel size of 0"), ("ElementSpacing = 1 1", "another number of axes"),
     ("Offset = a b c", "another number of axes"), ("TransformMatrix = 1 0 0 1 0 0 0 0 1", "do not span space")],
)  # fmt: skip
def test_a_place_that_is_none_is_refused(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ReadError, match=said):
        io.read(by_hand(tmp_path / "a.mha", line))


def test_what_the_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    affine = np.diag([3, 2, 1, 1.0])
    affine[1, 2] = 0.4
    with pytest.raises(WriteError, match="shears"):
        reader.write(tmp_path / "a.mha", Image(DATA, "ZYX", (3, 2, 1), ("millimeter",) * 3, affine))
    assert not list(tmp_path.iterdir())
    mixed = Image(DATA, "ZYX", (3, 2, 500), ("millimeter", "millimeter", "micrometer"))
    reader.write(tmp_path / "a.mha", mixed)
    np.testing.assert_allclose(sitk.ReadImage(str(tmp_path / "a.mha")).GetSpacing(), (0.5, 2, 3))


def test_a_unit_that_is_none_is_said(tmp_path: Path) -> None:
    head = "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nDistanceUnits = parsec\n"
    (tmp_path / "a.mha").write_bytes(f"{head}ElementSpacing = 5 5 5\nElementDataFile = LOCAL\n".encode() + bytes(8))
    (image,) = io.read(tmp_path / "a.mha")
    assert (image.scale, image.units[0]) == ((1.0, 1.0, 1.0), "pixel")
    assert "'parsec' is no unit of length" in image.metadata["notes"][0]
