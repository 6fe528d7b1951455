"""Scans whose size, unit or orientation lies off the beaten track: values by hand, layouts as the makers write them."""

from __future__ import annotations

import struct
from pathlib import Path

import gwyfile.objects as gwy
import h5py
import igor2.binarywave
import numpy as np
import pytest
import tifffile

from napari_medseg import io
from napari_medseg.errors import DataError, ReadError
from napari_medseg.image import Image
from napari_medseg.io.afm import reader as afm
from napari_medseg.io.afm import scan as scans
from napari_medseg.io.grids import on_grid
from napari_medseg.measure import afm as measures
from napari_medseg.measure import summarise
from tests.io.test_afm import write_ibw, write_jpk

STOPPED = "ScanLines: 12\rScanPoints: 4\rFastScanSize: 4e-7\rSlowScanSize: 2.4e-6"
ZSENS = "V [Sens. Zsens] (0.0001 V/LSB) 20.00000 V"  # with 50 nm/V: 20 * 50 / 65536 nm a step


def nanoscope(path: Path, channels: dict[str, tuple[str, np.ndarray]], image: str = "", scan: str = "") -> Path:
    """Channels: name -> (Z scale, whole numbers (Y, X) bottom line first); `image`, `scan`: lines of these lists."""
    offset, blocks, body = 4096, "", b""
    for name, (z_scale, raw) in channels.items():
        rows, columns = raw.shape
        stated = image or f"\\Scan Size: 2 2 ~m\n\\Number of lines: {rows}"
        blocks += (
            f"\\*Ciao image list\n\\Data offset: {offset + len(body)}\n\\Data length: {raw.nbytes}\n"
            f"\\Bytes/pixel: {raw.itemsize}\n\\Samps/line: {columns}\n{stated}\n"
            f'\\@2:Image Data: S [{name}] "{name}"\n\\@2:Z scale: {z_scale}\n'
        )
        body += raw.tobytes()
    senses = "\\@Sens. Zsens: V 50.0 nm/V\n\\@Sens. Log: V 1.0 \n\\@Sens. Error: V 1.0 \n\\@Sens. Amp: V 2.0 V/V\n"
    text = f"\\*File list\n\\*Scanner list\n{senses}\\*Ciao scan list\n{scan}\n{blocks}\\*File list end\n"
    path.write_bytes(text.encode("latin-1").ljust(offset, b"\0") + body)
    return path


def field(image: Image) -> list[float]:
    return [n * step for n, step in zip(image.spatial_shape, image.scale, strict=True)]


@pytest.mark.parametrize(
    ("shape", "image", "scan", "right"),
    [
        ((128, 256), "Scan Size: 10 10 ~m|Aspect Ratio: 2:1", "Lines: 128|Aspect Ratio: 2:1", (5, 10)),
        ((128, 256), "Scan Size: 10 5 ~m|Aspect Ratio: 2:1", "Lines: 128|Aspect Ratio: 2:1", (5, 10)),
        ((128, 256), "Scan size: 10 10 ~m|Aspect ratio: 2:1", "", (5, 10)),  # version 4 writes small letters
        ((256, 256), "Scan Size: 10 10 ~m|Aspect Ratio: 1:1", "Lines: 256|Aspect Ratio: 1:1", (10, 10)),
        ((128, 256), "Scan Size: 10 10 ~m|Aspect Ratio: 1:1", "Lines: 128|Aspect Ratio: 1:1", (10, 10)),
        ((179, 256), "Scan Size: 300 300 nm|Aspect Ratio: 0.5", "Lines: 256|Aspect Ratio: 1:1", (0.3 * 179 / 256, 0.3)),
        ((64, 256), "Scan Size: 10 10 ~m|Aspect Ratio: 2:1", "Lines: 128|Aspect Ratio: 2:1", (2.5, 10)),
        ((128, 256), "Scan Size: 10000 nm 5000 nm|Aspect Ratio: 2:1", "Lines: 128", (5, 10)),
        ((128, 256), "Scan Size: 10 ~m 5000 nm|Aspect Ratio: 2:1", "Lines: 128", (5, 10)),
        ((128, 256), "Scan Size: 10,5 10,5 ~m|Aspect Ratio: 2:1", "Lines: 128|Aspect Ratio: 2:1", (5.25, 10.5)),
    ],
)
def test_nanoscope_field(
    tmp_path: Path, shape: tuple[int, int], image: str, scan: str, right: tuple[float, float]
) -> None:
    """The fast axis is stated, the slow one follows from the aspect ratio and the lines of a whole frame."""
    lines = "\n".join(f"\\{line}" for line in (*image.split("|"), f"Number of lines: {shape[0]}"))
    scan = "\n".join(f"\\{line}" for line in scan.split("|"))
    path = nanoscope(tmp_path / "a.001", {"Height": (ZSENS, np.zeros(shape, "<i2"))}, lines, scan)
    np.testing.assert_allclose(field(io.read(path)[0]), right, rtol=1e-6)


