"""What is written reads back equal, or is refused with a plain reason and nothing lost."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_medseg import io
from napari_medseg.errors import WriteError
from napari_medseg.image import Image
from napari_medseg.io.files import replacing, write_json
from napari_medseg.io.write import from_text, write, write_table, write_tables

RNG = np.random.default_rng(0)
UM = ("micrometer", "micrometer")


def same(a: Image, b: Image) -> None:
    np.testing.assert_array_equal(np.asarray(a.data), np.asarray(b.data))
    assert a.data.dtype == b.data.dtype
    for name in ("axes", "scale", "units", "kind", "name", "channels", "value_unit"):
        assert getattr(a, name) == getattr(b, name), name
    assert {**a.metadata, "source_file": ""} == {**b.metadata, "source_file": ""}


@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".png", ".npy"])
@pytest.mark.parametrize(("top", "dtype"), [(200, "uint8"), (300, "uint16"), (70_000, "uint32")])
def test_labels_round_trip_in_the_smallest_dtype(tmp_path: Path, suffix: str, top: int, dtype: str) -> None:
    if (suffix, dtype) == (".png", "uint32"):
        return
    data = RNG.integers(0, top, (7, 5)).astype(np.int64)
    data[0, 0] = top
    meta = {"medseg": {"method": "afm-unet", "sha": "abc", "list": [1, 2]}}
    image = Image(data, "YX", (0.3, 0.1), UM, kind="labels", name="cell", metadata=meta)
    path = write(tmp_path / f"cell_labels{suffix}", image)
    read = io.read_one(path, "labels")
    assert read.data.dtype == np.dtype(dtype)
    same(read, image.replace(data=data.astype(dtype)))
    assert read.metadata["source_file"] == str(path)


def test_label_tif_is_compressed_and_calibrated_for_imagej(tmp_path: Path) -> None:
    image = Image(np.ones((400, 300), np.uint8), "YX", (0.5, 0.25), UM, kind="labels")
    path = write(tmp_path / "a.tif", image)
    assert path.stat().st_size < 20_000
    (tmp_path / "a.json").unlink()
    read = io.read(path)[0]
    np.testing.assert_allclose(read.scale, (0.5, 0.25), rtol=1e-6)
    assert read.units == UM
    with tifffile.TiffFile(path) as tiff:
        assert tiff.imagej_metadata is not None
        assert tiff.imagej_metadata["unit"] == "um"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", "int16"])
@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("YX", (6, 5)),
        ("ZYX", (1, 6, 5)),
        ("ZYX", (3, 6, 5)),
        ("TYX", (4, 6, 5)),
        ("TZYX", (2, 3, 6, 5)),
        ("YXC", (6, 5, 3)),
        ("YXC", (6, 5, 2)),
        ("CYX", (5, 6, 4)),
        ("TYXC", (2, 6, 5, 3)),
        ("ZYXC", (2, 6, 5, 4)),
    ],
)
def test_tif_and_npy_keep_every_layout(tmp_path: Path, axes: str, shape: tuple[int, ...], dtype: str) -> None:
    n = len(axes.replace("C", ""))
    data = (RNG.random(shape) * 100).astype(dtype)
    units = tuple("second" if a == "T" else "micrometer" for a in axes.replace("C", ""))
    image = Image(data, axes, tuple(RNG.random(n) + 0.1), units, name="x", value_unit="nm")
    for suffix in (".tif", ".npy"):
        same(io.read(write(tmp_path / f"x{suffix}", image))[0], image)


def test_stack_without_side_car_keeps_its_steps(tmp_path: Path) -> None:
    image = Image(np.zeros((3, 6, 5), np.uint8), "ZYX", (2.0, 0.5, 0.25), ("micrometer",) * 3)
    path = write(tmp_path / "a.tif", image)
    (tmp_path / "a.json").unlink()
    read = io.read(path)[0]
    assert read.axes == "ZYX"
    np.testing.assert_allclose(read.scale, image.scale)


def test_written_movie_labels_stay_labels(tmp_path: Path) -> None:
    """The movie reader takes TIFFs with a time axis, but not those with our side-car."""
    image = Image(RNG.integers(0, 2, (4, 6, 5)), "TYX", (0.04, 1, 1), ("second", "pixel", "pixel"), kind="labels")
    read = io.read(write(tmp_path / "a.tif", image))[0]
    assert (read.kind, read.scale, read.units) == (image.kind, image.scale, image.units)


def test_uncalibrated_stays_in_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", Image(np.zeros((4, 4), np.uint8), "YX"))
    assert not io.read(path)[0].calibrated
    (tmp_path / "a.json").unlink()
    assert not io.read(path)[0].calibrated


@pytest.mark.parametrize("shape", [(6, 5, 3), (6, 5, 4)])
def test_colour_png(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = Image(
        RNG.integers(0, 255, shape).astype(np.uint8), "YXC", name="a", channels=("r", "g", "b", "a")[: shape[2]]
    )
    same(io.read(write(tmp_path / "a.png", image))[0], image)


def test_volume_goes_through_the_volume_writer(tmp_path: Path) -> None:
    image = Image(
        RNG.integers(0, 4, (3, 4, 5)), "ZYX", (3, 2, 1), ("millimeter",) * 3, np.diag([3.0, 2, 1, 1]), "labels"
    )
    path = write(tmp_path / "a.nii.gz", image)
    read = io.read_one(path, "labels")
    np.testing.assert_array_equal(np.asarray(read.data), image.data)
    np.testing.assert_allclose(read.scale, image.scale)
    assert json.loads((tmp_path / "a.json").read_text())["file"] == "a.nii.gz"


def test_side_car_is_strict_json_with_provenance(tmp_path: Path) -> None:
    odd = {"path": tmp_path, "nan": float("nan"), "array": np.arange(2), "scalar": np.float32(0.5), 3: {1}}
    write(tmp_path / "a.tif", Image(np.zeros((4, 4), np.uint8), "YX", metadata={"medseg": odd}))
    text = (tmp_path / "a.json").read_text()
    saved = json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))
    assert saved["metadata"]["medseg"] == {"path": str(tmp_path), "nan": None, "array": [0, 1], "scalar": 0.5, "3": [1]}


def test_a_foreign_or_stale_side_car_is_ignored(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), np.uint8))
    for text in (
        "{",
        "[]",
        '{"scale": [3]}',
        '{"medseg_image": 1, "file": "b.tif"}',
        '{"medseg_image": 1, "file": "a.tif"}',
    ):
        (tmp_path / "a.json").write_text(text)
        assert io.read(tmp_path / "a.tif")[0].scale == (1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "image", "reason"),
    [
        ("a.xyz", Image(np.zeros((4, 4)), "YX"), r"written as \.tif"),
        ("a.png", Image(np.zeros((4, 4), np.float32), "YX"), "PNG holds"),
        ("a.tif", Image(np.full((4, 4), -1), "YX", kind="labels"), "whole numbers"),
        ("a.tif", Image(np.full((4, 4), 0.5), "YX", kind="labels"), "whole numbers"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, name: str, image: Image, reason: str) -> None:
    with pytest.raises(WriteError, match=reason):
        write(tmp_path / name, image)
    assert os.listdir(tmp_path) == []


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WriteError, match="Choose a folder"):
        write(tmp_path / "file" / "a.tif", Image(np.zeros((4, 4), np.uint8), "YX"))
    with pytest.raises(WriteError, match="Choose a folder"):
        write_table(tmp_path / "file" / "a.csv", pd.DataFrame({"label": [1]}))


def test_full_disk_leaves_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image(np.ones((4, 4), np.uint8), "YX", kind="labels")
    path = write(tmp_path / "a.tif", image)
    before = path.read_bytes()

    def full(part: Path, *_: Any, **__: Any) -> None:
        part.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tifffile, "imwrite", full)
    with pytest.raises(WriteError, match="No space left on device"):
        write(path, image.replace(data=image.data * 2))
    assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["a.json", "a.tif"]


def test_an_error_inside_leaves_no_part(tmp_path: Path) -> None:
    def fail() -> None:
        with replacing(tmp_path / "a.txt") as part:
            part.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert os.listdir(tmp_path) == []


def test_table_keeps_headers_with_units(tmp_path: Path) -> None:
    frame = pd.DataFrame({"label": [1, 2], "area (um^2)": [0.1, np.nan]})
    path = write_table(tmp_path / "new" / "t.csv", frame)
    assert path.read_bytes() == b"label,area (um^2)\n1,0.1\n2,\n"
    pd.testing.assert_frame_equal(pd.read_csv(path), frame)


SAID = {
    "notes": ["drawn by hand"],
    "medseg": {"method": "fullnet"},
    "segments": {"1": "left"},
    "segment_colours": {"1": [1, 2, 3]},
    "objects": {"1": {"class": "tumour", "measurements": {"area": 2.0}}},
    "picture": [[0.5, 0, 0], [0, 0.5, 0], [0, 0, 1]],
    "level": 1,
}


@pytest.mark.parametrize("wrong", [None, -1, "x", [1], [None], {"x": 1}, {"1": None}, {"1": [1, {"a": 2}]}, [[1.0]]])
@pytest.mark.parametrize("key", SAID)
def test_what_a_side_car_says_wrongly_is_left_out_and_said(tmp_path: Path, key: str, wrong: Any) -> None:
    if key == "medseg" and isinstance(wrong, dict):
        return  # any dict is provenance
    image = Image(np.eye(5, dtype=np.uint8), "YX", (0.5, 0.5), UM, kind="labels", name="a", metadata=SAID)
    path = write(tmp_path / "a.tif", image)
    car = tmp_path / "a.json"
    document = json.loads(car.read_text("utf-8"))
    assert {name: document["metadata"][name] for name in SAID} == SAID
    document["metadata"][key] = wrong
    car.write_text(json.dumps(document), "utf-8")
    found = io.read(path)[0]
    np.testing.assert_array_equal(found.data, image.data)
    assert (found.scale, found.kind) == (image.scale, image.kind)
    assert key not in found.metadata or key == "notes"
    assert f"says of {key} is damaged and left out" in " ".join(found.metadata["notes"])
    for kept in SAID.keys() - {key, "notes", "level"}:
        assert found.metadata[kept] == SAID[kept]
    write(tmp_path / "b.geojson", found)


def test_line_ends_within_a_cell_part_no_row(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", pd.DataFrame({"a": ["x\ry", "x\r\ny", "x\ny"], "b": [1, 2, 3]}))
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["a", "b"], ["x\ny", "1"], ["x\ny", "2"], ["x\ny", "3"]]


@pytest.mark.parametrize("text", ["a\x00b", "\x1b[31m", "\ud800", "\udcf6.png", "\uffff", "\ufffe", "=1+1"])
def test_a_workbook_takes_any_text_in_cells_and_headings(tmp_path: Path, text: str) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    write_tables(tmp_path / "t.xlsx", {"a": pd.DataFrame({text: [text]})})
    heading, cell = (row[0] for row in openpyxl.load_workbook(tmp_path / "t.xlsx")["a"].iter_rows())
    assert heading.value == cell.value
    assert heading.data_type == cell.data_type == "s"


def test_json_of_anything(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", {"x": np.int64(3), "µ": "µm"})
    assert json.loads(path.read_text("utf-8")) == {"x": 3, "µ": "µm"}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.float64])
@pytest.mark.parametrize("unit", ["nanometer", "micrometer", "millimeter"])
def test_pixel_size_of_a_tif_is_in_the_file_itself(tmp_path: Path, dtype: Any, unit: str) -> None:
    """Other programs read the tags (TIFF 6.0) or ImageJ's unit, not our side-car; tifffile reads them here."""
    um = {"nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3}[unit]
    image = Image(np.ones((6, 5), dtype), "YX", (0.5, 0.25), (unit, unit), name="a")
    path = write(tmp_path / "a.tif", image)
    path.with_suffix(".json").unlink()
    back = io.read(path)[0]
    np.testing.assert_allclose(back.scale, (0.5 * um, 0.25 * um), rtol=1e-5)
    assert back.units == ("micrometer",) * 2
    with tifffile.TiffFile(path) as file:
        count, length = file.pages[0].tags["XResolution"].value
        unit_um = 1e4 if not file.is_imagej else {"nm": 1e-3, "um": 1.0, "mm": 1e3}[file.imagej_metadata["unit"]]
    assert length / count * unit_um == pytest.approx(0.25 * um, rel=1e-5)


@pytest.mark.parametrize("units", [("pixel", "micrometer", "micrometer"), ("second", "pixel", "pixel")])
def test_each_axis_of_a_tif_film_keeps_its_unit_or_its_lack(tmp_path: Path, units: tuple[str, ...]) -> None:
    scale = tuple(1.0 if unit == "pixel" else 0.25 for unit in units)
    path = write(tmp_path / "a.tif", Image(np.zeros((3, 6, 5), np.uint8), "TYX", scale, units, name="a"))
    path.with_suffix(".json").unlink()
    back = io.read(path)[0]
    assert (back.scale, back.units) == (scale, units)


def test_a_side_car_never_beats_a_file_written_over_by_another_program(tmp_path: Path) -> None:
    image = Image(np.ones((8, 9), np.uint8), "YX", (0.5, 0.5), ("micrometer",) * 2, kind="labels", name="a")
    write(tmp_path / "a.tif", image)
    assert io.read_one(tmp_path / "a.tif").scale == (0.5, 0.5)
    other = {"imagej": True, "resolution": (4, 4), "metadata": {"unit": "um"}}
    tifffile.imwrite(tmp_path / "a.tif", np.full((8, 9), 3, np.uint8), **other)
    found = io.read_one(tmp_path / "a.tif")
    assert found.scale == (0.25, 0.25)
    assert found.data.max() == 3


CELLS = ["=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", "-2+3", "\tx", "-0.5", "1e3", "cell 1", "'quoted", "", "a=b"]


def test_names_are_text_in_a_workbook_and_in_csv_by_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    frame = pd.DataFrame({"=name": CELLS, "area": np.arange(len(CELLS)) - 0.5})
    write_tables(tmp_path / "t.xlsx", {"objects": frame})
    rows = list(openpyxl.load_workbook(tmp_path / "t.xlsx")["objects"].iter_rows())
    assert not any(cell.data_type == "f" for row in rows for cell in row)
    assert [row[0].value or "" for row in rows[1:]] == CELLS
    path = tmp_path / "t.csv"

    def read_back() -> list[list[str]]:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file))

    write_table(path, frame)
    assert [row[0] for row in read_back()] == ["=name", *CELLS]
    monkeypatch.setenv("MEDSEG_CSV_TEXT", "1")
    write_table(path, frame)
    escaped = read_back()
    assert [row[0] for row in escaped] == ["'=name", *(f"'{cell}" for cell in CELLS[:5]), *CELLS[5:]]
    assert [row[1] for row in escaped[1:3]] == ["-0.5", "0.5"]  # numbers stay numbers
    assert [from_text(row[0]) for row in escaped[1:]] == CELLS
    write_table(path, pd.read_csv(path, dtype=str, keep_default_na=False))  # read and written again: the same
    assert read_back() == escaped
