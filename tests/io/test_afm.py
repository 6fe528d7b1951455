"""Vendor files written here byte by byte read back with their heights and pixel sizes; real ones with known values."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gwyfile.objects as gwy
import numpy as np
import pytest
import tifffile

from napari_medseg import io
from napari_medseg.errors import ReadError
from napari_medseg.io.afm import reader as afm
from napari_medseg.io.afm import scan as _scan

HEIGHT_NM = np.linspace(-200, 300, 6 * 4).reshape(6, 4)  # 6 rows, 4 columns: not square


def write_nanoscope(path: Path, images: dict[str, tuple[str, np.ndarray]], n_bytes: int = 2, cut: int = 0) -> Path:
    """Images: shown name -> (soft scale with direction, heights in nm); h = 20 V, sensitivity 50 nm/V."""
    lsb = 20.0 / 256**n_bytes * 50.0
    offset, blocks, body = 2048, "", b""
    for name, (direction, heights) in images.items():
        raw = np.round(heights[::-1] / lsb).astype(f"<i{n_bytes}").tobytes()
        rows, columns = heights.shape
        blocks += (
            f"\\*Ciao image list\r\n\\Data offset: {offset + len(body)}\r\n\\Data length: {len(raw)}\r\n"
            f"\\Bytes/pixel: {n_bytes}\r\n\\Samps/line: {columns}\r\n\\Number of lines: {rows}\r\n"
            f"\\Scan Size: 2 3 ~m\r\n\\Line Direction: {direction}\r\n"
            f'\\@2:Image Data: S [{name}] "{name}"\r\n\\@2:Z scale: V [Sens. Zsens] (0.0001 V/LSB) 20.00000 V\r\n'
        )
        body += raw
    header = (
        "\\*File list\r\n\\Version: 0x09300201\r\n\\*Scanner list\r\n\\@Sens. Zsens: V 50.00000 nm/V\r\n"
        f"\\*Ciao scan list\r\n\\Scan Size: 2 ~m\r\n{blocks}\\*File list end\r\n"
    )
    content = header.encode("latin-1").ljust(offset, b"\0") + body
    path.write_bytes(content[: len(content) - cut])
    return path


def write_jpk(path: Path) -> Path:
    """A thumbnail and two channels; the default slot of the second is its last one (factor 1e-10 m, offset 1e-6 m)."""
    grid = [(32834, 12, 1, 2e-6, True), (32835, 12, 1, 3e-6, True), (32838, 3, 1, 4, True), (32839, 3, 1, 6, True)]
    raw = np.round(HEIGHT_NM * 1e-9 / 1e-10).astype(np.int32)[::-1]
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(np.zeros((6, 4), np.uint8), extratags=grid, metadata=None)
        for name, retrace in (("vDeflection", 0), ("height", 0), ("height", 1)):
            slots: list[tuple[Any, ...]] = [
                (32848, 2, 0, name, True),
                (32849, 3, 1, retrace, True),
                (32896, 3, 1, 2, True),
            ]
            slots += [(32897, 2, 0, "calibrated", True), (32912, 2, 0, "raw", True), (32931, 2, 0, "NullScaling", True)]
            slots += [(32960, 2, 0, "calibrated", True), (32978, 2, 0, "m" if name == "height" else "V", True)]
            slots += [(32979, 2, 0, "LinearScaling", True), (32980, 12, 1, 1e-10, True), (32981, 12, 1, 1e-6, True)]
            tiff.write(raw, extratags=slots, metadata=None)
    return path


def write_ibw(
    path: Path,
    channels: dict[str, np.ndarray],
    note: str,
    units: bytes = b"",
    steps: tuple[float, float] = (5e-7, 5e-7),
    dimensions: tuple[bytes, bytes] = (b"m", b"m"),
) -> Path:
    """Version 5 wave (x, y, channel), float32, heights in metres, rows bottom first."""
    cube = np.stack([np.asarray(c)[::-1].T for c in channels.values()], axis=2).astype("<f4")
    data = cube.tobytes(order="F")
    labels = b"".join(n.encode().ljust(32, b"\0") for n in ("", *channels))
    sizes = struct.pack("<h8l", 0, 320 + len(data), 0, len(note), 0, 0, 0, 0, 0) + struct.pack(
        "<4l", 0, 0, len(labels), 0
    )
    bin_header = struct.pack("<h", 5) + sizes + struct.pack("<3l", 0, 0, 0)
    wave = struct.pack("<LLLl", 0, 0, 0, cube.size) + struct.pack("<hh6sh", 2, 0, b"", 5) + b"scan".ljust(32, b"\0")
    wave += struct.pack("<ll", 0, 0) + struct.pack("<4l", *cube.shape, 0) + struct.pack("<8d", *steps, 1, 1, 0, 0, 0, 0)
    wave += units.ljust(4, b"\0") + b"".join(unit.ljust(4, b"\0") for unit in dimensions) + bytes(8)
    wave = wave.ljust(320, b"\0")
    header = bytearray(bin_header + wave)
    checksum = -sum(struct.unpack("<192h", bytes(header[:384]))) & 0xFFFF
    header[2:4] = struct.pack("<H", checksum)
    path.write_bytes(bytes(header) + data + note.encode() + labels)
    return path


def write_asd(path: Path, frames: np.ndarray, version: int = 1, code: int = 0x20000, second: bytes = b"ER") -> Path:
    """Channels TP and `second`, converter `code` (bipolar, 2.5 V), piezo 10 nm/V, gain 2, sensitivities 5 and 3."""
    n, rows, columns = frames.shape
    name, comment = b"Ann", b"fine"
    if version == 0:
        head = b"TP" + second + struct.pack("<2i", 0, 32) + struct.pack("<3i", len(name), 2, len(comment))
        head += struct.pack("<4h3f", columns, rows, 40, 60, 250.0, 10.0, 2.0) + struct.pack("<Ii", code, 12)
        head += b"\0" + struct.pack("<i2h6B", 0, 0, 2020, 1, 2, 3, 4, 5, 0) + struct.pack("<2f3i", 1, 1, 0, 0, 0)
        head += struct.pack("<3ih", n, n, 0, 0) + name + struct.pack("<2fi", 5.0, 3.0, 0) + b"??" + comment
    else:
        head = struct.pack("<5i", 0, 32, 932, len(name), len(comment)) + b"T\0P\0" + bytes((second[0], 0, second[1], 0))
        head += (
            struct.pack("<4i", n, n, 0, 0) + struct.pack("<4i", columns, rows, 40, 60) + b"\0" + struct.pack("<i", 0)
        )
        head += struct.pack("<6i", *[1] * 6) + struct.pack("<2i", 0, 0) + struct.pack("<3f", 250.0, 5.0, 3.0)
        head += struct.pack("<i", 0) + bytes(12) + struct.pack("<iIi", 0, code, 12) + struct.pack("<2f", 1, 1)
        head += struct.pack("<4f", 1, 1, 10.0, 2.0) + name + comment
    if version == 2:
        head += struct.pack("<iid2i3i", n, 0, 0.0, 9, 1, 1, 2, 0) + bytes(8 * 3)
    body = b""
    for k in range(2):
        for frame in frames:
            body += bytes(32) + (frame + k).astype("<i2").tobytes()
    path.write_bytes(struct.pack("<i", version) + head + body)
    return path


def check(image: Any, tolerance: float, name: str) -> None:
    assert image.axes == "YX"
    assert image.data.dtype == np.float32
    np.testing.assert_allclose(image.data, HEIGHT_NM, atol=tolerance)
    np.testing.assert_allclose(image.scale, (0.5, 0.5), rtol=1e-6)  # 3 um / 6 rows, 2 um / 4 columns
    assert image.units == ("micrometer", "micrometer")
    assert (image.value_unit, image.channels) == ("nm", (name,))


@pytest.mark.parametrize(("suffix", "n_bytes"), [(".000", 2), (".123", 4), (".spm", 2), (".SPM", 4)])
def test_nanoscope_heights_and_size_round_trip(tmp_path: Path, suffix: str, n_bytes: int) -> None:
    images = {"Phase": ("Trace", HEIGHT_NM), "Height": ("Retrace", HEIGHT_NM), "Height Sensor": ("Trace", HEIGHT_NM)}
    path = write_nanoscope(tmp_path / f"scan{suffix}", images, n_bytes)
    read = io.read(path)
    check(read[0], 0.01, "Height Sensor")
    assert [i.channels[0] for i in read[1:]] == ["Height_retrace", "Phase"]
    assert read[0].name == "scan"


def test_numbered_file_is_taken_only_with_a_nanoscope_header(tmp_path: Path) -> None:
    other = tmp_path / "IM.001"
    other.write_bytes(b"\0" * 128 + b"DICM")
    assert not afm.matches(other)
    assert afm.matches(write_nanoscope(tmp_path / "a.001", {"Height": ("Trace", HEIGHT_NM)}))


def test_truncated_nanoscope_says_so(tmp_path: Path) -> None:
    path = write_nanoscope(tmp_path / "scan.000", {"Height": ("Trace", HEIGHT_NM)}, cut=10)
    with pytest.raises(ReadError, match="cut short"):
        io.read(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ReadError, match="header is missing or cut short"):
        io.read(path)


def test_nanoscope_without_images_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "curve.spm"
    path.write_bytes(b"\\*Force file list\r\n\\Version: 0x1\r\n\\*Ciao force image list\r\n\\*File list end\r\n")
    with pytest.raises(ReadError, match="no Nanoscope image"):
        io.read(path)


def test_jpk_uses_the_default_slot_and_flips(tmp_path: Path) -> None:
    read = io.read(write_jpk(tmp_path / "scan.jpk"))
    first, back, deflection = read
    check(first.replace(data=first.data - 1000), 0.1, "height_trace")
    assert (back.channels, deflection.channels) == (("height_retrace",), ("vDeflection_trace",))
    assert deflection.value_unit == "V"


def test_jpk_suffix_on_another_tiff_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), np.uint8))
    path = (tmp_path / "a.tif").rename(tmp_path / "a.jpk")
    with pytest.raises(ReadError, match="without JPK's tags"):
        io.read(path)


@pytest.mark.parametrize(("unit", "factor"), [("m", 1e-9), ("nm", 1.0), ("µm", 1e-3), ("um", 1e-3), ("pm", 1e3)])
def test_gwy_non_square_and_every_length_unit(tmp_path: Path, unit: str, factor: float) -> None:
    container = gwy.GwyContainer()
    volts = gwy.GwyDataField(np.ones((6, 4)), 2e-6, 3e-6, si_unit_xy="m", si_unit_z="V")
    height = gwy.GwyDataField(HEIGHT_NM * factor, 2e-6, 3e-6, si_unit_xy="m", si_unit_z=unit)
    container.update({"/0/data": volts, "/0/data/title": "Friction", "/3/data": height, "/3/data/title": "Height"})
    container.tofile(str(tmp_path / "scan.gwy"))
    read = io.read(tmp_path / "scan.gwy")
    check(read[0], 1e-3, "Height")
    assert (read[1].value_unit, float(read[1].data.max())) == ("V", 1.0)


def test_a_current_is_no_height(tmp_path: Path) -> None:
    container = gwy.GwyContainer()
    container["/0/data"] = gwy.GwyDataField(HEIGHT_NM, 2e-6, 3e-6, si_unit_xy="m", si_unit_z="A")
    container.tofile(str(tmp_path / "current.gwy"))
    image = io.read(tmp_path / "current.gwy")[0]
    assert image.value_unit == "A"
    np.testing.assert_allclose(image.data, HEIGHT_NM)


def test_unknown_units_do_not_crash(tmp_path: Path) -> None:
    container = gwy.GwyContainer()
    container["/0/data"] = gwy.GwyDataField(HEIGHT_NM, 2.0, 3.0, si_unit_xy="furlong", si_unit_z="zorkmid")
    container.tofile(str(tmp_path / "scan.gwy"))
    image = io.read(tmp_path / "scan.gwy")[0]
    assert (image.value_unit, image.units, image.scale) == ("zorkmid", ("pixel", "pixel"), (1.0, 1.0))
    np.testing.assert_allclose(image.data, HEIGHT_NM, rtol=1e-6)


def test_gsf(tmp_path: Path) -> None:
    for title in ("Height", "Height1", "Height22", "Height333"):  # every padding length
        sizes = "XRes = 4\nYRes = 6\nXReal = 2e-6\nYReal = 3e-6\nXYUnits = m\nZUnits = m\n"
        head = f"Gwyddion Simple Field 1.0\n{sizes}Title = {title}\n"
        padding = b"\0" * (4 - len(head) % 4)
        (tmp_path / "scan.gsf").write_bytes(head.encode() + padding + (HEIGHT_NM * 1e-9).astype("<f4").tobytes())
        check(io.read(tmp_path / "scan.gsf")[0], 1e-3, title)


def test_ibw_channels_units_and_odd_labels(tmp_path: Path) -> None:
    note = "FastScanSize: 2e-06\rSlowScanSize: 3e-06\rScanRate: 1"
    channels = {"PhaseRetrace": HEIGHT_NM, "HeightTracee": HEIGHT_NM * 1e-9, "AmplitudeTrace": HEIGHT_NM * 1e-9}
    read = io.read(write_ibw(tmp_path / "scan.ibw", channels, note))
    check(read[0], 1e-3, "HeightTrace")
    assert [(i.channels[0], i.value_unit) for i in read[1:]] == [("AmplitudeTrace", "nm"), ("PhaseRetrace", "deg")]


def test_ibw_without_note_uses_the_wave_scaling(tmp_path: Path) -> None:
    image = io.read(write_ibw(tmp_path / "scan.ibw", {"Height": HEIGHT_NM}, "", units=b"nm"))[0]
    check(image, 1e-3, "Height")


@pytest.mark.parametrize(("suffix", "dtype"), [(".stp", "double"), (".top", "short")])
def test_wsxm(tmp_path: Path, suffix: str, dtype: str) -> None:
    lines = (
        "[Control]\r\n    X Amplitude: 2000 nm\r\n    Y Amplitude: 3000 nm\r\n[General Info]\r\n"
        f"    Acquisition channel: Topography\r\n    Image Data Type: {dtype}\r\n"
        "    Number of columns: 4\r\n    Number of rows: 6\r\n    Z Amplitude: 500.0 nm\r\n[Header end]\r\n"
    )
    text = f"WSxM file copyright UAM\r\nSxM Image file\r\nImage header size: 1000\r\n{lines}".encode().ljust(1000)
    raw = HEIGHT_NM if dtype == "double" else np.round(HEIGHT_NM * 60 - 1000).astype("<i2")
    stored = raw.astype("<f8" if dtype == "double" else "<i2")[::-1, ::-1]  # turned by 180 degrees
    (tmp_path / f"scan{suffix}").write_bytes(text + stored.tobytes())
    image = io.read(tmp_path / f"scan{suffix}")[0]
    check(image if dtype == "double" else image.replace(data=image.data - 200), 0.02, "Topography")


def test_sides_of_a_wsxm_picture_may_have_units_of_their_own(tmp_path: Path) -> None:
    lines = (
        "    X Amplitude: 2 um\r\n    Y Amplitude: 3000 nm\r\n    Image Data Type: double\r\n"
        "    Number of columns: 4\r\n    Number of rows: 6\r\n    Z Amplitude: {z}\r\n[Header end]\r\n"
    )
    text = f"WSxM file copyright UAM\r\nSxM Image file\r\nImage header size: 1000\r\n{lines}"
    stored = HEIGHT_NM.astype("<f8")[::-1, ::-1].tobytes()
    (tmp_path / "a.stp").write_bytes(text.replace("{z}", "500 nm").encode().ljust(1000) + stored)
    check(io.read(tmp_path / "a.stp")[0], 0.02, "Topography")
    (tmp_path / "b.stp").write_bytes(text.replace("{z}", "500 nm").replace("2 um", "2 V").encode().ljust(1000) + stored)
    with pytest.raises(ReadError, match="width in 'V' and its height in 'nm'"):
        io.read(tmp_path / "b.stp")


def test_wsxm_headers_of_other_countries(tmp_path: Path) -> None:
    """Decimal commas and a micro sign in UTF-8."""
    lines = (
        "    X Amplitude: 2,0 \u00b5m\r\n    Y Amplitude: 3,0 \u00b5m\r\n    Image Data Type: short\r\n"
        "    Number of columns: 4\r\n    Number of rows: 6\r\n    Z Amplitude: 499,5 nm\r\n[Header end]\r\n"
    )
    text = f"WSxM file copyright UAM\r\nSxM Image file\r\nImage header size: 1000\r\n{lines}".encode().ljust(1000)
    raw = np.arange(24, dtype="<i2").reshape(6, 4)
    (tmp_path / "a.top").write_bytes(text + raw[::-1, ::-1].tobytes())
    image = io.read(tmp_path / "a.top")[0]
    assert image.value_unit == "nm"
    assert image.units == ("micrometer", "micrometer")
    np.testing.assert_allclose(image.scale, (0.5, 0.5))
    np.testing.assert_allclose(image.data, raw * (499.5 / 23), rtol=1e-6)


def test_top_of_another_program_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "molecule.top").write_text("[ moleculetype ]\n")
    assert not afm.matches(tmp_path / "molecule.top")


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("code", [0x20000, 2])
def test_asd_frames(tmp_path: Path, version: int, code: int) -> None:
    frames = np.arange(2 * 6 * 4).reshape(2, 6, 4) * 10
    path = write_asd(tmp_path / "scan.asd", frames, version, code)
    topography, error = io.read(path)
    assert (topography.axes, topography.units) == ("TYX", ("second", "micrometer", "micrometer"))
    np.testing.assert_allclose(topography.scale, (0.25, 0.01, 0.01))
    volts = [2.5 - 2 * n * 2.5 / 4096 if code > 2 else -n * 2.5 / 4096 for n in (frames, frames + 1)]
    np.testing.assert_allclose(topography.data, volts[0] * 20.0, rtol=1e-5)
    np.testing.assert_allclose(error.data, volts[1] * -5.0, rtol=1e-5)
    assert (topography.channels, error.channels) == (("TP",), ("ER",))
    other = pytest.importorskip("AFMReader.asd")  # as the second reader has it, where it is installed
    for image in (topography, error):
        np.testing.assert_allclose(image.data, other.load_asd(path, image.channels[0])[0], rtol=1e-5)


def test_asd_phase_is_in_degrees_and_odd_files_are_refused(tmp_path: Path) -> None:
    frames = np.arange(24).reshape(1, 6, 4)
    phase = io.read(write_asd(tmp_path / "a.asd", frames, second=b"PH"))[1]
    assert (phase.axes, phase.value_unit) == ("YX", "deg")
    np.testing.assert_allclose(phase.data, (2.5 - 2 * (frames[0] + 1) * 2.5 / 4096) * -3.0, rtol=1e-5)
    (tmp_path / "b.asd").write_bytes(struct.pack("<i", 7) + bytes(500))
    with pytest.raises(ReadError, match="version 7; versions 0, 1 and 2"):
        io.read(tmp_path / "b.asd")
    with pytest.raises(ReadError, match="converter of unknown range"):
        io.read(write_asd(tmp_path / "c.asd", frames, code=0x9))
    path = write_asd(tmp_path / "d.asd", frames)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ReadError, match="cut short"):
        io.read(path)


@pytest.mark.parametrize("suffix", sorted(afm.LOADERS))
@pytest.mark.parametrize("content", [b"", b"x", b"not what the suffix says" * 40])
def test_damaged_files_give_one_clear_message(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"scan{suffix}"
    path.write_bytes(content)
    with pytest.raises(ReadError, match=r"scan"):
        io.read(path)


def test_read_channel_by_name_or_list_of_those_there_are(tmp_path: Path) -> None:
    path = write_nanoscope(tmp_path / "a.000", {"Height": ("Trace", HEIGHT_NM), "Phase": ("Trace", HEIGHT_NM)})
    assert afm.read_channel(path, "phase").channels == ("Phase",)
    with pytest.raises(ReadError, match=r"no channel 'ZSensor'. Channels there are: Height, Phase"):
        afm.read_channel(path, "ZSensor")


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (("Deflection", "Height", "Height Sensor"), "Height Sensor"),
        (("height_retrace", "measuredHeight_trace", "height_trace"), "measuredHeight_trace"),
        (("PhaseTrace", "ZSensorRetrace", "ZSensorTrace"), "ZSensorTrace"),
        (("AmplitudeRetrace", "HeightRetrace", "HeightTrace"), "HeightTrace"),
        (("Deflection Error", "Friction"), "Deflection Error"),
        (("height_trace", "capacitiveSensorHeight_trace"), "capacitiveSensorHeight_trace"),  # JPK, older
        (("height_trace", "height (measured & smoothed)_trace"), "height (measured & smoothed)_trace"),
        (("Topography", "Z Detector"), "Z Detector"),  # Park
        (("Height", "Height(Sen)"), "Height(Sen)"),  # NT-MDT
        (("Z-Axis", "Z-Axis Sensor"), "Z-Axis Sensor"),  # Nanosurf
        (("Deflection", "Z-Axis [Backward]", "Z-Axis [Forward]"), "Z-Axis [Forward]"),
        (("Amplitude", "Z (Backward)", "Z (Forward)"), "Z (Forward)"),  # Nanonis
        (("Topo [<]", "Topo [>]"), "Topo [>]"),
        (("Height Error", "Topography"), "Topography"),
    ],
)
def test_height_comes_first(names: tuple[str, ...], first: str) -> None:
    channels = [_scan.Channel(n, HEIGHT_NM, "V", (1, 1)) for n in names]
    assert _scan.to_images(Path("a.spm"), channels)[0].channels == (first,)


def test_equal_names_stay_selectable() -> None:
    images = _scan.to_images(Path("a.gwy"), [_scan.Channel("Height", HEIGHT_NM, "m", (1, 1)) for _ in range(2)])
    assert [i.channels[0] for i in images] == ["Height", "Height 2"]


@pytest.mark.parametrize(
    ("name", "channel", "low", "high", "um"),
    [
        ("sample_0.jpk", "height_trace", 3302.6, 3361.0, 0.001277),
        ("sample_0.jpk-qi-image", "height_trace", 3078.8, 3615.6, 0.005),
        ("sample_0.stp", "Topography", -80.7998, -21.0549, 0.5 / 512),
        ("sample_0.top", "Topography", 0.0, 59.7449, 0.5 / 512),
        ("sample_0_2.topostats", "image_original", 24.318, 31.867, 0.001976),
        ("sample_0.h5-jpk", "height_trace", 722.57, 752.19, 0.15 / 128),
    ],
)
def test_real_files(shared_data: Path, name: str, channel: str, low: float, high: float, um: float) -> None:
    if name.endswith(("h5-jpk", "topostats")):
        pytest.importorskip("h5py")
    image = afm.read_channel(shared_data / "afm" / "raw" / name, channel)
    np.testing.assert_allclose((image.data.min(), image.data.max()), (low, high), atol=0.1)
    np.testing.assert_allclose(image.scale[-2:], (um, um), rtol=1e-3)
    assert image.value_unit == "nm"


@pytest.mark.parametrize("part", [0.01, 0.3, 0.9])
@pytest.mark.parametrize("suffix", [".gwy", ".gsf", ".ibw", ".jpk", ".stp"])
def test_files_cut_short(tmp_path: Path, suffix: str, part: float) -> None:
    path = tmp_path / f"scan{suffix}"
    heights = np.random.default_rng(0).normal(size=(60, 40))
    if suffix == ".gwy":
        container = gwy.GwyContainer()
        container["/0/data"] = gwy.GwyDataField(heights, si_unit_z="m")
        container.tofile(str(path))
    elif suffix == ".gsf":
        path.write_bytes(b"Gwyddion Simple Field 1.0\nXRes = 40\nYRes = 60\n\0\0" + heights.astype("<f4").tobytes())
    elif suffix == ".ibw":
        write_ibw(path, {"Height": heights}, "")
    elif suffix == ".jpk":
        write_jpk(path)
    else:
        head = "WSxM file copyright UAM\r\nImage header size: 400\r\n X Amplitude: 1 nm\r\n Y Amplitude: 1 nm\r\n"
        head += " Number of columns: 40\r\n Number of rows: 60\r\n Z Amplitude: 1 nm\r\n"
        path.write_bytes(head.encode().ljust(400) + heights.tobytes())
    assert len(io.read(path)) >= 1
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(ReadError, match="scan"):
        io.read(path)