def test_nanoscope_strip_holds_only_its_valid_lines(tmp_path: Path) -> None:
    lines = "\\Scan size: 65 65 ~m\n\\Number of lines: 512\n\\Valid data len Y: 32"
    scan = "\\Lines: 16\n\\Aspect ratio: 16:1"
    raw = np.arange(32 * 512).astype("<i2").reshape(32, 512)
    image = io.read(nanoscope(tmp_path / "a.001", {"Height": (ZSENS, raw)}, lines, scan))[0]
    assert image.spatial_shape == (32, 512)
    np.testing.assert_allclose(field(image), (65 / 16, 65))
    np.testing.assert_allclose(image.data, raw[::-1] * (20 * 50 / 2**16), rtol=1e-5)


@pytest.mark.parametrize("end", ["first", "last"])
def test_nanoscope_lines_that_were_not_scanned_are_left_out(tmp_path: Path, end: str) -> None:
    lines = "\\Scan Size: 1 1 ~m\n\\Number of lines: 8\n\\Valid data len Y: 5\n\\Aspect Ratio: 1:1"
    raw = np.zeros((8, 8), "<i2")
    kept = slice(0, 5) if end == "last" else slice(3, 8)
    raw[kept] = np.arange(1, 41).reshape(5, 8)
    image = io.read(nanoscope(tmp_path / "a.001", {"Height": (ZSENS, raw)}, lines, "\\Lines: 8"))[0]
    np.testing.assert_allclose(image.data, raw[kept][::-1] * (20 * 50 / 2**16), rtol=1e-5)
    np.testing.assert_allclose(image.scale, (1 / 8, 1 / 8))


@pytest.mark.parametrize(
    ("z_scale", "value", "unit"),
    [
        ("V [Sens. Error] (0.06103516 mV/LSB) 4000.0 mV", 1000, "mV"),
        ("V [Sens. Zsens] (0.3 mV/LSB) 20000.0 mV", 16384 * 20 * 50 / 2**16, "nm"),
        ("V [Sens. Amp] (0.06 mV/LSB) 4000.0 mV", 2, "V"),
        ("V [Sens. Log] (0.00049 log(Arb)/LSB) 32.00000 log(Arb)", 8, "log(Arb)"),
        ("V (0.0055 º/LSB) 360.0 º", 90, "deg"),
        ("V [Sens. Zsens] (0,0003 V/LSB) 20,50000 V", 16384 * 20.5 * 50 / 2**16, "nm"),
    ],
)
def test_nanoscope_units(tmp_path: Path, z_scale: str, value: float, unit: str) -> None:
    raw = np.full((8, 8), 16384, "<i2")  # a quarter of the range
    image = io.read(nanoscope(tmp_path / "a.001", {"Channel": (z_scale, raw)}))[0]
    assert image.value_unit == unit
    np.testing.assert_allclose(image.data, value, rtol=1e-5)


def test_nanoscope_channel_without_scale_costs_only_itself(tmp_path: Path) -> None:
    raw = np.full((8, 8), 100, "<i2")
    images = io.read(nanoscope(tmp_path / "a.001", {"Odd": ("V nonsense", raw), "Height": (ZSENS, raw)}))
    assert [image.channels for image in images] == [("Height",)]
    assert "Odd has no readable Z scale" in images[0].metadata["notes"][0]
    with pytest.raises(ReadError, match="Odd has no readable Z scale"):
        io.read(nanoscope(tmp_path / "b.001", {"Odd": ("V nonsense", raw)}))


