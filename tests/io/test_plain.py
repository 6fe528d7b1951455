"""Plain pictures: what is there is read as it is; what is damaged is refused in one sentence."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from scipy import ndimage

from napari_medseg import io
from napari_medseg.errors import ReadError
from napari_medseg.io.movies import reader as movies
from napari_medseg.io.movies.reader import read_movie
from napari_medseg.io.pictures import picture_size

GRAY = np.arange(30, dtype=np.uint8).reshape(6, 5) * 8


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".npy"])
def test_gray_values_without_an_invented_pixel_size(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, GRAY)
    else:
        Pillow.fromarray(GRAY).save(path, dpi=(300, 300))
    image = io.read(path)[0]
    np.testing.assert_array_equal(image.data, GRAY)
    assert (image.axes, image.calibrated, image.name) == ("YX", False, "a")


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64, np.int16, bool])
def test_tif_keeps_dtype(tmp_path: Path, dtype: Any) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GRAY.astype(dtype))
    data = io.read(tmp_path / "a.tif")[0].data
    np.testing.assert_array_equal(data, GRAY.astype(dtype))
    assert data.dtype == dtype


def test_sixteen_bit_png(tmp_path: Path) -> None:
    Pillow.fromarray(GRAY.astype(np.uint16) * 256).save(tmp_path / "a.png")
    data = io.read(tmp_path / "a.png")[0].data
    np.testing.assert_array_equal(data, GRAY.astype(np.uint16) * 256)


def test_colour(tmp_path: Path) -> None:
    data = np.stack([GRAY + i for i in range(3)], axis=-1)
    Pillow.fromarray(data).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="rgb")
    tifffile.imwrite(tmp_path / "planar.tif", data.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    for name in ("a.png", "a.tif", "planar.tif"):
        image = io.read(tmp_path / name)[0]
        np.testing.assert_array_equal(image.data, data)
        assert (image.axes, image.channels) == ("YXC", ("red", "green", "blue"))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_transparent_is_glass(tmp_path: Path, suffix: str) -> None:
    """Half transparent is half way to white; opaque colours stay."""
    colour = np.stack([GRAY + i for i in range(3)], axis=-1)
    opacity = np.full(GRAY.shape, 255, np.uint8)
    opacity[:2], opacity[2] = 0, 51
    path = tmp_path / f"a{suffix}"
    if suffix == ".png":
        Pillow.fromarray(np.dstack([colour, opacity])).save(path)
    else:
        tifffile.imwrite(path, np.dstack([colour, opacity]), photometric="rgb", extrasamples=["unassalpha"])
    image = io.read(path)[0]
    right = colour.copy()
    right[:2] = 255
    right[2] = np.rint(colour[2] * 0.2 + 255 * 0.8)
    np.testing.assert_allclose(image.data, right, atol=1)
    assert image.channels == ("red", "green", "blue")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_opacity_that_is_nowhere_hides_no_picture(tmp_path: Path, suffix: str) -> None:
    colour = np.stack([GRAY + i for i in range(3)], axis=-1)
    clear = np.dstack([colour, np.zeros(GRAY.shape, np.uint8)])
    if suffix == ".png":
        Pillow.fromarray(clear).save(tmp_path / "a.png")
    else:
        tifffile.imwrite(tmp_path / "a.tif", clear, photometric="rgb", extrasamples=["unassalpha"])
    (image,) = io.read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(image.data, colour)
    assert "0 everywhere" in image.metadata["notes"][0]
    Pillow.fromarray(np.zeros((6, 5, 4), np.uint8)).save(tmp_path / "glass.png")
    assert (np.asarray(io.read(tmp_path / "glass.png")[0].data) == 255).all()


def test_transparent_mask_keeps_its_values_as_labels(tmp_path: Path) -> None:
    mask = (GRAY > 100).astype(np.uint8) * 255
    Pillow.fromarray(np.dstack([mask] * 4)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(io.read_one(tmp_path / "a.png", "labels").data, mask)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_palette_is_colour_as_image_and_numbers_as_labels(tmp_path: Path, suffix: str) -> None:
    labels = (GRAY % 3).astype(np.uint8)
    palette = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)
    picture = Pillow.fromarray(labels).convert("P")
    picture.putpalette(palette.ravel().tolist())
    picture.putdata(labels.ravel().tolist())
    picture.save(tmp_path / f"a{suffix}")
    image = io.read_one(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(image.data, palette[labels])
    assert "palette" in image.metadata["notes"][0]
    np.testing.assert_array_equal(io.read_one(tmp_path / f"a{suffix}", "labels").data, labels)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_other_colours_of_a_tiff_become_rgb(tmp_path: Path, mode: str) -> None:
    colour = np.full((20, 20, 3), (160, 80, 170), np.uint8)
    Pillow.fromarray(colour).convert(mode).save(tmp_path / "a.tif")
    np.testing.assert_allclose(io.read(tmp_path / "a.tif")[0].data, colour, atol=3)


def test_colours_of_many_pages_that_cannot_be_shown_are_refused(tmp_path: Path) -> None:
    inks = np.zeros((3, 8, 8, 4), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated")
    with pytest.raises(ReadError, match=r"holds colours as SEPARATED.*Save it as RGB"):
        io.read(tmp_path / "a.tif")


@pytest.mark.parametrize("number", [300_000_007, 2**31, 2**32 - 1, 2**40 + 1])
def test_labels_stored_as_floats_keep_their_numbers(tmp_path: Path, number: int) -> None:
    data = np.zeros((4, 5))
    data[1, 2], data[2, 2] = number, 300_000_000
    tifffile.imwrite(tmp_path / "a.tif", data)
    np.testing.assert_array_equal(io.read_labels(tmp_path / "a.tif").data, data.astype(np.int64))


def test_labels_that_a_float_cannot_tell_apart_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 5), 2.0**60))
    with pytest.raises(ReadError, match=r"above 2\^53"):
        io.read_labels(tmp_path / "a.tif")


def test_a_jpeg_as_labels_is_a_mask(tmp_path: Path) -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[5:19, 3:22] = 255
    Pillow.fromarray(mask).save(tmp_path / "m.jpg", quality=60)
    assert len(np.unique(io.read_one(tmp_path / "m.jpg").data)) > 2
    assert np.array_equal(io.read_one(tmp_path / "m.jpg", "labels").data, mask > 0)


@pytest.mark.parametrize("values", [(60, 120, 180), (1, 2, 3), (255, 130)])
def test_a_jpeg_of_several_labels_is_refused(tmp_path: Path, values: tuple[int, ...]) -> None:
    """A threshold would lose the objects of low numbers; blurred borders of a mask are no object."""
    labels = np.zeros((32, 64), np.uint8)
    for k, value in enumerate(values):
        labels[8:24, 20 * k + 2 : 20 * k + 18] = value
    Pillow.fromarray(labels).save(tmp_path / "m.jpg", quality=90)
    with pytest.raises(ReadError, match="areas of several grays"):
        io.read_labels(tmp_path / "m.jpg")
    soft = ndimage.gaussian_filter(np.where(labels > 0, 255.0, 0.0), 2).astype(np.uint8)
    Pillow.fromarray(soft).save(tmp_path / "s.jpg", quality=90)
    np.testing.assert_array_equal(io.read_labels(tmp_path / "s.jpg").data[10:22], labels[10:22] > 0)


def test_one_bit_and_gray_with_alpha(tmp_path: Path) -> None:
    Pillow.fromarray(GRAY > 100).save(tmp_path / "bit.png")
    np.testing.assert_array_equal(io.read(tmp_path / "bit.png")[0].data, np.where(GRAY > 100, 255, 0))
    opacity = np.where(GRAY > 100, 255, 0).astype(np.uint8)
    Pillow.fromarray(np.stack([GRAY, opacity], -1), "LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(io.read(tmp_path / "la.png")[0].data, np.where(GRAY > 100, GRAY, 255))


def test_nan_and_inf_are_read_as_they_are(tmp_path: Path) -> None:
    data = np.full((4, 4), np.nan, np.float32)
    data[0, 0] = np.inf
    tifffile.imwrite(tmp_path / "a.tif", data)
    np.save(tmp_path / "a.npy", data)
    for suffix in (".tif", ".npy"):
        np.testing.assert_array_equal(io.read(tmp_path / f"a{suffix}")[0].data, data)


@pytest.mark.parametrize(
    ("shape", "axes", "kept"),
    [
        ((3, 6, 5), "ZYX", (3, 6, 5)),
        ((1, 6, 5), "YX", (6, 5)),
        ((6, 5, 4), "ZYX", (6, 5, 4)),
        ((2, 3, 6, 5), "TZYX", (2, 3, 6, 5)),
    ],
)
def test_axes_of_arrays_without_names(tmp_path: Path, shape: tuple[int, ...], axes: str, kept: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape))
    image = io.read(tmp_path / "a.npy")[0]
    assert (image.axes, image.data.shape) == (axes, kept)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "bool"])
@pytest.mark.parametrize("shape", [(7, 6, 3), (7, 6, 4), (5, 7, 6, 3)])
def test_a_last_axis_of_three_is_colour_in_bytes_alone_and_said(
    tmp_path: Path, shape: tuple[int, ...], dtype: str
) -> None:
    data = (np.arange(np.prod(shape)).reshape(shape) % 2).astype(dtype)
    np.save(tmp_path / "a.npy", data)
    image = io.read(tmp_path / "a.npy")[0]
    assert image.axes == ("TZYX"[-len(shape) + 1 :] + "C" if dtype == "uint8" else "TZYX"[-len(shape) :])
    np.testing.assert_array_equal(image.data, data)
    assert ("taken as colours" if dtype == "uint8" else "taken as width") in image.metadata["notes"][0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_photographs_are_upright_as_their_orientation_says(tmp_path: Path, suffix: str, orientation: int) -> None:
    from PIL import ImageOps

    data = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, np.ones((16, 16), np.uint8))
    path = tmp_path / f"photo{suffix}"
    picture = Pillow.fromarray(np.stack([data, data, 255 - data], -1))
    exif = picture.getexif()
    exif[274] = orientation
    picture.save(path, exif=exif)
    with Pillow.open(path) as stored:
        wanted = np.asarray(ImageOps.exif_transpose(stored))
    (image,) = io.read(path)
    np.testing.assert_array_equal(image.data, wanted)
    assert picture_size(path) == wanted.shape[:2]
    notes = " ".join(image.metadata.get("notes", ()))
    assert ("shown upright, as its orientation tag says" in notes) == (orientation != 1)


def test_one_stated_side_means_square_pixels_and_is_said(tmp_path: Path) -> None:
    metadata = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "um"}
    tifffile.imwrite(tmp_path / "a.ome.tif", GRAY, metadata=metadata)
    (image,) = io.read(tmp_path / "a.ome.tif")
    assert (image.scale, image.units) == ((0.5, 0.5), ("micrometer", "micrometer"))
    assert "along one side only" in image.metadata["notes"][0]


def test_a_turned_tiff_keeps_each_axis_step_and_damaged_tags_turn_nothing(tmp_path: Path) -> None:
    data = np.arange(12, dtype=np.uint8).reshape(3, 4)
    extra = [(274, "H", 1, 6, True)]
    tifffile.imwrite(
        tmp_path / "a.tif", data, resolution=(10_000 / 0.5, 10_000 / 0.25), resolutionunit="CENTIMETER", extratags=extra
    )
    (image,) = io.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, np.rot90(data, -1))
    assert image.scale == pytest.approx((0.5, 0.25))
    tifffile.imwrite(tmp_path / "b.tif", data, extratags=[(274, "H", 1, 77, True)])
    np.testing.assert_array_equal(io.read(tmp_path / "b.tif")[0].data, data)


@pytest.mark.parametrize("unit", ["um", "\\u00B5m", "\\u03bcm", "micron", "nm", "mm", "\\u00C5"])
def test_imagej_pixel_size(tmp_path: Path, unit: str) -> None:
    um = {"nm": 1e-3, "mm": 1e3, "\\u00C5": 1e-4}.get(unit, 1.0)
    tifffile.imwrite(tmp_path / "a.tif", GRAY, imagej=True, resolution=(4, 2), metadata={"unit": unit})
    image = io.read(tmp_path / "a.tif")[0]
    np.testing.assert_allclose(image.scale, (0.5 * um, 0.25 * um))
    assert image.units == ("micrometer", "micrometer")


@pytest.mark.parametrize(
    ("stated", "right", "unit"),
    [
        ({"c0": "-32768", "c1": "1", "vunit": "Gray Value"}, (-100, 499), ""),
        ({"c0": "-1000", "c1": "2.5", "vunit": "HU"}, (-1000 + 2.5 * 32668, -1000 + 2.5 * 33267), "HU"),
        ({"c0": "0", "c1": "0.001", "vunit": "um"}, (32668, 33267), "nm"),
    ],
)
def test_imagej_values_are_as_it_shows_them(
    tmp_path: Path, stated: dict[str, str], right: tuple[float, float], unit: str
) -> None:
    """ImageJ's calibration function 0 is a straight line: c0 + c1 * stored; signed numbers are stored by it."""
    stored = (np.arange(600).reshape(20, 30) + 32768 - 100).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stored, imagej=True, metadata={"cf": 0, **stated})
    (image,) = io.read(tmp_path / "a.tif")
    np.testing.assert_allclose((image.data.min(), image.data.max()), right, rtol=1e-6)
    assert image.value_unit == unit


