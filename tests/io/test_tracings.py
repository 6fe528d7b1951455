from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_medseg import Image, write
from napari_medseg.errors import ReadError, WriteError
from napari_medseg.io import read, read_one
from napari_medseg.io.outlines.tracings import draw, read_tracing, write_tracings
from napari_medseg.measure import measure, summarise

TRUNK = np.array([[10.0, 5], [12, 30], [15, 60], [20, 90]])
BRANCH = np.array([[12.0, 30], [40, 35], [60, 50]])
OTHER = np.array([[80.0, 1], [81, 2]])
PATHS, CLASSES = [TRUNK, BRANCH, OTHER], ["main", "branch", "nerve"]


@pytest.mark.parametrize("suffix", [".swc", ".ndf"])
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    write_tracings(tmp_path / f"a{suffix}", PATHS, CLASSES)
    tracing = read_tracing(tmp_path / f"a{suffix}")
    assert (tracing.classes, tracing.unit) == (CLASSES, "pixel")
    for found, expected in zip(tracing.paths, PATHS, strict=True):
        np.testing.assert_allclose(found, expected)


def test_swc_keeps_fractions_and_scale(tmp_path: Path) -> None:
    path = np.array([[0.25, 1.75], [2.5, 3.125]])
    write_tracings(tmp_path / "a.swc", [path], scale=(2.0, 0.5))
    text = (tmp_path / "a.swc").read_text().splitlines()
    assert text[3] == "1 0 0.875 0.5 0 1 -1"
    tracing = read_tracing(tmp_path / "a.swc")
    assert (tracing.unit, tracing.step) == ("micrometer", (2.0, 0.5))
    np.testing.assert_allclose(tracing.in_pixels((2.0, 0.5)).paths[0], path)


SNT = "# Exported from SNT v4.2.1\n# All positions and radii in microns\n# Voxel separation (x,y,z): 0.5, 0.25, 1.0\n"
LINE = "1 0 10 50 0 1 -1\n2 0 110 50 0 1 1\n"


@pytest.mark.parametrize(
    ("head", "unit", "step"),
    [
        (SNT, "micrometer", (0.25, 0.5)),
        ("# positions in \u00b5m\n", "micrometer", None),
        ("# All positions and radii in pixels\n", "pixel", None),
        ("# id type x y z radius parent\n", "", None),
    ],
)
def test_swc_states_its_unit(tmp_path: Path, head: str, unit: str, step: tuple[float, float] | None) -> None:
    (tmp_path / "a.swc").write_text(head + LINE, encoding="utf-8")
    tracing = read_tracing(tmp_path / "a.swc")
    assert (tracing.unit, tracing.step) == (unit, step)


@pytest.mark.parametrize(("name", "per_micron"), [("nanometers", 1e3), ("nm", 1e3), ("mm", 1e-3), ("microns", 1.0)])
def test_swc_of_another_unit_of_length_is_in_micrometres(tmp_path: Path, name: str, per_micron: float) -> None:
    """SNT states positions and voxels in the unit of its picture."""
    x, y, end = (f"{value * per_micron:.10g}" for value in (10, 50, 110))
    step = ", ".join(f"{value * per_micron:.10g}" for value in (0.5, 0.25, 1))
    head = f"# Exported from SNT v4.2.1\n# All positions and radii in {name}\n# Voxel separation (x,y,z): {step}\n"
    (tmp_path / "a.swc").write_text(f"{head}1 0 {x} {y} 0 1 -1\n2 0 {end} {y} 0 1 1\n")
    tracing = read_tracing(tmp_path / "a.swc")
    np.testing.assert_allclose(tracing.paths[0], [[50, 10], [50, 110]])
    np.testing.assert_allclose(tracing.step, (0.25, 0.5))
    assert summarise("nerve", read_one(tmp_path / "a.swc"))["total length [mm]"].item() == pytest.approx(0.1)


def test_swc_lies_on_its_picture(tmp_path: Path) -> None:
    """SWC is in micrometres by definition; a picture of 0.5 um a pixel has twice the numbers."""
    um = ("micrometer",) * 2
    write(tmp_path / "nerve.tif", Image(np.zeros((300, 300), np.uint8), "YX", (0.5, 0.5), um))
    for head, said in ((SNT, False), ("# id type x y z radius parent\n", True)):
        (tmp_path / "nerve.swc").write_text(head + LINE)
        labels = read_one(tmp_path / "nerve.swc", "labels")
        rows, columns = np.nonzero(labels.data)
        assert (set(rows), columns.min(), columns.max()) == ({100}, 20, 220)
        assert any("as SWC defines them" in note for note in labels.metadata.get("notes", ())) == said
    (tmp_path / "alone.swc").write_text("# id type x y z radius parent\n" + LINE)
    alone = read_one(tmp_path / "alone.swc", "labels")
    assert set(np.nonzero(alone.data)[0]) == {50}
    assert "taken for pixels" in alone.metadata["notes"][0]