@pytest.mark.parametrize("reflect", [0, 1])
def test_jpk_rows_follow_the_flag_of_the_grid(tmp_path: Path, reflect: int) -> None:
    path = write_jpk(tmp_path / "scan.jpk")
    plain = afm.read_channel(path, "height_trace").data
    with tifffile.TiffFile(path) as tiff:
        pages = [(page.asarray(), [(t.code, t.dtype, t.count, t.value, True) for t in page.tags if t.code > 32768])
                 for page in tiff.pages]  # fmt: skip
    with tifffile.TiffWriter(path) as tiff:
        for data, tags in pages:
            tiff.write(data, extratags=[*tags, (32837, "H", 1, reflect, True)], metadata=None)
    np.testing.assert_array_equal(afm.read_channel(path, "height_trace").data, plain[::-1] if reflect else plain)


def park(
    path: Path, raw: np.ndarray, kind: int = 0, gain: float = 1.0, scale: float = 1.0, offset: float = 0.0
) -> Path:
    """Write heights (Y, X), the top row first, as Park does: thumbnail in the picture, numbers in private tags."""

    def text(value: str, length: int) -> bytes:
        return value.encode("utf-16-le").ljust(2 * length, b"\0")

    rows, columns = raw.shape
    header = struct.pack("<I", kind) + text("Z Height", 32) + text("NC-AFM", 8)
    header += struct.pack("<dIIIIdIdIII", 0, 0, 0, columns, rows, 0, 0, 0, 1, 1, 0)
    header += struct.pack("<6d", 3.0, 2.0, 0, 0, 1, 0) + text("um", 8) + struct.pack("<5d", 0, 0, gain, scale, offset)
    header += text("nm", 8) + struct.pack("<3i3I", 0, 0, 0, 0, 0, 1) + struct.pack("<2d", 0, 0) + text("", 24)
    header += struct.pack("<I", {"<i2": 0, "<i4": 1, "<f4": 2}[raw.dtype.str]) + bytes(40)
    stored = raw[::-1].tobytes()
    tags = [(50432, "I", 1, 0x0E031301, True), (50433, "I", 1, 0x1000002, True)]
    tags += [(50434, "B", len(stored), stored, True), (50435, "B", len(header), header, True)]
    tifffile.imwrite(path, np.zeros((32, 32, 3), np.uint8), photometric="rgb", extratags=tags, metadata=None)
    return path


@pytest.mark.parametrize("dtype", ["<i2", "<i4", "<f4"])
def test_park_tiff_gives_its_heights_not_its_thumbnail(tmp_path: Path, dtype: str) -> None:
    raw = np.arange(24).reshape(4, 6).astype(dtype)
    image = io.read(park(tmp_path / "scan.tiff", raw, gain=0.5, scale=2.0, offset=10.0))[0]
    np.testing.assert_allclose(image.data, raw + 5.0)
    np.testing.assert_allclose(image.scale, (0.5, 0.5))
    assert (image.value_unit, image.units, image.channels) == ("nm", ("micrometer",) * 2, ("Z Height",))


def test_park_line_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="line profile of a Park scan"):
        io.read(park(tmp_path / "scan.tiff", np.zeros((4, 6), "<f4"), kind=1))


def test_asylum_units_by_channel(tmp_path: Path) -> None:
    """The wave states metres; that is the unit of its heights alone."""
    note = "FastScanSize: 2e-06\rSlowScanSize: 3e-06"
    values = {"HeightTrace": 1e-7, "PhaseTrace": 85.0, "NapPotentialTrace": 0.25, "FrequencyTrace": 7e4}
    values |= {"StiffnessTrace": 0.5, "IndentTrace": 2e-8}
    channels = {name: np.full((6, 4), value) for name, value in values.items()}
    path = write_ibw(tmp_path / "scan.ibw", channels, note, units=b"m")
    got = {image.channels[0]: (round(float(image.data.max()), 3), image.value_unit) for image in io.read(path)}
    assert got == {
        "HeightTrace": (100.0, "nm"),
        "PhaseTrace": (85.0, "deg"),
        "NapPotentialTrace": (0.25, "V"),
        "FrequencyTrace": (7e4, "Hz"),
        "StiffnessTrace": (0.5, "N/m"),
        "IndentTrace": (20.0, "nm"),
    }
    assert igor2.binarywave.load(str(path))["wave"]["wData"].shape == (4, 6, 6)  # as the second reader has it


