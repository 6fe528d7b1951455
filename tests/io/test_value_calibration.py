"""What ImageJ states of the values of a TIFF (``cf``, ``c0``, ``c1``, ``vunit``), with values computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_medseg import io
from napari_medseg.batch.inputs import read_input
from napari_medseg.errors import ReadError
from napari_medseg.io import plain
from napari_medseg.io.movies.reader import read_movie
from napari_medseg.io.volumes.stored import rescaled
from napari_medseg.jobs import run
from napari_medseg.measure.files import measure_files

HU = np.array([[-1000, 40], [0, 3000]])
POLYNOMIAL = {"cf": 1, "c0": 1.0, "c1": 2.0, "c2": 0.5}
SIGNED = {"cf": 0, "c0": -32768.0, "c1": 1.0, "vunit": "HU"}


def tif(path: Path, numbers: np.ndarray, stated: dict[str, Any], **options: Any) -> Path:
    """Write numbers with a description as ImageJ writes it."""
    lines = "".join(f"{key}={value}\n" for key, value in {"ImageJ": "1.54f", "unit": "mm", **stated}.items())
    tifffile.imwrite(path, numbers, description=lines, metadata=None, resolution=(2, 2), **options)
    return path


def hyperstack(path: Path, values: np.ndarray, axes: str, **options: Any) -> Path:
    """Write signed values of 16 bits as ImageJ keeps them: unsigned, the highest byte first, 32768 higher."""
    tifffile.imwrite(
        path, (values + 32768).astype(np.uint16), imagej=True, resolution=(2, 2), **options,
        metadata={"axes": axes, "unit": "mm", "spacing": 3.0, "finterval": 2.0, **SIGNED},
    )  # fmt: skip
    return path


def test_signed_numbers_of_16_bits(tmp_path: Path) -> None:
    (image,) = io.read(tif(tmp_path / "ct.tif", (HU + 32768).astype(np.uint16), SIGNED))
    np.testing.assert_array_equal(image.data, [[-1000, 40], [0, 3000]])
    assert (image.data.dtype, image.value_unit, image.kind) == (np.int16, "HU", "image")
    np.testing.assert_allclose(image.scale, (500, 500))
    assert "notes" not in image.metadata


@pytest.mark.parametrize(
    ("dtype", "c0", "c1", "numbers", "values", "found"),
    [
        (np.uint8, -10, 0.5, [0, 1, 255], [-10, -9.5, 117.5], np.float32),
        (np.uint8, 255, -1, [0, 1, 255], [255, 254, 0], np.uint8),
        (np.uint8, -128, 1, [0, 1, 255], [-128, -127, 127], np.int8),
        (np.uint16, -1024, 1, [0, 1024, 65535], [-1024, 0, 64511], np.int32),
        (np.uint16, 0, 2, [0, 1, 65535], [0, 2, 131070], np.uint32),
        (np.uint16, 32767, -1, [0, 1, 65535], [32767, 32766, -32768], np.int16),
        (np.int16, -32768, 1, [-32768, 0, 32767], [-32768, 0, 32767], np.int16),  # ImageJ adds 32768 when it opens it
        (np.int16, -16384, 0.5, [-32768, 1, 32767], [-16384, 0.5, 16383.5], np.float32),
    ],
)
def test_straight_lines(
    tmp_path: Path, dtype: Any, c0: float, c1: float, numbers: list[int], values: list[float], found: Any
) -> None:
    """A value is c0 + c1 * number; whole numbers stay whole, of the smallest type that holds all of them."""
    path = tif(tmp_path / "a.tif", np.array([numbers], dtype), {"cf": 0, "c0": c0, "c1": c1, "vunit": "a.u."})
    (image,) = io.read(path)
    np.testing.assert_array_equal(image.data, [values])
    assert (image.data.dtype, image.value_unit) == (found, "a.u.")


@pytest.mark.parametrize(
    ("stated", "unit"),
    [
        ("Gray Value", ""),
        ("gray value", ""),
        ("Inverted Gray Value", ""),
        ("OD", "OD"),
        ("\\u00B0C", "°C"),
        ("\\u00B5m", "nm"),
        ("micron", "nm"),
        ("A", "A"),
        ("nm", "nm"),
        ("\\uD83D", "\\ud83d"),  # half a letter, which no text file can hold
    ],
)
def test_units_of_values(tmp_path: Path, stated: str, unit: str) -> None:
    (image,) = io.read(tif(tmp_path / "a.tif", np.ones((2, 2), np.uint8), {**SIGNED, "c0": 1, "vunit": stated}))
    right = 2000 if unit == "nm" != stated else 2  # lengths become nanometres, as those of scans
    assert image.value_unit == unit
    np.testing.assert_array_equal(image.data, right)
    back = io.read(io.write(tmp_path / "b.tif", image))[0]
    assert back.value_unit == unit
    np.testing.assert_array_equal(back.data, right)


def test_without_a_function_the_numbers_are_the_values(tmp_path: Path) -> None:
    """ImageJ's function 20 is none; of floating numbers ImageJ takes the unit alone, of colours nothing."""
    none = tif(tmp_path / "none.tif", np.array([[7, 40000]], np.uint16), {**SIGNED, "cf": 20})
    (image,) = io.read(none)
    np.testing.assert_array_equal(image.data, [[7, 40000]])
    assert (image.data.dtype, image.value_unit, "notes" in image.metadata) == (np.uint16, "", False)
    (image,) = io.read(tif(tmp_path / "unit.tif", np.array([[7.5, -1]], np.float32), {"vunit": "nm", "c0": 5, "c1": 2}))
    np.testing.assert_array_equal(image.data, [[7.5, -1]])
    assert (image.data.dtype, image.value_unit) == (np.float32, "nm")
    heights = tif(tmp_path / "um.tif", np.array([[0.5, 2]], ">f4"), {"vunit": "um"}, byteorder=">")
    (image,) = io.read(heights)
    np.testing.assert_array_equal(image.data, [[500, 2000]])
    assert (image.data.dtype, image.value_unit) == (np.float32, "nm")
    with pytest.raises(ReadError, match="holds fractions"):
        io.read_labels(heights)
    whole = tif(tmp_path / "whole.tif", np.array([[0, 2, 7]], np.float32), {"vunit": "um"})
    np.testing.assert_array_equal(io.read_labels(whole).data, [[0, 2, 7]])
    colours = tif(tmp_path / "rgb.tif", np.full((4, 4, 3), 9, np.uint8), SIGNED, photometric="rgb")
    assert (io.read(colours)[0].data.max(), io.read(colours)[0].value_unit) == (9, "")


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        (POLYNOMIAL, "in HU that the file states is no straight line (ImageJ's function 1):"),
        ({"cf": 21}, "function 21"),
        ({"cf": "x"}, "function unknown"),
        ({"cf": 0, "c0": 1.0}, "c0, c1"),
        ({"cf": 0, "c0": "nan", "c1": 1.0}, "c0, c1"),
        ({"cf": 0, "c0": "1e999", "c1": 1.0}, "c0, c1"),
        ({"cf": 0, "c0": 3.0, "c1": 0.0}, "c0, c1"),
        ({"cf": 0, "c0": -5.0, "c1": 1.0, "zeroclip": "true"}, "zeroclip"),
    ],
)
@pytest.mark.parametrize("movie", [False, True])
def test_other_functions_are_named_and_the_numbers_kept(
    tmp_path: Path, stated: dict[str, Any], said: str, movie: bool
) -> None:
    numbers = np.arange(24, dtype=np.uint16).reshape(3, 2, 4)
    more = {"images": 3, "frames": 3} if movie else {"images": 3, "slices": 3}
    (image,) = io.read(tif(tmp_path / "a.tif", numbers, {**more, **stated, "vunit": "HU"}, photometric="minisblack"))
    assert image.axes == ("TYX" if movie else "ZYX")
    np.testing.assert_array_equal(np.asarray(image.data), numbers)
    assert (image.data.dtype, image.value_unit) == (np.uint16, "")
    (note,) = [note for note in image.metadata["notes"] if "numbers are kept as stored" in note]
    assert said in note


