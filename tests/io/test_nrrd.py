"""NRRD: fields of the format's definition, with pynrrd and SimpleITK as the other readers and writers."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from shorthand import notes

from napari_medseg import io
from napari_medseg.errors import ReadError
from napari_medseg.image import Image
from napari_medseg.io.volumes import reader
from napari_medseg.measure.volume import table
from napari_medseg.preprocessing.volumes import affine_of

RNG = np.random.default_rng(5)
DATA = RNG.integers(-500, 500, (5, 6, 7)).astype(np.int16)  # x, y, z
TURNED = np.array([[0.4, 0.3, 0], [-0.3, 0.4, 0], [0, 0, 2.0]])  # rows are the steps of x, y, z


def raw(path: Path, *lines: str, data: np.ndarray = DATA, encoding: str = "raw") -> Path:
    """Write a header by hand and the voxels behind it."""
    pack = {"raw": bytes, "gzip": gzip.compress, "bzip2": bz2.compress}[encoding]
    head = [
        "NRRD0005",
        f"type: {data.dtype.name}",
        f"dimension: {data.ndim}",
        f"sizes: {' '.join(map(str, data.shape))}",
    ]
    text = "\n".join([*head, "endian: little", f"encoding: {encoding}", *lines]) + "\n\n"
    path.write_bytes(text.encode("utf-8") + pack(data.tobytes(order="F")))
    return path


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint16", "int32", "int64", "uint64", "float32", "float64"])
def test_what_pynrrd_writes(tmp_path: Path, encoding: str, dtype: str) -> None:
    data = np.abs(DATA).astype(dtype)
    header = {
        "encoding": encoding,
        "space": "left-posterior-superior",
        "space directions": TURNED,
        "space origin": [1, 2, 3],
    }
    nrrd.write(str(tmp_path / "a.nrrd"), data, header)
    image = io.read_one(tmp_path / "a.nrrd")
    assert image.data.dtype == dtype
    np.testing.assert_array_equal(image.data, data.T)
    np.testing.assert_allclose(image.affine[:3, :3][::-1, ::-1], TURNED.T)
    assert (image.scale, image.units) == ((2.0, 0.5, 0.5), ("millimeter",) * 3)


@pytest.mark.parametrize(
    "space", ["left-posterior-superior", "right-anterior-superior", "RAS", "left-anterior-superior"]
)
def test_places_are_those_of_itk(tmp_path: Path, space: str) -> None:
    path = raw(
        tmp_path / "a.nrrd",
        f"space: {space}",
        "space directions: (0.4,0.3,0) (-0.3,0.4,0) (0,0,2)",
        "space origin: (1,2,3)",
    )
    np.testing.assert_allclose(io.read_one(path).affine, affine_of(sitk.ReadImage(str(path))), atol=1e-9)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr"])
def test_other_programs_read_what_is_written(tmp_path: Path, suffix: str) -> None:
    source = io.read_one(raw(tmp_path / "s.nrrd", "space: LPS", "space directions: (0.4,0.3,0) (-0.3,0.4,0) (0,0,-2)"))
    reader.write(tmp_path / f"a{suffix}", source)
    itk = sitk.ReadImage(str(tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(itk), source.data)
    np.testing.assert_allclose(affine_of(itk), source.affine, atol=1e-9)
    data, header = nrrd.read(str(tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(data.T, source.data)
    assert header["space units"] == ["mm"] * 3
    np.testing.assert_array_equal(io.read_one(tmp_path / f"a{suffix}").affine, source.affine)


@pytest.mark.parametrize(
    ("line", "unit", "factor"),
    [('space units: "mm" "mm" "mm"', "millimeter", 1), ('space units: "um" "um" "um"', "micrometer", 1),
     ('space units: "\u00b5m" "\u00b5m" "\u00b5m"', "micrometer", 1), ('space units: "cm" "cm" "cm"', "millimeter", 10),
     ('space units: "microns" "microns" "microns"', "micrometer", 1),
     ('space units: "nm" "nm" "nm"', "micrometer", 1e-3)],
)  # fmt: skip
def test_space_units(tmp_path: Path, line: str, unit: str, factor: float) -> None:
    path = raw(
        tmp_path / "a.nrrd", "space: LPS", "space directions: (1,0,0) (0,2,0) (0,0,3)", "space origin: (4,5,6)", line
    )
    image = io.read_one(path)
    assert set(image.units) == {unit}
    np.testing.assert_allclose(image.scale, np.array([3, 2, 1]) * factor)
    np.testing.assert_allclose(image.affine[:3, 3], np.array([6, 5, 4]) * factor)


@pytest.mark.parametrize(
    "lines",
    [
        ("spacings: 1000 2 3", 'units: "um" "mm" "mm"'),
        ("space: LPS", "space directions: (1000,0,0) (0,2,0) (0,0,3)", 'space units: "um" "mm" "mm"'),
    ],
)
def test_each_axis_may_have_its_unit(tmp_path: Path, lines: tuple[str, ...]) -> None:
    image = io.read_one(raw(tmp_path / "a.nrrd", *lines))
    assert (image.scale, image.units) == ((3, 2, 1), ("millimeter",) * 3)


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed", "LPS"])
def test_sides_that_a_file_does_not_name_are_said(tmp_path: Path, space: str) -> None:
    image = io.read_one(raw(tmp_path / "a.nrrd", f"space: {space}", "space directions: (1,0,0) (0,2,0) (0,0,3)"))
    assert ("which way its axes run" in notes(image)) is (space != "LPS")


def test_an_unknown_unit_is_no_length(tmp_path: Path) -> None:
    image = io.read_one(raw(tmp_path / "a.nrrd", "spacings: 1 2 3", 'units: "furlong" "furlong" "furlong"'))
    assert set(image.units) == {"pixel"}
    assert "furlong" in notes(image)


def test_values_that_numbers_stand_for_are_said(tmp_path: Path) -> None:
    plain, scaled = (
        io.read_one(raw(tmp_path / f"{name}.nrrd", "spacings: 1 2 3", 'units: "mm" "mm" "mm"', *more))
        for name, more in (("a", ()), ("b", ("old min: -100", "old max: 500")))
    )
    np.testing.assert_array_equal(plain.data, scaled.data)
    assert "old min" not in " ".join(plain.metadata.get("notes", ()))
    assert "(old min, old max); it is not applied" in " ".join(scaled.metadata["notes"])


def test_spacings_alone(tmp_path: Path) -> None:
    image = io.read_one(raw(tmp_path / "a.nrrd", "spacings: 1 2 3"))
    assert (image.scale, image.affine, image.units[0]) == ((3, 2, 1), None, "millimeter")
    assert "millimetres are assumed" in notes(image)
    image = io.read_one(raw(tmp_path / "a.nrrd", "spacings: 1 2 3", 'units: "um" "um" "um"'))
    assert set(image.units) == {"micrometer"}
    for lines in (["spacings: nan nan nan"], [], ["spacings: 0.5 0.5 nan"]):
        image = io.read_one(raw(tmp_path / "a.nrrd", *lines))
        assert (set(image.units), image.scale) == ({"pixel"}, (1, 1, 1))
        assert "does not state its voxel size" in notes(image)


@pytest.mark.parametrize("centering", ["cell", "node", "???", ""])
@pytest.mark.parametrize("first", [".5", "-.5"])
def test_axis_mins_and_negative_spacings_are_places(tmp_path: Path, centering: str, first: str) -> None:
    """ITK, by Teem: the minimum is the outer edge of the first voxel, of nodes its centre."""
    lines = [f"spacings: {first} .7 2", "axis mins: 10 20 30", 'units: "mm" "mm" "mm"']
    lines += [f"centerings: {' '.join([centering] * 3)}"] if centering else []
    path = raw(tmp_path / "a.nrrd", *lines)
    image = io.read_one(path)
    expected = affine_of(sitk.ReadImage(str(path)))
    np.testing.assert_allclose(image.affine, expected, atol=1e-12)
    assert image.scale == (2.0, 0.7, 0.5)


def test_units_beside_directions_do_not_matter(tmp_path: Path) -> None:
    lines = ("space: LPS", "space directions: (0.5,0,0) (0,0.5,0) (0,0,2)", 'units: "mm" "mm" "mm"')
    assert io.read_one(raw(tmp_path / "a.nrrd", *lines)).scale == (2, 0.5, 0.5)


@pytest.mark.parametrize(
    ("lines", "axes"),
    [(["space: LPS", "space directions: none (1,0,0) (0,2,0) (0,0,3)"], "CZYX"),
     (["space: LPS", "space directions: none (1,0,0) (0,2,0) (0,0,3)", "kinds: list domain domain domain"], "CZYX"),
     (["spacings: nan 1 2 3"], "CZYX"), (["kinds: vector domain domain domain", "spacings: nan 1 2 3"], "CZYX"),
     (["space: LPS", "space directions: none (1,0,0) (0,2,0) (0,0,3)", "kinds: time space space space"], "TZYX")],
)  # fmt: skip
def test_the_axis_that_is_not_of_space(tmp_path: Path, lines: list[str], axes: str) -> None:
    data = RNG.integers(0, 9, (2, 5, 6, 7)).astype(np.int16)
    image = io.read_one(raw(tmp_path / "a.nrrd", *lines, data=data))
    assert (image.axes, image.scale[-3:]) == (axes, (3, 2, 1))
    np.testing.assert_array_equal(image.data, data.transpose(0, 3, 2, 1))


@pytest.mark.parametrize("space", ["left-posterior-superior-time", "LPST"])
def test_a_space_with_time(tmp_path: Path, space: str) -> None:
    data = RNG.integers(0, 9, (5, 6, 7, 2)).astype(np.int16)
    lines = (f"space: {space}", "space directions: (1,0,0,0) (0,2,0,0) (0,0,3,0) (0,0,0,2.5)")
    image = io.read_one(raw(tmp_path / "a.nrrd", *lines, "space origin: (7,8,9,0)", data=data))
    assert (image.axes, image.scale) == ("TZYX", (2.5, 3, 2, 1))
    np.testing.assert_allclose(image.affine[1:4, 4], (9, 8, 7))
    np.testing.assert_array_equal(image.data, data.T)


def test_a_fourth_axis_that_nothing_explains_is_said(tmp_path: Path) -> None:
    data = RNG.integers(0, 9, (5, 6, 7, 2)).astype(np.int16)
    image = io.read_one(raw(tmp_path / "a.nrrd", data=data))
    assert image.axes == "CZYX"
    assert "does not say what its axis of 2 is" in notes(image)
    np.testing.assert_array_equal(image.data, data.T)


@pytest.mark.parametrize(("unit", "seconds"), [('"s"', 2.5), ('"ms"', 0.0025), ('"min"', 150.0), ('"???"', 2.5)])
def test_time_steps_are_in_seconds(tmp_path: Path, unit: str, seconds: float) -> None:
    data = RNG.integers(0, 9, (5, 6, 7, 2)).astype(np.int16)
    lines = ("kinds: domain domain domain time", "spacings: 1 2 3 2.5", f'units: "mm" "mm" "mm" {unit}')
    image = io.read_one(raw(tmp_path / "a.nrrd", *lines, data=data))
    assert image.axes == "TZYX"
    assert image.scale[0] == pytest.approx(seconds)


def test_films_keep_their_time_step(tmp_path: Path) -> None:
    film = Image(
        np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3), "TZYX", (2.5, 3, 2, 1), ("second", *("millimeter",) * 3)
    )
    io.write(tmp_path / "a.nrrd", film)
    back = io.read_one(tmp_path / "a.nrrd")
    assert (back.axes, back.scale, back.units) == (film.axes, film.scale, film.units)
    np.testing.assert_array_equal(back.data, film.data)
    assert nrrd.read_header(str(tmp_path / "a.nrrd"))["sizes"].tolist() == [3, 2, 2, 2]


def test_colours(tmp_path: Path) -> None:
    colours = RNG.integers(0, 255, (5, 6, 3)).astype(np.uint8)
    io.write(tmp_path / "a.nrrd", Image(colours, "YXC", (1, 1), ("millimeter",) * 2))
    back = io.read_one(tmp_path / "a.nrrd")
    assert (back.axes, back.channels) == ("YXC", ("red", "green", "blue"))
    np.testing.assert_array_equal(back.data, colours)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nrrd"))), colours)


def test_a_sheared_grid_is_kept(tmp_path: Path) -> None:
    lines = ("space: LPS", "space directions: (1,0,0) (0.4,2,0) (0,0,3)", "space origin: (0,0,0)")
    image = io.read_one(raw(tmp_path / "a.nrrd", *lines))
    assert abs(np.linalg.det(image.affine[:3, :3])) == pytest.approx(6)
    assert "a sheared grid" in notes(image)
    io.write(tmp_path / "b.nrrd", image)
    np.testing.assert_array_equal(io.read_one(tmp_path / "b.nrrd").affine, image.affine)


def test_an_upright_plane_keeps_its_place(tmp_path: Path) -> None:
    lines = ("space: LPS", "space directions: (1,0,0) (0,0,2)", "space origin: (4,5,6)")
    image = io.read_one(raw(tmp_path / "a.nrrd", *lines, data=DATA[:, :, 0]))
    assert (image.axes, image.scale) == ("ZYX", (1, 2, 1))
    np.testing.assert_array_equal(image.data[0], DATA[:, :, 0].T)
    np.testing.assert_allclose((image.affine @ [0, 3, 2, 1])[:3][::-1], (6, 5, 12))
    flat = io.read_one(raw(tmp_path / "b.nrrd", "space: LPS", "space directions: (1,0,0) (0,2,0)", data=DATA[:, :, 0]))
    assert (flat.axes, flat.scale) == ("YX", (2, 1))


def test_more_than_declared_is_said(tmp_path: Path) -> None:
    for encoding in ("raw", "gzip", "bzip2"):
        path = raw(tmp_path / "a.nrrd", "spacings: 1 1 1", encoding=encoding)
        path.write_bytes(path.read_bytes().replace(b"sizes: 5 6 7", b"sizes: 5 6 6"))
        image = io.read_one(path)
        np.testing.assert_array_equal(image.data, DATA.T[:6])
        assert "holds more voxels than its header declares" in notes(image)


def test_detached_voxels(tmp_path: Path) -> None:
    nrrd.write(str(tmp_path / "a.nhdr"), DATA, {"spacings": [1, 2, 3], "encoding": "gzip"}, detached_header=True)
    np.testing.assert_array_equal(io.read_one(tmp_path / "a.nhdr").data, DATA.T)
    for k in range(7):
        (tmp_path / f"slice{k}.raw").write_bytes(b"head" + DATA[:, :, k].tobytes(order="F"))
    head = "NRRD0004\ntype: short\ndimension: 3\nsizes: 5 6 7\nendian: little\nencoding: raw\n"
    head += "byte skip: {}\ndata file: {}\n"
    (tmp_path / "b.nhdr").write_text(head.format(4, "slice%d.raw 0 6 1"))
    (tmp_path / "c.nhdr").write_text(head.format(-1, "LIST") + "".join(f"slice{k}.raw\n" for k in range(7)))
    for name in ("b.nhdr", "c.nhdr"):
        np.testing.assert_array_equal(io.read_one(tmp_path / name).data, DATA.T)
    (tmp_path / "slice3.raw").unlink()
    with pytest.raises(ReadError, match=r"b\.nhdr keeps its voxels in slice3\.raw, which is not there"):
        io.read(tmp_path / "b.nhdr")


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_cut_file_is_refused(tmp_path: Path, encoding: str, share: float) -> None:
    data = RNG.normal(size=(20, 20, 20)).astype(np.float32)
    path = raw(tmp_path / "a.nrrd", data=np.zeros(1, np.uint8)).with_name("b.nrrd")
    nrrd.write(str(path), data, {"encoding": encoding})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ReadError, match=r"b\.nrrd .*cut short or damaged"):
        io.read(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [("encoding: raw", "encoding: hex", "packed as 'hex'"), ("type: int16", "type: block", "'block'"),
     ("sizes: 5 6 7", "sizes: 5 6 x", "no sizes"), ("dimension: 3", "dimension: 4", "declares 4 axes"),
     ("spacings: 1 2 3", "spacings: 1 0 3", "voxel size of 0"), ("NRRD0005", "NRRD", "does not begin")],
)  # fmt: skip
def test_what_cannot_be_read_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = raw(tmp_path / "a.nrrd", "spacings: 1 2 3")
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))
    with pytest.raises(ReadError, match=said):
        io.read(path)


def slicer(path: Path, layers: np.ndarray, *segments: tuple[str, int, int]) -> Path:
    """Write layers (layer, x, y, z) as 3D Slicer does; segments are (name, label value, layer)."""
    keys = [line for i, (name, value, layer) in enumerate(segments)
            for line in (f"Segment{i}_ID:=s{i}", f"Segment{i}_Name:={name}", f"Segment{i}_LabelValue:={value}",
                         f"Segment{i}_Layer:={layer}")]  # fmt: skip
    data = layers if len(layers) > 1 else layers[0]
    first = ["none"] if len(layers) > 1 else []
    directions = " ".join([*first, "(1,0,0)", "(0,1,0)", "(0,0,3)"])
    return raw(path, "space: left-posterior-superior", f"space directions: {directions}", *keys, data=data)


def test_segments_of_slicer(tmp_path: Path) -> None:
    layers = np.zeros((2, 7, 8, 9), np.uint8)
    layers[0, 1:4, 1:5, 1:5], layers[0, 5, 5, 5], layers[1, 3:6, 3:7, 3:7] = 1, 4, 1
    (image,) = io.read(slicer(tmp_path / "one.seg.nrrd", layers[:1], ("liver", 1, 0), ("lesion", 4, 0)))
    assert (image.kind, image.metadata["segments"]) == ("labels", {"1": "liver", "4": "lesion"})
    np.testing.assert_array_equal(image.data, layers[0].T)
    parts = (("liver", 1, 0), ("lesion", 4, 0), ("lung", 1, 1))
    images = io.read(slicer(tmp_path / "two.seg.nrrd", layers, *parts))
    right = [layers[0] == 1, layers[0] == 4, layers[1] == 1]
    np.testing.assert_array_equal([np.asarray(i.data) > 0 for i in images], [m.T for m in right])
    with pytest.raises(ReadError, match="3 segments that overlap"):
        io.read_labels(tmp_path / "two.seg.nrrd")
    layers[1] = 0
    layers[1, 6, 7, 8] = 1
    labels = io.read_labels(slicer(tmp_path / "apart.seg.nrrd", layers, *parts))
    assert [int((labels.data == k).sum()) for k in (1, 2, 3)] == [48, 1, 1]


def test_colours_of_segments_come_back(tmp_path: Path) -> None:
    layers = np.zeros((1, 7, 8, 9), np.uint8)
    layers[0, 1:4, 1:5, 1:5], layers[0, 5, 5, 5], layers[0, 6, 5, 5] = 1, 4, 5
    path = slicer(tmp_path / "one.seg.nrrd", layers, ("liver", 1, 0), ("lesion", 4, 0), ("other", 5, 0))
    keys = b"Segment0_Color:=0.866667 0.509804 0.396078\nSegment1_Color:=1 0 0\nSegment2_Color:=red\n\n"
    path.write_bytes(path.read_bytes().replace(b"\n\n", b"\n" + keys, 1))
    image = io.read_one(path)
    assert image.metadata["segment_colours"] == {"1": [221, 130, 101], "4": [255, 0, 0]}
    io.write(tmp_path / "two.seg.nrrd", image)
    header = nrrd.read_header(str(tmp_path / "two.seg.nrrd"))
    for index, name, colour in ((0, "liver", (0.866667, 0.509804, 0.396078)), (1, "lesion", (1, 0, 0))):
        assert header[f"Segment{index}_Name"] == name
        np.testing.assert_allclose([float(v) for v in header[f"Segment{index}_Color"].split()], colour, atol=1e-5)
    assert "Segment2_Color" not in header
    for suffix in (".nii.gz", ".tif", ".mha"):  # where the format has no place for them they lie beside the file
        back = io.read_one(io.write(tmp_path / f"three{suffix}", image))
        assert all(back.metadata[key] == image.metadata[key] for key in ("segments", "segment_colours"))


def test_names_of_segments_come_back(tmp_path: Path) -> None:
    layers = np.zeros((1, 7, 8, 9), np.uint8)
    layers[0, 1:4, 1:5, 1:5], layers[0, 5, 5, 5] = 1, 4
    image = io.read_one(
        slicer(tmp_path / "one.seg.nrrd", layers, ("Leber, rechts \u00e4", 1, 0), ("lesion", 4, 0)), "labels"
    )
    rows = table(image).set_index("name")
    assert rows.loc["lesion", "voxels"] == 1
    io.write(tmp_path / "two.seg.nrrd", image)
    (back,) = io.read(tmp_path / "two.seg.nrrd")
    assert back.metadata["segments"] == {"1": "Leber, rechts \u00e4", "4": "lesion"}
    np.testing.assert_array_equal(back.data, image.data)
    assert sitk.ReadImage(str(tmp_path / "two.seg.nrrd")).GetMetaData("Segment1_LabelValue") == "4"
    io.write(tmp_path / "three.seg.nrrd", Image(layers[0].T, "ZYX", (3, 1, 1), ("millimeter",) * 3, kind="labels"))
    assert io.read(tmp_path / "three.seg.nrrd")[0].metadata["segments"] == {"1": "Segment_1", "4": "Segment_4"}