@pytest.mark.parametrize(
    ("units", "steps", "note", "right"),
    [
        ((b"m", b"m"), (1e-7, 2e-7), "", (0.2, 0.1)),
        ((b"um", b"nm"), (0.1, 200.0), "", (0.2, 0.1)),
        ((b"m", b"m"), (1e-7, -2e-7), "", (0.2, 0.1)),
        ((b"m", b""), (1e-7, 2.0), "", None),
        ((b"m", b"m"), (1e-7, 2e-7), STOPPED, (0.2, 0.1)),
        ((b"m", b"m"), (1e-7, 4e-7), STOPPED, (0.4, 0.1)),
        ((b"", b""), (1.0, 1.0), "ScanLines: 12\rFastScanSize: 4e-7\rSlowScanSize: 2.4e-6", (0.4, 0.1)),
        ((b"m", b"m"), (1.0, 1.0), "FastScanSize: 4,2e-7\rSlowScanSize: 1,2e-6", (0.2, 0.105)),
    ],
)  # fmt: skip
def test_asylum_pixel_size(
    tmp_path: Path, units: tuple[bytes, bytes], steps: tuple[float, float], note: str, right: tuple[float, float] | None
) -> None:
    """Each axis in its own unit; a scan that was stopped has the step of the whole frame where the wave says so too."""
    wave = write_ibw(tmp_path / "scan.ibw", {"HeightTrace": np.full((6, 4), 1e-9)}, note, b"m", steps, units)
    header = igor2.binarywave.load(str(wave))["wave"]["wave_header"]
    np.testing.assert_allclose(np.asarray(header["sfA"])[:2], steps)  # as the second reader has it
    image = io.read(wave)[0]
    np.testing.assert_allclose(image.scale, right or (1, 1))
    assert image.units == (("micrometer" if right else "pixel"),) * 2


@pytest.mark.parametrize(
    ("width", "unit", "step"),
    [("4e-5", "cm", 0.1), ("4,2e-5", "cm", 0.105),
     ("4000", "\u212b", 0.1), ("0.4", "\u03bcm", 0.1), ("400", "nanometre", 0.1),
     ("4", "furlong", None), ("", "m", None)],
)  # fmt: skip
def test_simple_field_units(tmp_path: Path, width: str, unit: str, step: float | None) -> None:
    """Any unit of length counts; a size that is no length, or not stated, is no pixel size."""
    real = f"XReal = {width}\nYReal = {width}\n" if width else ""
    head = f"Gwyddion Simple Field 1.0\nXRes = 4\nYRes = 4\n{real}XYUnits = {unit}\nZUnits = m\n".encode()
    (tmp_path / "a.gsf").write_bytes(head + b"\0" * (4 - len(head) % 4) + np.ones(16, "<f4").tobytes())
    image = io.read(tmp_path / "a.gsf")[0]
    np.testing.assert_allclose(image.scale, (step or 1,) * 2)
    assert image.calibrated == (step is not None)
    assert bool(image.metadata.get("notes")) == (unit == "furlong")
    if unit == "\u03bcm":  # as older programs write it
        (tmp_path / "b.gsf").write_bytes((tmp_path / "a.gsf").read_bytes().replace(unit.encode(), b" \xb5m"))
        assert io.read(tmp_path / "b.gsf")[0].scale == image.scale


def test_gwyddion_file_without_image_says_what_it_holds(tmp_path: Path) -> None:
    container = gwy.GwyContainer()
    container["/0/graph/graph/1"] = gwy.GwyContainer()
    container.tofile(str(tmp_path / "curves.gwy"))
    with pytest.raises(ReadError, match="no image but curves"):
        io.read(tmp_path / "curves.gwy")