def test_swc_branch_is_a_child_of_the_trunk(tmp_path: Path) -> None:
    write_tracings(tmp_path / "a.swc", [TRUNK, BRANCH], ["main", "branch"])
    rows = [line.split() for line in (tmp_path / "a.swc").read_text().splitlines()[2:]]
    assert len(rows) == 6
    assert [row[6] for row in rows] == ["-1", "1", "2", "3", "2", "5"]


def test_path_that_continues_another_stays_itself(tmp_path: Path) -> None:
    continued = np.array([[20.0, 90], [30, 99]])
    write_tracings(tmp_path / "a.swc", [TRUNK, continued], ["main", "branch"])
    tracing = read_tracing(tmp_path / "a.swc")
    assert tracing.classes == ["main", "branch"]
    np.testing.assert_allclose(tracing.paths[1], continued)


def test_ndf_as_neuronj_writes_it(tmp_path: Path) -> None:
    text = (
        "// NeuronJ Data File - DO NOT CHANGE\n1.4.3\n// Parameters\n1\n2.0\n0.7\n4\n2500\n5\n5\n1\n"
        "// Type names and colors\nDefault\n4\nAxon\n7\n// Cluster names\nDefault\nCluster 01\n"
        "// Tracing N1\n1\n3\n0\nDefault\n// Segment 1 of Tracing N1\n3\n4\n5\n6\n"
        "// Segment 2 of Tracing N1\n5\n6\n9\n9\n// Tracing N2\n2\n1\n0\nDefault\n"
        "// Segment 1 of Tracing N2\n1\n2\n// End of NeuronJ Data File\n"
    )
    (tmp_path / "a.ndf").write_text(text)
    tracing = read_tracing(tmp_path / "a.ndf")
    assert [p.tolist() for p in tracing.paths] == [[[4, 3], [6, 5], [9, 9]], [[2, 1]]]
    assert tracing.classes == ["main", "nerve"]


def test_ndf_types_go_by_the_names_that_a_person_gave_them(tmp_path: Path) -> None:
    """NeuronJ lets its users rename the types; a tertiary nerve is a branch as a secondary one is."""
    names = ["Default", "Axon", "Dendrite", "Branch", "Main nerve", "Tertiary"]
    lines = ["// NeuronJ Data File - DO NOT CHANGE", "1.4.3", "// Type names and colors"]
    lines += [word for name in names for word in (name, "4")]
    for k in range(6):
        lines += [f"// Tracing N{k}", str(k), str(k), "0", "Default", f"// Segment 1 of Tracing N{k}", "1", "2"]
    (tmp_path / "a.ndf").write_text("\n".join([*lines, "// End of NeuronJ Data File"]))
    assert read_tracing(tmp_path / "a.ndf").classes == ["nerve", "nerve", "nerve", "branch", "main", "branch"]


def test_an_axon_of_another_program_is_not_a_main_nerve_by_its_type(tmp_path: Path) -> None:
    """Type 2 is *axon* by the definition of SWC: of a trunk of 300 and a twig of 80, both so, one is a main nerve."""
    trunk = "".join(f"{k + 1} 2 {20 + 10 * k} 100 0 1 {k or -1}\n" for k in range(31))
    twig = "".join(f"{32 + k} 2 170 {110 + 10 * k} 0 1 {31 + k if k else 16}\n" for k in range(8))
    (tmp_path / "a.swc").write_text("# All positions in pixels\n" + trunk + twig)
    assert read_tracing(tmp_path / "a.swc").classes == ["nerve", "nerve"]
    row = summarise("nerve", read(tmp_path / "a.swc")[0]).iloc[0]
    assert (row["main nerves"], row["branches"], row["total length [px]"]) == (1, 1, 380)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("# SCALE 1.0 1.0 1.0\n# OFFSET 0 0 0\n", None),
        ("# SCALE 0.5 0.5 1.0\n", "SCALE 0.5 0.5, which is not applied"),
        ("# OFFSET 10 20 0\n", "OFFSET 10 20, which is not applied"),
    ],
)
def test_scale_and_offset_of_an_swc_are_said(tmp_path: Path, head: str, said: str | None) -> None:
    (tmp_path / "a.swc").write_text(head + "# in microns\n" + LINE)
    image = read(tmp_path / "a.swc")[0]
    assert [path[0] for path in image.metadata["paths"]] == [[50, 10]]
    assert (said or "nothing") in " ".join([*image.metadata["notes"], "nothing"])
    assert ("applied" in str(image.metadata["notes"])) == (said is not None)