def test_labels_and_curved_calibrations_of_imagej_keep_their_numbers(tmp_path: Path) -> None:
    mask = np.zeros((8, 9), np.uint8)
    mask[2:5, 2:5] = 255
    tifffile.imwrite(tmp_path / "a.tif", mask, imagej=True, metadata={"cf": 0, "c0": "-1000", "c1": "2.5"})
    np.testing.assert_array_equal(io.read_labels(tmp_path / "a.tif").data, mask)
    tifffile.imwrite(tmp_path / "b.tif", mask, imagej=True, metadata={"cf": 21, "vunit": "Uncalibrated OD"})
    (image,) = io.read(tmp_path / "b.tif")
    np.testing.assert_array_equal(image.data, mask)
    assert "Uncalibrated OD" in image.metadata["notes"][0]


@pytest.mark.parametrize("packed", [None, "zlib"])
def test_planes_written_one_by_one_are_a_stack(tmp_path: Path, packed: str | None) -> None:
    """Pillow and ImageJ count five pages of the file too."""
    planes = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for plane in planes:
            file.write(plane, compression=packed)
    (image,) = io.read(tmp_path / "a.tif")
    assert image.axes == "ZYX"
    np.testing.assert_array_equal(image.data, planes)
    film = read_movie(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.asarray(film.data), planes)


