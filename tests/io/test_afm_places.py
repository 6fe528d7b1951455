"""Where scans lie on the sample, how they are turned and when their frames began: by hand, in makers' layouts."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from napari_medseg import io
from napari_medseg.io.grids import on_grid
from tests.io.test_afm import write_ibw
from tests.io.test_afm_geometry import ZSENS, nanoscope, park

Y_UM, X_UM = 4.0, -7.0  # centre of the scan on the sample, y upwards
Save = Callable[[Path, float, float, float], Path]


def save_nanoscope(folder: Path, y: float, x: float, degrees: float) -> Path:
    turn = f"\\Rotate Ang.: {np.radians(degrees):.6g}"
    scan = f"\\X Offset: {1000 * x:g} nm\n\\Y Offset: {1000 * y:g} nm\n\\Lines: 8\n{turn}"
    channels = {"Height": (ZSENS, np.zeros((8, 8), "<i2"))}
    return nanoscope(folder / "a.spm", channels, "\\Scan Size: 2 2 ~m\n\\Number of lines: 8", scan)


def save_ibw(folder: Path, y: float, x: float, degrees: float) -> Path:
    note = f"FastScanSize: 2e-6\rSlowScanSize: 2e-6\rXOffset: {x}e-6\rYOffset: {y}e-6\rScanAngle: {degrees}"
    return write_ibw(folder / "a.ibw", {"HeightTrace": np.zeros((8, 8))}, note)


def save_jpk(folder: Path, y: float, x: float, degrees: float) -> Path:
    grid = [(32832, 12, 1, x * 1e-6, True), (32833, 12, 1, y * 1e-6, True), (32834, 12, 1, 2e-6, True)]
    grid += [(32835, 12, 1, 2e-6, True), (32836, 12, 1, np.radians(degrees), True)]
    grid += [(32838, 3, 1, 8, True), (32839, 3, 1, 8, True)]
    with tifffile.TiffWriter(folder / "a.jpk") as tiff:
        tiff.write(np.zeros((8, 8), np.uint8), extratags=grid, metadata=None)
        tiff.write(np.zeros((8, 8), np.int32), extratags=[(32848, 2, 0, "height", True)], metadata=None)
    return folder / "a.jpk"


def save_h5(folder: Path, y: float, x: float, degrees: float) -> Path:
    with h5py.File(folder / "a.h5-jpk", "w") as file:
        measurement = file.create_group("Measurement_000")
        grid = {"ilength": 8, "jlength": 8, "ulength": 2e-6, "vlength": 2e-6, "theta": np.radians(degrees)}
        grid |= {"xcenter": x * 1e-6, "ycenter": y * 1e-6}
        measurement.attrs.update({f"position-pattern.grid.{key}": value for key, value in grid.items()})
        measurement.attrs["timing-settings.scanRate"] = 4.0
        measurement["meta-data/start-times"] = np.array([[1000], [3250], [5500]])  # ms: a pause after each 2 s
        channel = measurement.create_group("Channel_000")
        channel.attrs.update({"channel.name": "height", "net-encoder.scaling.unit.unit": "m"})
        channel["Height"] = np.zeros((64, 3), np.int32)
    return folder / "a.h5-jpk"


def save_park(folder: Path, y: float, x: float, degrees: float) -> Path:
    path = park(folder / "a.tiff", np.zeros((8, 12), "<f4"))  # 3 x 2 um
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tag = tiff.pages[0].tags[50435]
        header = bytearray(tag.value)
        header[108:116] = struct.pack("<d", degrees)
        header[156:172] = struct.pack("<2d", x, y)
        tiff.filehandle.seek(tag.valueoffset)
        tiff.filehandle.write(bytes(header))
    return path


def save_wsxm(folder: Path, y: float, x: float, degrees: float, size: int = 600) -> Path:
    lines = (
        f"[Control]\r\n    Angle: {degrees}\r\n    X Amplitude: 2 um\r\n    X Offset: {1000 * x:g} nm\r\n"
        f"    Y Amplitude: 2 um\r\n    Y Offset: {1000 * y:g} nm\r\n[General Info]\r\n    Image Data Type: double\r\n"
        "    Number of columns: 8\r\n    Number of rows: 8\r\n    Z Amplitude: 63 nm\r\n[Header end]\r\n"
    )
    text = f"WSxM file copyright UAM\r\nSxM Image file\r\nImage header size: {size}\r\n{lines}".encode()
    (folder / "a.STP").write_bytes(text + np.arange(64.0)[::-1].astype("<f8").tobytes())
    return folder / "a.STP"


SAVES = [save_nanoscope, save_ibw, save_jpk, save_h5, save_park, save_wsxm]


@pytest.mark.parametrize("save", SAVES)
def test_a_scan_lies_around_the_centre_that_its_maker_states(save: Save, tmp_path: Path) -> None:
    image = io.read(save(tmp_path, Y_UM, X_UM, 0.0))[0]
    assert image.affine is not None
    size = np.multiply(image.spatial_shape, image.scale)[-2:]
    np.testing.assert_allclose(image.affine[-3:-1, -1], (-Y_UM - size[0] / 2, X_UM - size[1] / 2), atol=1e-6)
    np.testing.assert_allclose(size, (2, 3 if save is save_park else 2), atol=1e-6)
    centred = io.read(save(tmp_path, 0.0, 0.0, 0.0))[0]  # which is a place like any other
    assert centred.affine is not None
    np.testing.assert_allclose(centred.affine[-3:-1, -1], -size / 2, atol=1e-6)


@pytest.mark.parametrize("save", SAVES)
def test_of_a_turned_scan_it_is_said_that_its_place_is_not_shown(save: Save, tmp_path: Path) -> None:
    image = io.read(save(tmp_path, Y_UM, X_UM, 90.0))[0]
    assert image.affine is None
    assert image.metadata["notes"] == ["The scan was turned by 90 degrees on the sample; its place there is not shown."]


def test_labels_of_a_part_fall_onto_an_overview_from_another_session(tmp_path: Path) -> None:
    """A part around (1.5, -0.5) um of an overview around (1, 0): upwards and to the left of its middle."""
    (tmp_path / "part").mkdir()
    whole = io.read(save_nanoscope(tmp_path, 1.0, 0.0, 0.0))[0]
    scan = "\\X Offset: -500 nm\n\\Y Offset: 1500 nm\n\\Lines: 4"
    lines = "\\Scan Size: 1 1 ~m\n\\Number of lines: 4"
    part = io.read(nanoscope(tmp_path / "part" / "b.spm", {"Height": (ZSENS, np.zeros((4, 4), "<i2"))}, lines, scan))[0]
    expected = np.zeros((8, 8), np.uint8)
    expected[:4, :4] = 1
    labels = part.labels_like(np.ones((4, 4), np.uint8))
    np.testing.assert_array_equal(on_grid(labels, whole).data, expected)


def test_a_nanoscope_scan_that_was_stopped_has_no_place(tmp_path: Path) -> None:
    """Nobody states at which end lines are missing."""
    scan = "\\X Offset: 1 nm\n\\Y Offset: 1 nm\n\\Lines: 16"
    channels = {"Height": (ZSENS, np.zeros((8, 8), "<i2"))}
    lines = "\\Scan Size: 2 2 ~m\n\\Number of lines: 8"
    assert io.read(nanoscope(tmp_path / "a.spm", channels, lines, scan))[0].affine is None


def test_frames_of_jpk_are_as_far_apart_as_their_clock_says(tmp_path: Path) -> None:
    """8 lines at 4 a second take 2 s, and every 2.25 s a frame begins."""
    image = io.read(save_h5(tmp_path, 0.0, 0.0, 0.0))[0]
    assert (image.axes, image.scale[0], image.units[0]) == ("TYX", 2.25, "second")


def test_a_jpk_scan_that_was_stopped_holds_the_lines_that_there_are(tmp_path: Path) -> None:
    path = save_h5(tmp_path, 0.0, 0.0, 0.0)
    with h5py.File(path, "r+") as file:
        channel = file["Measurement_000/Channel_000"]
        del channel["Height"]
        channel["Height"] = np.arange(45, dtype=np.int32)[:, None]  # five lines of eight, and a part of one
    image = io.read(path)[0]
    np.testing.assert_allclose(image.data, np.arange(40).reshape(5, 8)[::-1] * 1e9)
    np.testing.assert_allclose(image.scale, (0.25, 0.25))
    assert image.metadata["notes"] == ["The scan was stopped after 5 of 8 lines."]
    assert image.affine is None


def test_a_park_scan_along_the_vertical_axis_stands_upright(tmp_path: Path) -> None:
    """What is stored as rows are columns from the right, as Gwyddion turns them (quarter turn against the clock)."""
    raw = np.arange(96.0, dtype="<f4").reshape(8, 12)
    path = park(tmp_path / "a.tiff", raw)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tag = tiff.pages[0].tags[50435]
        tiff.filehandle.seek(tag.valueoffset + 136)
        tiff.filehandle.write(struct.pack("<I", 1))
    image = io.read(path)[0]
    np.testing.assert_array_equal(image.data[:, 0], raw[0, ::-1])
    np.testing.assert_array_equal(image.data[0], raw[:, -1])
    np.testing.assert_allclose(np.multiply(image.spatial_shape, image.scale), (3, 2))


def test_asylum_channels_have_the_unit_that_their_note_states(tmp_path: Path) -> None:
    note = "FastScanSize: 2e-6\rSlowScanSize: 2e-6\rUserIn0Unit: A\rUserIn1Unit: V\rLateralUnit: N"
    names = ("HeightTrace", "UserIn0Trace", "UserIn1Retrace", "LateralTrace")
    images = io.read(write_ibw(tmp_path / "a.ibw", {name: np.full((4, 4), 1e-9) for name in names}, note))
    assert {i.channels[0]: i.value_unit for i in images} == dict(zip(names, ("nm", "A", "V", "N"), strict=True))


@pytest.mark.parametrize("size", [100, 380, 5000])
def test_wsxm_numbers_begin_where_the_header_ends(tmp_path: Path, size: int) -> None:
    image = io.read(save_wsxm(tmp_path, 0.0, 0.0, 0.0, size))[0]
    np.testing.assert_array_equal(image.data, np.arange(64.0).reshape(8, 8))