def test_the_note_on_a_corneal_picture_stays(tmp_path: Path) -> None:
    path = tif(tmp_path / "a_org.tif", np.ones((4, 4), np.uint8), {**SIGNED, "cf": 3})
    assert ["function 3" in note for note in io.read(path)[0].metadata["notes"]] == [False, True]


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("axes", ["ZYX", "ZCYX", "CYX", "TYX", "TCYX", "TZYX", "TZCYX"])
@pytest.mark.parametrize("lazy", [False, True])
def test_stacks_channels_and_frames(
    tmp_path: Path, axes: str, lazy: bool, compression: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of a plane and its pixel say the value: plane k holds 100 k - 1000 + 10 y + x."""
    monkeypatch.setattr(plain, "LAZY_BYTES", 0 if lazy else 2**28)
    shape = tuple({"T": 3, "Z": 4, "C": 2, "Y": 5, "X": 6}[axis] for axis in axes)
    planes = int(np.prod(shape[:-2]))
    values = 100 * np.arange(planes)[:, None, None] - 1000 + np.add.outer(10 * np.arange(5), np.arange(6))
    values = values.reshape(shape)
    (image,) = io.read(hyperstack(tmp_path / "a.tif", values, axes, compression=compression))
    assert (image.axes, image.data.dtype, image.value_unit) == (axes, np.int16, "HU")
    np.testing.assert_array_equal(np.asarray(image.data), values)
    film = "T" in axes and "Z" not in axes
    assert isinstance(image.data, np.ndarray) == (not film and not (lazy and compression is None))
    last = tuple(n - 1 for n in shape)
    assert int(np.asarray(image.data[last])) == 100 * (planes - 1) - 1000 + 45
    np.testing.assert_array_equal(np.asarray(image.data[-1]), values[-1])


def test_every_way_of_reading_gives_the_same_values(tmp_path: Path) -> None:
    values = np.arange(-60, 60).reshape(4, 5, 6) * 10
    path = hyperstack(tmp_path / "a.tif", values, "TYX")
    for image in (io.read(path)[0], io.read_one(path), io.read_channels([path]), read_movie(path), read_input(path)):
        np.testing.assert_array_equal(np.asarray(image.data), values)
        assert (image.data.dtype, image.value_unit) == (np.int16, "HU")
    both = io.read_channels([hyperstack(tmp_path / f"{name}.tif", values, "ZYX") for name in "bc"])
    np.testing.assert_array_equal(both.data, np.stack([values, values]))
    assert both.value_unit == "HU"


def test_measured_in_the_unit_of_the_values(tmp_path: Path) -> None:
    values = np.full((3, 6, 6), -1000)
    values[:, :2] = [[[40] * 6, [50] * 6]]
    labels = np.zeros((3, 6, 6), np.uint8)
    labels[:, :2] = 1
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    image = io.read_one(hyperstack(tmp_path / "images" / "ct.tif", values, "ZYX"))
    io.write(tmp_path / "labels" / "ct.tif", image.labels_like(labels))
    table = run(measure_files("volume", [tmp_path / "labels"], tmp_path / "images")).objects
    assert table["mean intensity (HU)"].tolist() == [45]
    assert table["volume (um^3)"].tolist() == pytest.approx([36 * 500 * 500 * 3000])


@pytest.mark.parametrize(
    ("c0", "c1", "numbers"),
    [
        (-32768.0, 1.0, [[0, 3], [5, 0]]),
        (-1024.0, 1.0, [[0, 3], [5, 0]]),
        (100.0, 1.0, [[0, 3], [5, 0]]),
        (-12.34, 0.017, [[0, 3], [65535, 0]]),
        (255.0, -1.0, [[0, 255], [1, 0]]),
    ],
)
def test_labels_keep_their_numbers(tmp_path: Path, c0: float, c1: float, numbers: list[list[int]]) -> None:
    stated = {"cf": 0, "c0": c0, "c1": c1, "vunit": "HU"}
    path = tif(tmp_path / "labels.tif", np.array(numbers, np.uint16), stated)
    for labels in (io.read_labels(path), io.read_one(path, "labels"), io.as_labels(io.read(path)[0])):
        np.testing.assert_array_equal(labels.data, numbers)
        assert (labels.kind, labels.value_unit, labels.data.dtype.kind) == ("labels", "", "i")
    again = io.read_labels(io.write(tmp_path / "again.tif", io.read_labels(path)))
    np.testing.assert_array_equal(again.data, numbers)


def test_labels_of_signed_numbers_are_these(tmp_path: Path) -> None:
    """A label map of signed numbers of 16 bits that went through ImageJ: its background is 0, not 32768."""
    labels = np.array([[[0, 3], [5, 0]], [[0, 0], [1, 2]]])
    path = hyperstack(tmp_path / "labels.tif", labels, "ZYX")
    np.testing.assert_array_equal(io.read_labels(path).data, labels)
    film = hyperstack(tmp_path / "film_labels.tif", labels, "TYX", compression="zlib")
    np.testing.assert_array_equal(io.read_labels(film).data, labels)


def test_written_values_are_labels_as_they_are(tmp_path: Path) -> None:
    """The calibration belongs to the file that was read, not to what is made of it."""
    image = io.read_one(tif(tmp_path / "a.tif", np.array([[1, 2], [3, 4]], np.uint8), {**SIGNED, "c0": 10}))
    np.testing.assert_array_equal(image.data, [[11, 12], [13, 14]])
    back = io.read_one(io.write(tmp_path / "b.tif", image))
    assert back.value_unit == "HU"
    np.testing.assert_array_equal(back.data, [[11, 12], [13, 14]])
    np.testing.assert_array_equal(io.as_labels(back).data, [[11, 12], [13, 14]])
    mask = io.write(tmp_path / "mask.tif", image.labels_like(np.array([[0, 1], [2, 0]])))
    np.testing.assert_array_equal(io.read_labels(mask).data, [[0, 1], [2, 0]])


def test_frames_in_a_folder_have_values_of_one_unit(tmp_path: Path) -> None:
    values = np.arange(-12, 12).reshape(2, 3, 4)
    for k, frame in enumerate(values):
        tif(tmp_path / f"a_{k}.tif", (frame + 32768).astype(np.uint16), SIGNED)
    (film,) = io.read(tmp_path)
    np.testing.assert_array_equal(np.asarray(film.data), values)
    assert (film.axes, film.data.dtype, film.value_unit) == ("TYX", np.int16, "HU")
    tif(tmp_path / "a_1.tif", (values[1] + 32768).astype(np.uint16), {**SIGNED, "vunit": "OD"})
    with pytest.raises(ReadError, match=r"a_1.tif is grey, int16 in OD, but a_0.tif is grey, int16 in HU"):
        np.asarray(io.read(tmp_path)[0].data)


def test_dark_is_bright_where_the_line_falls(tmp_path: Path) -> None:
    """Large numbers are dark in a picture with an inverted palette, and small values are."""
    numbers = np.array([[0, 10], [200, 255]], np.uint8)
    falling = tif(tmp_path / "a.tif", numbers, {"cf": 0, "c0": 255, "c1": -1, "vunit": "OD"}, photometric="miniswhite")
    (image,) = io.read(falling)
    np.testing.assert_array_equal(image.data, [[255, 245], [55, 0]])
    assert "notes" not in image.metadata


@pytest.mark.parametrize("slope", [-1, -3, 1, 2])
@pytest.mark.parametrize("intercept", [-70000, -1, 0, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.int32])
def test_whole_numbers_are_rescaled_exactly(dtype: Any, slope: int, intercept: int) -> None:
    info = np.iinfo(dtype)
    stored = np.array([info.min, info.min + 1, 0, 1, info.max], dtype)
    found = rescaled(stored, slope, intercept)
    assert found.dtype.kind in "iu"
    assert [int(value) for value in found] == [int(value) * slope + intercept for value in stored]