def test_four_columns_are_no_colours(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 30, 4), np.uint8), photometric="minisblack")
    assert io.read(tmp_path / "a.tif")[0].axes == "ZYX"


def test_ome_pixel_size(tmp_path: Path) -> None:
    meta = {"axes": "ZYX", "PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((3, 6, 5), np.uint8), metadata=meta)
    image = io.read(tmp_path / "a.ome.tif")[0]
    np.testing.assert_allclose(image.scale, (2.0, 0.5, 0.25))


@pytest.mark.parametrize(("unit", "per_unit"), [("CENTIMETER", 40_000), ("INCH", 101_600)])
def test_resolution_tags(tmp_path: Path, unit: str, per_unit: int) -> None:
    """TIFF 6.0: pixels per ResolutionUnit; OpenSlide and Bio-Formats read them so."""
    options: Any = {"resolution": (per_unit, per_unit / 2), "resolutionunit": unit, "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", GRAY, **options)
    image = io.read(tmp_path / "a.tif")[0]
    np.testing.assert_allclose(image.scale, (0.5, 0.25))
    assert image.units == ("micrometer", "micrometer")


@pytest.mark.parametrize(
    ("unit", "per_unit"),
    [("INCH", 72), ("INCH", 96), ("INCH", 1), ("CENTIMETER", 1), ("CENTIMETER", 28), ("CENTIMETER", 38), ("NONE", 4)],
)
def test_resolutions_of_screens_are_no_pixel_size(tmp_path: Path, unit: str, per_unit: int) -> None:
    options: Any = {"resolution": (per_unit, per_unit), "resolutionunit": unit, "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", GRAY, **options)
    assert not io.read(tmp_path / "a.tif")[0].calibrated


def test_imagej_axes_have_their_own_units(tmp_path: Path) -> None:
    stack = np.zeros((4, 3, 6, 5), np.uint8)
    meta = {"axes": "TZYX", "unit": "micron", "zunit": "nm", "spacing": 300.0, "finterval": 2.0, "tunit": "min"}
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, resolution=(2, 4), metadata=meta)
    image = io.read(tmp_path / "a.tif")[0]
    assert image.axes == "TZYX"
    np.testing.assert_allclose(image.scale, (120, 0.3, 0.25, 0.5))
    assert image.units == ("second", *("micrometer",) * 3)