@pytest.mark.parametrize(
    ("name", "words"),
    [("a.nid", "Gwyddion"), ("a.sxm", "Gwyddion"), ("a.mi", "Gwyddion"), ("a.jpk-force", "force curves"),
     ("a.jpk-qi-data", "force curves"), ("a.czi", "OME-TIFF"), ("a.Z_mtrx", "Omicron.*Gwyddion"), ("a.afm", "Gwyddion"),
     ("a.xyz", "no unit.*Gwyddion"), ("a.di", "pictures.*AFM scans"),
     ("a.txt", "no unit.*Text Image"), ("a.abc", "pictures.*volumes.*AFM scans")],
)  # fmt: skip
def test_files_of_others_are_refused_with_the_way_out(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_bytes(b"scan" * 100)
    with pytest.raises(ReadError, match=words) as caught:
        io.read(tmp_path / name)
    assert len(str(caught.value)) < 320


@pytest.mark.parametrize(
    ("begins", "suffix"),
    [(b"\\*File list\r\n", ".spm"), (b"GWYP", ".gwy"), (b"WSxM file copyright UAM\r\n", ".stp")],
)
def test_a_scan_under_another_suffix_is_known_by_its_beginning(tmp_path: Path, begins: bytes, suffix: str) -> None:
    (tmp_path / "a.data").write_bytes(begins + b"scan" * 100)
    with pytest.raises(ReadError, match=f"begins as .* does.*{suffix}"):
        io.read(tmp_path / "a.data")


def test_grains_of_topostats_are_labels_of_their_image(tmp_path: Path) -> None:
    grains = np.zeros((4, 6), bool)
    grains[1:3, 2:5] = True
    with h5py.File(tmp_path / "a.topostats", "w") as file:
        file.update({"image": np.ones((4, 6)), "image_original": np.ones((4, 6)), "pixel_to_nm_scaling": 2.0})
        file["full_mask_tensor"] = np.stack([~grains, grains], -1)
    *images, mask = io.read(tmp_path / "a.topostats")
    assert [image.channels for image in images] == [("image",), ("image_original",)]
    assert mask.kind == "labels"
    assert mask.scale == (0.002, 0.002)
    np.testing.assert_array_equal(mask.data, grains)


def test_masks_of_gwyddion_are_labels_of_their_channel(tmp_path: Path) -> None:
    heights = np.where(np.hypot(*(np.mgrid[:64, :64] - 32)) < 12, 4e-7, 0.0)
    container = gwy.GwyContainer()
    for k, (title, data) in enumerate({"Phase": 0 * heights, "Height": heights}.items()):
        unit = gwy.GwySIUnit(unitstr="m" if k else "deg")
        sides = {"xreal": 1e-5, "yreal": 1e-5, "si_unit_xy": gwy.GwySIUnit(unitstr="m"), "si_unit_z": unit}
        container[f"/{k}/data"], container[f"/{k}/data/title"] = gwy.GwyDataField(data, **sides), title
    container["/1/mask"] = gwy.GwyDataField((heights > 0).astype(float), xreal=1e-5, yreal=1e-5)
    container.tofile(str(tmp_path / "scan.gwy"))
    height, phase, mask = io.read(tmp_path / "scan.gwy")
    assert [height.channels, phase.channels, mask.kind] == [("Height",), ("Phase",), "labels"]
    assert mask.scale == height.scale
    np.testing.assert_array_equal(mask.data, heights > 0)
    labels = io.read_one(tmp_path / "scan.gwy", "labels")
    row = summarise("afm", labels, afm.read_heights(tmp_path / "scan.gwy")).iloc[0]
    assert row["height_mean (nm)"] == pytest.approx(400, abs=0.1)


def test_channel_to_measure_is_named_and_chosen(tmp_path: Path) -> None:
    raw = np.full((8, 8), 100, "<i2")
    volts = "V [Sens. Amp] (0.0001 V/LSB) 20.00000 V"
    path = nanoscope(tmp_path / "a.001", {"Height": (ZSENS, raw), "Height Sensor": (ZSENS, raw), "Amp": (volts, raw)})
    image = afm.read_heights(path)
    assert image.channels == ("Height Sensor",)
    assert "heights of the channel Height Sensor (others: Height" in image.metadata["notes"][0]
    assert afm.read_heights(path, "height").channels == ("Height",)
    labels = image.labels_like(np.eye(8, dtype=np.uint8))
    assert summarise("afm", labels, image)["channel"].tolist() == ["Height Sensor"]
    with pytest.raises(DataError, match=r"channel Amp is in V, which is no height.*--channel"):
        summarise("afm", labels, afm.read_heights(path, "Amp"))


def levelled(covered: int, tilt: bool = True) -> tuple[str, float]:
    """Return what levels a cell of 1000 nm on the right `covered` of 200 columns, and its mean height."""
    cell = np.zeros((200, 200), np.uint8)
    cell[:, 200 - covered :] = 1
    plane = 500.0 * np.arange(200) / 199 + 30.0 * np.arange(200)[:, None] / 199 if tilt else np.zeros((200, 200))
    noise = np.random.default_rng(0).normal(0, 1, cell.shape)
    heights = Image(1000.0 * cell + plane + noise, "YX", value_unit="nm")
    row = summarise("afm", heights.labels_like(cell), heights).iloc[0]
    return str(row["levelled by"]), float(row["height_mean (nm)"])


@pytest.mark.parametrize(("covered", "by"), [(100, measures.SURFACE), (142, "plane"), (180, "plane"), (190, "plane")])
def test_tilt_is_taken_out_at_any_coverage_that_determines_it(covered: int, by: str) -> None:
    level, mean = levelled(covered)
    assert level == by
    assert abs(mean - 1000) < 3


def test_what_levels_is_said_where_no_plane_is_determined() -> None:
    assert levelled(197, tilt=False)[0] in ("offset", "nothing")
    line = np.ones((50, 50), bool)
    line[:, :6] = False  # with the margin a few columns
    assert measures.levelling(np.ones((50, 50), bool)) == ""
    assert measures.levelling(line) in ("plane", "offset")


def test_a_channel_without_pixels_costs_only_itself() -> None:
    named = {"Empty": np.zeros((0, 4)), "Height": np.ones((2, 4))}
    channels = [scans.Channel(name, data, "nm", (1, 1)) for name, data in named.items()]
    images = scans.to_images(Path("a.gwy"), channels)
    assert [image.channels for image in images] == [("Height",)]
    assert "channel Empty has no pixels" in images[0].metadata["notes"][0]
    with pytest.raises(ReadError, match="channel Empty has no pixels"):
        scans.to_images(Path("a.gwy"), channels[:1])


@pytest.mark.parametrize("suffix", [".gwy", ".gsf"])
def test_a_part_of_a_scan_lies_where_gwyddion_cut_it_out(tmp_path: Path, suffix: str) -> None:
    """Rows 3 to 6 and columns 5 to 9 of a scan of 0.5 x 0.25 um pixels, which begins 2 um below the sample's origin."""
    heights = np.random.default_rng(0).random((10, 12)) * 1e-9

    def save(name: str, data: np.ndarray, top: float, left: float) -> Path:
        sides = data.shape[1] * 0.25e-6, data.shape[0] * 0.5e-6
        path = tmp_path / f"{name}{suffix}"
        if suffix == ".gwy":
            container = gwy.GwyContainer()
            container["/0/data"] = gwy.GwyDataField(data, *sides, left, top, si_unit_xy="m", si_unit_z="m")
            container.tofile(str(path))
            return path
        head = (
            f"Gwyddion Simple Field 1.0\nXRes = {data.shape[1]}\nYRes = {data.shape[0]}\nXReal = {sides[0]}\n"
            f"YReal = {sides[1]}\nXOffset = {left}\nYOffset = {top}\nXYUnits = m\nZUnits = m\n"
        ).encode()
        path.write_bytes(head + b"\0" * (4 - len(head) % 4) + data.astype("<f4").tobytes())
        return path

    whole = io.read(save("whole", heights, 2e-6, 0.0))[0]
    part = io.read(save("part", heights[3:7, 5:10], 3.5e-6, 1.25e-6))[0]
    assert whole.affine is not None
    assert part.affine is not None
    np.testing.assert_allclose(whole.affine[:-1, -1], (2, 0), atol=1e-9)
    np.testing.assert_allclose(part.affine[:-1, -1], (3.5, 1.25))
    labels = part.labels_like(np.ones(part.spatial_shape, np.uint8))
    back = io.read_labels(io.write(tmp_path / "labels.tif", labels))
    expected = np.zeros(heights.shape, np.uint8)
    expected[3:7, 5:10] = 1
    np.testing.assert_array_equal(on_grid(back, whole).data, expected)
    assert io.read(save("plain", heights, 0.0, 0.0))[0].affine is None