def test_nothing_traced(tmp_path: Path) -> None:
    for suffix in (".swc", ".ndf"):
        write_tracings(tmp_path / f"a{suffix}", [])
        assert read_tracing(tmp_path / f"a{suffix}").paths == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.swc", "1 2 3\n"),
        ("a.swc", "1 2 x 4 0 1 -1\n"),
        ("a.swc", "1 2 3 4 0 1 7\n"),
        ("a.swc", "1 2 3 4 0 1 2\n2 2 3 4 0 1 1\n"),
        ("a.swc", "1 2 nan 4 0 1 -1\n"),
        ("a.swc", "1 2 1e9 4 0 1 -1\n"),
        ("a.ndf", "hello\n"),
        ("a.ndf", "// NeuronJ Data File\n// Tracing N1\n"),
        ("a.ndf", "// NeuronJ Data File\n// Tracing N1\n1\n0\n0\nD\n// Segment 1 of Tracing N1\n1\n2\n3\n4\n"),
        ("a.ndf", "// NeuronJ Data File\n// Tracing N1\n1\n0\n0\nD\n// Segment 1 of Tracing N1\n1\n2\n3\n"),
    ],
)
def test_damaged_tracings_are_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ReadError, match=name):
        read_tracing(tmp_path / name)


def test_unknown_suffix_and_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"\.swc or \.ndf"):
        read_tracing(tmp_path / "a.txt")
    with pytest.raises(WriteError, match=r"\.swc or \.ndf"):
        write_tracings(tmp_path / "a.txt", PATHS)
    with pytest.raises(WriteError, match="one class for each"):
        write_tracings(tmp_path / "a.swc", PATHS, ["main"])
    with pytest.raises(WriteError, match="could not be written"):
        write_tracings(tmp_path / "absent" / "a.swc", PATHS)


def test_draw_leaves_out_what_lies_outside() -> None:
    mask = draw([np.array([[2.0, -3], [2, 30]])], (5, 10))
    assert mask[2].all()
    assert mask.sum() == 10


@pytest.mark.parametrize("beside", [True, False])
def test_swc_of_snt_counts_micrometres(tmp_path: Path, beside: bool) -> None:
    """Its header states unit and pixel size; x 10 to 110 um at y 25 um are columns 20 to 220 of row 100."""
    nodes = "".join(f"{k + 1} 0 {10 + 10 * k}.0 25.0 0.0 1.0 {k or -1}\n" for k in range(11))
    (tmp_path / "a.swc").write_text(SNT + nodes)
    if beside:
        picture = np.zeros((300, 300), np.uint8)
        tifffile.imwrite(tmp_path / "a.tif", picture, imagej=True, resolution=(2, 4), metadata={"unit": "um"})
    image = read(tmp_path / "a.swc")[0]
    assert (image.scale, image.units) == ((0.25, 0.5), ("micrometer",) * 2)
    np.testing.assert_array_equal(np.argwhere(image.data), [(100, column) for column in range(20, 221)])
    assert summarise("nerve", image)["total length [mm]"][0] == pytest.approx(0.1)


def test_a_tracing_is_measured_as_drawn(tmp_path: Path) -> None:
    """Short branches are neither pruned nor classified anew."""
    trunk, twig = np.array([[50.0, 20], [50, 80]]), np.array([[50.0, 40], [42, 40]])
    write_tracings(tmp_path / "a.ndf", [trunk, twig], ["main", "branch"])
    image = read(tmp_path / "a.ndf")[0]
    row = summarise("nerve", image).iloc[0]
    assert (row["main nerves"], row["branches"], row["total length [px]"]) == (1, 1, 68)
    assert measure("nerve", image)["length [px]"].tolist() == [60, 8]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_tracings_in_the_encodings_of_windows(tmp_path: Path, encoding: str) -> None:
    text = "# positions in \u00b5m\n1 0 10 20 0 1 -1\n2 0 30 20 0 1 1\n"
    (tmp_path / "a.swc").write_text(text, encoding=encoding)
    tracing = read_tracing(tmp_path / "a.swc")
    assert tracing.unit == "micrometer"
    np.testing.assert_array_equal(tracing.paths[0], [[20, 10], [20, 30]])