def test_every_series_of_an_ome_tiff_is_an_image(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        for n, step in ((6, 0.5), (4, 2.0)):
            meta = {"axes": "YX", "PhysicalSizeX": step, "PhysicalSizeY": step, "Name": f"field {n}"}
            file.write(np.full((n, n), n, np.uint8), metadata=meta)
    images = io.read(tmp_path / "a.ome.tif")
    assert [(image.spatial_shape, image.scale[0]) for image in images] == [((6, 6), 0.5), ((4, 4), 2.0)]
    assert images[1].name.endswith("field 4")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".jpg", ".npy"])
@pytest.mark.parametrize("content", [b"", b"\0", b"no picture at all, just words " * 30])
def test_wrong_suffix_and_empty(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(ReadError, match=r"a\."):
        io.read(path)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".jpg", ".npy"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_truncated(tmp_path: Path, suffix: str, part: float, caplog: pytest.LogCaptureFixture) -> None:
    path, data = tmp_path / f"a{suffix}", np.random.default_rng(0).integers(0, 255, (200, 200)).astype(np.uint8)
    np.save(path, data) if suffix == ".npy" else Pillow.fromarray(data).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(ReadError, match=r"damaged|cut short"):
        io.read(path)
    assert not caplog.records  # one message, no library chatter beside it


@pytest.mark.parametrize(
    "data", [np.zeros((0, 4)), np.zeros(5), np.zeros(()), np.array([["a", "b"]]), np.zeros((2,) * 6)]
)
def test_zero_size_and_other_non_images(tmp_path: Path, data: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", data)
    with pytest.raises(ReadError, match=r"a\.npy"):
        io.read(tmp_path / "a.npy")


def test_pickled_array_is_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[print, 1]], dtype=object), allow_pickle=True)
    with pytest.raises(ReadError, match=r"a\.npy"):
        io.read(tmp_path / "a.npy")


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a part of a PNG: length, name, data and checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png_declaring(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def _write_huge(path: Path) -> None:
    if path.suffix == ".png":
        path.write_bytes(_png_declaring(100_000, 100_000))
    elif path.suffix == ".npy":
        with path.open("wb") as file:
            header = {"descr": "<f8", "fortran_order": False, "shape": (100_000, 100_000)}
            np.lib.format.write_array_header_1_0(file, header)
    else:
        tifffile.imwrite(path, np.zeros((8, 8), np.uint8), metadata=None)
        with tifffile.TiffFile(path, mode="r+") as tiff:
            tiff.pages[0].tags["ImageWidth"].overwrite(100_000)
            tiff.pages[0].tags["ImageLength"].overwrite(100_000)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_huge_declared_size_is_refused_without_memory(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    _write_huge(path)
    tracemalloc.start()
    with pytest.raises(ReadError, match=r"a\."):
        io.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


def test_compressions_that_need_another_package_are_left_to_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    colour = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    Pillow.fromarray(colour).save(tmp_path / "a.tif", compression="tiff_lzw")
    Pillow.fromarray(colour).save(
        tmp_path / "b.tif", compression="tiff_lzw", save_all=True, append_images=[Pillow.fromarray(colour)]
    )

    def absent(*_: Any, **__: Any) -> None:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", absent)
    np.testing.assert_array_equal(io.read(tmp_path / "a.tif")[0].data, colour)
    with pytest.raises(ReadError, match=r"compressed by LZW.*pip install imagecodecs"):
        io.read(tmp_path / "b.tif")


@pytest.mark.parametrize("imagej", [True, False])
@pytest.mark.parametrize("axes", ["TYX", "ZYX"])
def test_a_stack_that_was_cut_anywhere_is_refused_or_whole(tmp_path: Path, imagej: bool, axes: str) -> None:
    """Its directories lie behind the pixels, one after the other; a cut between two leaves fewer planes."""
    data = np.arange(4 * 6 * 5, dtype=np.uint8).reshape(4, 6, 5)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, imagej=imagej, metadata={"axes": axes}, photometric="minisblack")
    content, whole = path.read_bytes(), 0
    for length in range(1, len(content)):
        path.write_bytes(content[:length])
        try:
            found = io.read(path)[0]
        except ReadError:
            continue
        whole += 1
        np.testing.assert_array_equal(np.asarray(found.data), data)
    assert 0 < whole < len(content) - data.nbytes


def write_png16(path: Path, samples: np.ndarray, kind: int) -> Path:
    """Write a PNG of 16 bits: gray (0), RGB (2), gray with opacity (4) or RGBA (6), which Pillow does not write."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)

    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


@pytest.mark.parametrize(("bits", "read"), [(8, False), (10, False), (12, False), (14, False), (16, True)])
def test_colours_of_a_camera_of_few_bits_in_a_png_of_sixteen_are_refused(tmp_path: Path, bits: int, read: bool) -> None:
    """Pillow keeps the upper 8 bits, in which such a camera has left little or nothing: pictures were nearly black."""
    colours = (np.random.default_rng(0).random((6, 8, 3)) * (2**bits - 1)).astype(np.uint16)
    path = write_png16(tmp_path / "a.png", colours, 2)
    if read:
        np.testing.assert_array_equal(io.read_one(path).data, colours >> 8)
        return
    with pytest.raises(ReadError, match=r"a.png has 16 bits for each colour and uses the lower ones only.*as .tif"):
        io.read(path)


@pytest.mark.parametrize(("kind", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_labels_of_sixteen_bits_are_whole_or_refused(tmp_path: Path, kind: int, channels: int) -> None:
    """Of the numbers 3 and 700 beside opacity or in colours the upper 8 bits would be 0 and 2."""
    labels = np.zeros((6, 8), np.uint16)
    labels[1:3, 2:5], labels[4:, 5:] = 3, 700
    samples = np.dstack([labels] * channels)
    if kind in (4, 6):
        samples[..., -1] = 65535
    path = write_png16(tmp_path / "a_labels.png", samples, kind)
    if kind == 0:
        np.testing.assert_array_equal(io.read_one(path, "labels").data, labels)
        return
    with pytest.raises(ReadError, match=r"16 bits.*Save it as gray without opacity"):
        io.read_one(path, "labels")
    (tmp_path / "annotation" / "nerve").mkdir(parents=True)
    (tmp_path / "order").mkdir()
    for k in range(2):
        write_png16(tmp_path / "order" / f"f_{k}.png", labels[..., None], 0)
        write_png16(tmp_path / "annotation" / "nerve" / f"f_{k}.png", samples, kind)
    with pytest.raises(ReadError, match="16 bits"):
        np.asarray(movies.read(tmp_path)[1].data)


def test_colours_of_sixteen_bits_say_that_eight_are_read(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 65535, (6, 8, 3)).astype(np.uint16)
    image = io.read_one(write_png16(tmp_path / "a.png", colours, 2))
    np.testing.assert_array_equal(image.data, colours >> 8)
    assert any("8 are read" in note for note in image.metadata["notes"])


@pytest.mark.parametrize("clear", [None, 1])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_labels_of_few_bits_keep_their_numbers(tmp_path: Path, bits: int, clear: int | None) -> None:
    """Each row is packed by hand; shown, the highest number is 255 and what is transparent is white."""
    labels = np.arange(6 * 8).reshape(6, 8) % 2**bits
    rows = b"".join(b"\0" + int("".join(f"{n:0{bits}b}" for n in row), 2).to_bytes(bits, "big") for row in labels)

    parts = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 6, bits, 0, 0, 0, 0))
    parts += b"" if clear is None else chunk(b"tRNS", struct.pack(">H", clear))
    parts += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    np.testing.assert_array_equal(io.read_one(tmp_path / "a.png", "labels").data, labels)
    right = np.where(labels == (-1 if clear is None else clear), 255, labels * 255 // (2**bits - 1))
    np.testing.assert_array_equal(io.read_one(tmp_path / "a.png").data, right)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("grays", [[0, 128, 255], [255, 0, 77], [0, 1, 2]])
def test_a_palette_of_grays_is_shown_and_its_numbers_are_labels(tmp_path: Path, suffix: str, grays: list[int]) -> None:
    """Programs that make files small number grays in any order; Pillow shows the same."""
    labels = (GRAY % 3).astype(np.uint8)
    picture = Pillow.fromarray(labels).convert("P")
    picture.putpalette(np.repeat(np.array(grays, np.uint8), 3).tolist())
    picture.putdata(labels.ravel().tolist())
    picture.save(tmp_path / f"a{suffix}")
    with Pillow.open(tmp_path / f"a{suffix}") as saved:
        wanted = np.asarray(saved.convert("L"))
    image = io.read_one(tmp_path / f"a{suffix}")
    assert image.axes == "YX"
    np.testing.assert_array_equal(image.data, wanted)
    np.testing.assert_array_equal(wanted, np.array(grays, np.uint8)[labels])
    np.testing.assert_array_equal(io.read_one(tmp_path / f"a{suffix}", "labels").data, labels)
    assert bool(image.metadata.get("notes")) == (grays != [0, 1, 2])


@pytest.mark.parametrize(("suffix", "format"), [(".png", "PNG"), (".jpg", "MPO")])
def test_of_several_pictures_in_a_file_the_first_is_read_and_that_is_said(
    tmp_path: Path, suffix: str, format: str
) -> None:
    first, *others = (Pillow.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (10, 200, 90))
    first.save(tmp_path / f"a{suffix}", format=format, save_all=True, append_images=others)
    image = io.read(tmp_path / f"a{suffix}")[0]
    assert abs(int(np.max(image.data)) - 10) <= 2
    assert image.metadata["notes"] == ["The file holds 3 pictures, of which the first is read."]


def test_a_palette_of_bytes_in_a_tiff_is_shown_in_its_colours(tmp_path: Path) -> None:
    """Palettes have 16 bits; where no value is above 255 they hold bytes, as libtiff's tools take them."""
    palette = np.zeros((3, 256), np.uint16)
    palette[:, 1] = 160, 80, 170
    tifffile.imwrite(tmp_path / "a.tif", np.ones((6, 8), np.uint8), photometric="palette", colormap=palette)
    assert np.asarray(io.read(tmp_path / "a.tif")[0].data)[3, 3].tolist() == [160, 80, 170]


def test_the_first_of_several_pictures_of_a_file_says_so(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        for shape in ((6, 8), (60, 80)):
            file.write(np.zeros(shape, np.uint8), metadata={"axes": "YX"})
    first, second = io.read(tmp_path / "a.ome.tif")
    assert "2 pictures" in first.metadata["notes"][0]
    assert "notes" not in second.metadata


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("planes", [1, 3])
def test_a_picture_behind_its_small_copy_is_read_in_full(tmp_path: Path, planes: int, marked: bool) -> None:
    """Whatever the order in the file, its largest picture is meant; outlines of it and frames count its pixels too."""
    full = np.random.default_rng(0).integers(0, 255, (planes, 60, 80), dtype=np.uint8)
    step = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(full[0, ::4, ::4], subfiletype=int(marked), metadata=None, resolution=(5_000, 5_000))
        for plane in full:
            file.write(plane, **step)  # type: ignore[arg-type]
    (image,) = io.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, full.squeeze())
    assert image.scale[-2:] == (0.5, 0.5)
    assert "smaller copy" in image.metadata["notes"][0]
    assert "80 x 60" in image.metadata["notes"][0]
    (tmp_path / "a.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    assert io.read_one(tmp_path / "a.geojson").spatial_shape == (60, 80)


def test_a_picture_of_other_proportions_or_a_stack_is_no_small_copy(tmp_path: Path) -> None:
    stack = np.arange(3 * 6 * 8, dtype=np.uint8).reshape(3, 6, 8)
    for name, first, other in (("a.tif", stack[0], (60, 60)), ("b.tif", stack, (60, 80))):
        with tifffile.TiffWriter(tmp_path / name) as file:
            file.write(first, metadata=None, photometric="minisblack")
            file.write(np.zeros(other, np.uint8), metadata=None)
        (image,) = io.read(tmp_path / name)
        np.testing.assert_array_equal(image.data, first)
        assert "1 further picture" in image.metadata["notes"][0]


@pytest.mark.parametrize(("suffix", "turn"), [(".png", 3), (".jpg", 6), (".tif", 2)])
def test_labels_of_a_turned_picture_must_be_turned_too_or_be_written_here(
    tmp_path: Path, suffix: str, turn: int
) -> None:
    """Nothing says whether labels without the tag were drawn on the upright picture or on the pixels as stored."""

    def turned(name: str, pixels: np.ndarray) -> Path:
        exif = Pillow.Exif()
        exif[274] = turn
        Pillow.fromarray(pixels).save(tmp_path / name, exif=exif)
        return tmp_path / name

    picture, mask = turned(f"a{suffix}", np.dstack([GRAY] * 3)), (GRAY > 100).astype(np.uint8)
    Pillow.fromarray(mask).save(tmp_path / "flat.png")
    with pytest.raises(ReadError, match=rf"a\{suffix} is shown upright as its orientation tag \({turn}\)"):
        io.read_case([picture], tmp_path / "flat.png")
    image, labels = io.read_case([picture], turned("turned.png", mask))
    np.testing.assert_array_equal(labels.data, io.read(tmp_path / "turned.png")[0].data)
    written = io.write(tmp_path / "ours.png", image.labels_like(np.asarray(labels.data)))
    np.testing.assert_array_equal(io.read_case([picture], written)[1].data, labels.data)


@pytest.mark.parametrize("pages", [2, 3, 12])
def test_pages_that_nothing_tells_of_are_said_to_be_taken_as_slices(tmp_path: Path, pages: int) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((pages, 20, 30), np.uint8), photometric="minisblack")
    image = io.read_one(tmp_path / "stack.tif")
    assert image.axes == "ZYX"
    assert any(f"its {pages} pages" in note for note in image.metadata["notes"])
    tifffile.imwrite(tmp_path / "told.tif", np.zeros((pages, 20, 30), np.uint8), imagej=True, metadata={"axes": "ZYX"})
    assert not any("pages" in note for note in io.read_one(tmp_path / "told.tif").metadata.get("notes", []))
