"""Names, reasons and decisions as people, systems and spreadsheets write them, in the tables of a batch."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from napari_medseg.batch import ReviewSheet, predict_files
from napari_medseg.batch.tables import read_review
from napari_medseg.errors import DataError
from napari_medseg.io import read, read_one
from napari_medseg.io.files import inside
from napari_medseg.jobs import run
from napari_medseg.method import Model
from napari_medseg.settings import PredictSettings

CPU = PredictSettings(device="cpu")


def predicted(folder: Path, model: Model, *names: bytes) -> Path:
    source, out = folder / "in", folder / "out"
    source.mkdir(exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (24, 20), np.uint8)
    for name in names:
        with open(os.fsencode(source) + b"/" + name, "wb") as file:
            Pillow.fromarray(noise).save(file, format="PNG")
    run(predict_files(model, [source], out, CPU))
    return out


def correct_all(out: Path) -> None:
    drawn = np.zeros((24, 20), np.uint8)
    drawn[3:9, 4:11] = 7
    sheet = ReviewSheet(out)
    for index, entry in enumerate(sheet.entries):
        image = read(entry.image)[0]
        run(sheet.correct(index, image.labels_like(drawn), image))
        sheet.decide(index, "accepted", f"case {index}")


def objects(out: Path) -> list[str]:
    """Return the images of the rows of ``measurements.csv``, as Python's reader finds them."""
    with (out / "measurements.csv").open(encoding="utf-8", newline="") as file:
        return [row["image"] for row in csv.DictReader(file)]


@pytest.mark.skipif(sys.platform != "linux", reason="such names exist on Linux only")
def test_names_that_are_no_text_or_hold_line_ends_keep_one_row_for_each_object(tmp_path: Path, model: Model) -> None:
    names = (b"gr\xf6.png", b"cr\rx.png", b"nl\nx.png", b"vt\x0bx.png", "ls\u2028x.png".encode(), b"a b.png")
    out = predicted(tmp_path, model, *names)
    for _ in range(2):
        correct_all(out)  # one object in each
        assert len(objects(out)) == len(set(objects(out))) == len(names)
    assert {(e.decision, e.corrected, e.reason[:4]) for e in ReviewSheet(out).entries} == {("accepted", True, "case")}
    assert len(read_review(out)) == len(names)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_reason_of_several_lines_stays_in_its_row(tmp_path: Path, model: Model, end: str) -> None:
    """A word processor ends lines with a vertical tab, a PDF with U+2028; str.splitlines takes each as the end."""
    out = predicted(tmp_path, model, b"a.png", b"b.png")
    correct_all(out)
    ReviewSheet(out).decide(0, "excluded", f"blurred{end}and dark")
    first, second = ReviewSheet(out).entries
    assert (first.decision, first.corrected) == ("excluded", True)
    assert first.reason in (f"blurred{end}and dark", "blurred\nand dark")
    assert (second.decision, second.corrected) == ("accepted", True)
    assert len(objects(out)) == 2


def test_a_decision_typed_into_a_spreadsheet_counts(tmp_path: Path, model: Model) -> None:
    out = predicted(tmp_path, model, b"a.png", b"b.png")
    sheet = ReviewSheet(out)
    sheet.decide(0, "accepted")
    sheet.decide(1, "excluded")
    path = out / "review.csv"
    path.write_text(path.read_text("utf-8").replace("accepted", "Accepted ").replace("excluded", "EXCLUDED"), "utf-8")
    assert [entry.decision for entry in ReviewSheet(out).entries] == ["accepted", "excluded"]
    assert [pair.image.name for pair in ReviewSheet(out).pairs()] == ["a.png"]


def test_labels_changed_elsewhere_stay_though_their_size_is_the_same(tmp_path: Path, model: Model) -> None:
    out = predicted(tmp_path, model, b"a.png")
    labels = out / "a_labels.tif"
    drawn = np.array(read_one(labels).data)
    content = labels.read_bytes()
    drawn[2:4, 2:4] = 1 - drawn[2:4, 2:4]
    tifffile.imwrite(labels, drawn, compression="zlib")
    saved = labels.read_bytes()
    labels.write_bytes(saved.ljust(len(content), b"\0"))  # a file may end with bytes that nothing refers to
    if labels.stat().st_size > len(content):
        pytest.skip("this program packs them worse")
    for settings in (CPU, CPU.updated(overlap=3)):
        run(predict_files(model, [tmp_path / "in"], out, settings))
        np.testing.assert_array_equal(read_one(labels, "labels").data, drawn)


def test_a_pipe_is_refused_in_words(tmp_path: Path, model: Model) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names here")
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match="is a pipe or a device"):
        run(predict_files(model, [tmp_path / "a.png"], tmp_path / "out", CPU))


def test_a_name_with_a_null_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names a file outside"):
        inside(tmp_path, "a\0b")


def test_tables_are_exported_into_a_new_folder(tmp_path: Path, model: Model) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    out = predicted(tmp_path, model, b"=1+1.png")
    run(ReviewSheet(out).export(tmp_path / "new" / "folder", ".xlsx"))
    book = openpyxl.load_workbook(tmp_path / "new" / "folder" / "results.xlsx")
    cells = [cell for sheet in book for row in sheet for cell in row if "1+1" in str(cell.value)]
    assert {cell.data_type for cell in cells} == {"s"}
