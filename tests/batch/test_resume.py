"""What a second batch into a folder keeps, makes again and refuses."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dicom_files as d
import nibabel
import numpy as np
import pandas as pd
import pytest
import tifffile
from shorthand import noise

from napari_medseg.batch import ReviewSheet, name_cases, predict_files
from napari_medseg.batch.inputs import source_files
from napari_medseg.batch.review import ACCEPTED, EXCLUDED
from napari_medseg.batch.tables import marked, read_review, write_decision
from napari_medseg.errors import DataError, MedSegError, WriteError
from napari_medseg.io import read, read_one, write
from napari_medseg.io.files import inside, portable
from napari_medseg.io.identity import fingerprint, is_same
from napari_medseg.jobs import run
from napari_medseg.method import Model
from napari_medseg.settings import PredictSettings

CPU = PredictSettings(device="cpu")


class Batch:
    """Two pictures and their results."""

    def __init__(self, folder: Path, model: Model) -> None:
        self.model, self.source, self.out = model, folder / "in", folder / "out"
        self.a, self.b = (noise(self.source / f"{name}.png", k) for k, name in enumerate("ab"))
        self.predict()

    def predict(self, settings: PredictSettings = CPU, **options: Any) -> dict[str, Any]:
        return run(predict_files(self.model, [self.source], self.out, settings, **options))

    def labels(self, name: str = "a") -> np.ndarray:
        return np.asarray(read_one(self.out / f"{name}_labels.tif").data)

    def correct(self) -> np.ndarray:
        """Draw the labels of `a` by hand and accept `b`."""
        drawn = np.zeros((24, 20), np.uint8)
        drawn[3:9, 4:11] = 7
        sheet, image = ReviewSheet(self.out), read(self.a)[0]
        run(sheet.correct(0, image.labels_like(drawn), image))
        sheet.decide(1, ACCEPTED)
        return drawn

    def stamps(self) -> dict[str, int]:
        return {p.name: p.stat().st_mtime_ns for p in self.out.glob("*_labels.tif")}


@pytest.fixture
def batch(tmp_path: Path, model: Model) -> Batch:
    return Batch(tmp_path, model)


# ---- sources
def test_nothing_is_done_twice(batch: Batch) -> None:
    before = batch.stamps()
    batch.predict()
    assert batch.stamps() == before


def test_a_record_that_lacks_a_newer_setting_goes_on(batch: Batch) -> None:
    before, path = batch.stamps(), batch.out / "run.json"
    record = json.loads(path.read_text())
    del record["settings"]["adapt"]
    path.write_text(json.dumps(record))
    batch.predict()
    assert batch.stamps() == before
    batch.predict(CPU.updated(adapt=False))
    assert batch.stamps() != before


def test_another_picture_of_the_same_name_is_predicted(batch: Batch) -> None:
    expected = Batch(batch.source.parent / "other", batch.model)
    noise(expected.a, 5)
    expected.predict()
    before = batch.stamps()
    shutil.copy(expected.a, batch.a)
    batch.predict()
    assert batch.stamps()["b_labels.tif"] == before["b_labels.tif"]
    np.testing.assert_array_equal(batch.labels(), expected.labels())


def test_another_picture_of_the_same_size_and_time_is_predicted(batch: Batch) -> None:
    np.save(batch.source / "c.npy", np.zeros((24, 20), np.uint8))
    batch.predict()
    path, before = batch.source / "c.npy", batch.stamps()
    old = path.stat()
    np.save(path, np.eye(24, 20, dtype=np.uint8))
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert path.stat().st_size == old.st_size
    batch.predict()
    assert {name for name in before if before[name] != batch.stamps()[name]} == {"c_labels.tif"}


def test_a_picture_that_was_touched_or_copied_is_still_the_same(batch: Batch) -> None:
    before = batch.stamps()
    content = batch.a.read_bytes()
    batch.a.unlink()
    batch.a.write_bytes(content)
    os.utime(batch.b, (1, 1))
    batch.predict()
    assert batch.stamps() == before


# ---- whole files
FILES = ["a_labels.tif", "a_labels.json", "a_probabilities.tif", "a_probabilities.json", "a_measurements.csv"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage",
    [Path.unlink, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(bytes(path.stat().st_size))],
    ids=["missing", "empty", "zeros"],
)
def test_what_is_missing_or_empty_is_made_again(batch: Batch, name: str, damage: Callable[[Path], Any]) -> None:
    before = {path.name: path.read_bytes() for path in batch.out.glob("*_*")}
    damage(batch.out / name)
    batch.predict()
    after = {path.name: path.read_bytes() for path in batch.out.glob("*_*")}
    assert after.keys() == before.keys()
    assert all(after[key] == before[key] for key in before if not key.endswith("_labels.json"))
    images = pd.read_csv(batch.out / "measurements.csv")["image"]
    assert set(images) == {"a.png", "b.png"}


def test_labels_that_another_program_changed_stay_and_it_is_said(batch: Batch) -> None:
    import tifffile

    drawn = np.arange(480, dtype=np.uint16).reshape(24, 20)
    tifffile.imwrite(batch.out / "a_labels.tif", drawn)
    record = batch.predict(CPU.updated(tta=True))
    np.testing.assert_array_equal(batch.labels(), drawn)
    assert "a_labels.tif was changed by another program" in " ".join(record["notes"])


def test_a_result_folder_removed_meanwhile_is_no_success(batch: Batch, tmp_path: Path) -> None:
    out = tmp_path / "late"
    for progress in predict_files(batch.model, [batch.source], out, CPU):
        if progress.message.startswith("a.png: done"):
            shutil.rmtree(out)
    files = json.loads((out / "run.json").read_text(encoding="utf-8"))["files"]
    assert {Path(key).name: row["status"] for key, row in files.items()} == {"a.png": "failed", "b.png": "done"}
    assert "removed while the batch ran" in files[str(batch.a)]["reason"]


# ---- reviewed labels
SPREADSHEETS: dict[str, Callable[[str], bytes]] = {
    "byte order mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16 with tabs": lambda text: text.replace(",", "\t").encode("utf-16"),
    "semicolons": lambda text: text.replace(",", ";").encode(),
    "sep line": lambda text: f"sep=;\n{text.replace(',', ';')}".encode(),
    "Windows code page": lambda text: f"{text}\nC:/Bilder/Käse.png,x.tif,,,no\n".encode("cp1252"),
    "capitals": lambda text: text.replace("image,labels", "Image,Labels").encode(),
    "TRUE": lambda text: text.replace("yes", "TRUE").encode(),
    "renamed header": lambda text: text.replace("image,", "Bild,").encode(),
    "no header": lambda text: text.partition("\n")[2].encode(),
    "empty": lambda text: b"",
    "zero bytes": lambda text: b"\0" * 64,
    "a workbook": lambda text: b"PK\x03\x04" + bytes(range(256)),
    "gone": lambda text: b"gone",
}


LOST = ("renamed header", "no header", "empty", "zero bytes", "a workbook")


@pytest.mark.parametrize("name", SPREADSHEETS)
@pytest.mark.parametrize("settings", [CPU, CPU.updated(tta=True)])
def test_reviewed_labels_survive_whatever_a_spreadsheet_did(batch: Batch, name: str, settings: PredictSettings) -> None:
    drawn, accepted = batch.correct(), (batch.out / "b_labels.tif").read_bytes()
    table = batch.out / "review.csv"
    table.write_bytes(SPREADSHEETS[name](table.read_text(encoding="utf-8")))
    if name == "gone":
        table.unlink()
    if name in LOST:
        with pytest.raises(DataError, match=r"review\.csv is no review table any more"):
            batch.predict(settings, resume=False)
    else:
        batch.predict(settings, resume=False)
        assert not batch.predict(settings)["files"][str(batch.a)].get("reason")
        assert [entry.decision for entry in ReviewSheet(batch.out).entries] == ["", ACCEPTED]
        assert [entry.corrected for entry in ReviewSheet(batch.out).entries] == [True, False]
    np.testing.assert_array_equal(batch.labels(), drawn)
    assert (batch.out / "b_labels.tif").read_bytes() == accepted


@pytest.mark.parametrize("names", ["run.json", "review.csv", "run.json review.csv", "a_labels.json run.json"])
def test_reviewed_labels_survive_without_record_table_or_side_car(batch: Batch, names: str) -> None:
    drawn = batch.correct()
    for name in names.split():
        (batch.out / name).unlink()
    batch.predict()
    np.testing.assert_array_equal(batch.labels(), drawn)


def test_reviewed_labels_of_another_picture_keep_their_name(batch: Batch) -> None:
    drawn = batch.correct()
    (batch.out / "run.json").unlink()
    (batch.out / "review.csv").unlink()
    other = noise(batch.source.parent / "elsewhere" / "a.png", 9)
    record = run(predict_files(batch.model, [other], batch.out, CPU))
    assert record["files"][str(other)]["labels"] != "a_labels.tif"
    np.testing.assert_array_equal(batch.labels(), drawn)


@pytest.mark.parametrize("written", ["by another program", "by the window"])
def test_labels_drawn_by_hand_where_results_go_stay(tmp_path: Path, model: Model, written: str) -> None:
    """As where a folder of pictures with their annotations is also that of the results."""
    source = noise(tmp_path / "a.png")
    drawn = np.zeros((24, 20), np.uint8)
    drawn[3:9, 4:11] = 7
    if written == "by the window":
        write(tmp_path / "a_labels.tif", read(source)[0].labels_like(drawn))
    else:
        tifffile.imwrite(tmp_path / "a_labels.tif", drawn)
    for again in range(2):
        record = run(predict_files(model, [source], tmp_path, CPU))
        np.testing.assert_array_equal(read_one(tmp_path / "a_labels.tif", "labels").data, drawn)
        (row,) = record["files"].values()
        assert row["labels"] != "a_labels.tif"
        assert (tmp_path / row["labels"]).is_file()
        assert again or "a_labels.tif is there already" in record["notes"][0]


def test_results_without_a_record_are_made_again_under_their_name(batch: Batch) -> None:
    (batch.out / "run.json").unlink()
    record = batch.predict()
    assert {row["labels"] for row in record["files"].values()} == {"a_labels.tif", "b_labels.tif"}


def test_a_picture_that_changed_after_its_review_is_named(batch: Batch) -> None:
    drawn = batch.correct()
    noise(batch.a, 9)
    record = batch.predict()
    np.testing.assert_array_equal(batch.labels(), drawn)
    assert "a.png changed since the labels a_labels.tif were reviewed" in " ".join(record["notes"])


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(bytes(path.stat().st_size))])
def test_lost_tables_of_reviewed_labels_are_measured_again(batch: Batch, damage: Callable[[Path], Any]) -> None:
    batch.correct()
    damage(batch.out / "a_measurements.csv")
    batch.predict()
    table = pd.read_csv(batch.out / "a_measurements.csv")
    assert (table["label"].tolist(), table["voxels"].tolist()) == ([7], [42])
    assert set(pd.read_csv(batch.out / "measurements.csv")["image"]) == {"a.png", "b.png"}


def test_reviewed_labels_that_are_damaged_are_made_again_and_reviewed_again(batch: Batch) -> None:
    batch.correct()
    path = batch.out / "a_labels.tif"
    path.write_bytes(path.read_bytes()[:40])
    record = batch.predict()
    assert "must be reviewed again" in " ".join(record["notes"])
    assert str(batch.a) not in read_review(batch.out)
    assert batch.labels().shape == (24, 20)


# ---- two at once
def test_a_second_batch_into_the_folder_is_refused_in_words(batch: Batch) -> None:
    job = predict_files(batch.model, [noise(batch.source / "c.png", 4)], batch.out, CPU)
    next(job)
    with pytest.raises(WriteError, match="Another process or window"):
        batch.predict()
    run(job)
    assert len(batch.predict()["files"]) == 3


def test_a_review_while_the_batch_runs_loses_nothing(batch: Batch) -> None:
    noise(batch.source / "c.png", 4)
    job = predict_files(batch.model, [batch.source], batch.out, CPU)
    next(job)
    sheet = ReviewSheet(batch.out)
    drawn = batch.correct()
    run(job)
    sheet.decide(1, EXCLUDED, "blurred")  # a window that was opened before
    files = json.loads((batch.out / "run.json").read_text(encoding="utf-8"))["files"]
    assert [row["status"] for row in files.values()] == ["done"] * 3
    np.testing.assert_array_equal(batch.labels(), drawn)
    said = read_review(batch.out)
    assert said[str(batch.a)]["corrected"] == "yes"
    assert said[str(batch.b)]["reason"] == "blurred"


def test_two_windows_that_review_keep_both_decisions(batch: Batch) -> None:
    first, second = ReviewSheet(batch.out), ReviewSheet(batch.out)
    first.decide(0, ACCEPTED)
    second.decide(1, EXCLUDED)
    assert [entry.decision for entry in ReviewSheet(batch.out).entries] == [ACCEPTED, EXCLUDED]
    assert marked(batch.out / "a_labels.tif")["decision"] == ACCEPTED


def test_tables_whose_names_are_text_are_read_and_mended(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_CSV_TEXT", "1")
    shutil.copy(batch.a, batch.source / "=1+1.png")
    batch.predict()
    names = pd.read_csv(batch.out / "measurements.csv")["image"]
    assert "'=1+1.png" in set(names)
    sheet = ReviewSheet(batch.out)
    index = [entry.image.name for entry in sheet.entries].index("=1+1.png")
    sheet.decide(index, EXCLUDED, "=broken")
    table = pd.read_csv(batch.out / "measurements.csv")
    assert len(table) == len(names)
    assert table.loc[table["image"] == "'=1+1.png", "decision"].eq(EXCLUDED).all()
    assert ReviewSheet(batch.out).entries[index].reason == "=broken"
    assert "'=broken" in (batch.out / "review.csv").read_text(encoding="utf-8")


# ---- records and paths of others
@pytest.mark.parametrize("field", ["summary", "uncertainty", "seconds", "files", "source", "note", "name", "status"])
def test_rows_of_other_kinds_are_no_record(batch: Batch, field: str) -> None:
    drawn = batch.correct()
    path = batch.out / "run.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["files"][str(batch.a)][field] = [7]
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(DataError, match="no batch result"):
        ReviewSheet(batch.out)
    assert "put aside" in batch.predict()["notes"][0]
    np.testing.assert_array_equal(batch.labels(), drawn)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "[]", '{"files": {"a": 1}}', '{"files": {}, "model": 3}', ""])
def test_a_record_that_is_none_is_put_aside(batch: Batch, text: str) -> None:
    (batch.out / "run.json").write_text(text, encoding="utf-8")
    record = batch.predict()
    assert "put aside as run.damaged-1.json" in record["notes"][0]
    assert (batch.out / "run.damaged-1.json").read_text(encoding="utf-8") == text
    assert [row["status"] for row in record["files"].values()] == ["done"] * 2


@pytest.mark.parametrize(
    "name", ["../elsewhere/keep.tif", "/etc/keep.tif", "C:/keep.tif", "..\\keep.tif", "link/keep.tif", "", 7]
)
@pytest.mark.parametrize("field", ["labels", "name", "measurements", "overlay", "probabilities"])
def test_a_record_that_leads_out_of_its_folder_is_refused(batch: Batch, name: object, field: str) -> None:
    elsewhere = batch.source.parent / "elsewhere"
    elsewhere.mkdir()
    (batch.out / "link").symlink_to(elsewhere)
    path = batch.out / "run.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["files"][str(batch.a)][field] = name
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(DataError, match=r"outside of itself|no batch result"):
        ReviewSheet(batch.out)
    assert batch.predict()["files"][str(batch.a)]["labels"] == "a_labels.tif"
    assert list(elsewhere.iterdir()) == []


def test_a_table_that_leads_out_of_its_folder_is_refused(batch: Batch) -> None:
    (batch.out / "run.json").unlink()
    said = {"image": str(batch.a), "labels": "../keep.tif", "decision": "accepted", "reason": "", "corrected": "no"}
    write_decision(batch.out, str(batch.a), said)
    with pytest.raises(DataError, match="outside of itself"):
        batch.predict()


def test_inside(tmp_path: Path) -> None:
    assert inside(tmp_path, "a/b.tif") == tmp_path / "a/b.tif"
    with pytest.raises(DataError, match="outside"):
        inside(tmp_path, None)


# ---- names
@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text there")
def test_names_that_are_no_text_or_very_long_cost_at_most_their_file(batch: Batch) -> None:
    shutil.copy(batch.a, os.fsencode(batch.source) + b"/cell\xff.png")
    shutil.copy(batch.a, batch.source / f"{'x' * 251}.png")
    shutil.copy(batch.a, batch.source / f"{'é' * 125}.png")
    shutil.copy(batch.a, batch.source / "tab\tred\x1b[31m.png")
    record = batch.predict()
    assert [row["status"] for row in record["files"].values()] == ["done"] * 6
    for row in record["files"].values():
        np.asarray(read_one(batch.out / row["labels"]).data)
        assert row["labels"].isprintable()
    sheet = ReviewSheet(batch.out)
    for index in range(6):
        sheet.decide(index, ACCEPTED)
    assert [entry.decision for entry in ReviewSheet(batch.out).entries] == [ACCEPTED] * 6
    before = batch.stamps()
    batch.predict(resume=False)
    assert batch.stamps() == before


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("aux", "_aux"), ("CON", "_CON"), ("lpt1.x", "_lpt1.x"), ("auxiliary", "auxiliary"), ("a:b", "a_b"),
        ("a. .", "a"), ('<a>"|?*\\b', "_a______b"), ("..", "_"), ("", "_"), ("Zelle µ 1", "Zelle µ 1"), ("a\nb", "a_b"),
    ],
)  # fmt: skip
def test_names_that_every_system_takes(name: str, wanted: str) -> None:
    assert portable(name) == wanted


def test_long_names_that_differ_stay_different_and_short() -> None:
    names = [portable("é" * 300 + end) for end in "ab"]
    assert len(set(names)) == 2
    assert max(len(name.encode()) for name in names) <= 200


def test_names_that_are_one_file_elsewhere_differ(tmp_path: Path) -> None:
    files = ["Zelle.png", "zelle.tif", "caf\u00e9.png", "cafe\u0301.tif", "a:b.png", "a_b.tif", "AUX.png"]
    named = [case.name for case in name_cases([(tmp_path / file, tmp_path) for file in files])]
    import unicodedata

    assert len({unicodedata.normalize("NFC", name).casefold() for name in named}) == len(files)
    assert not any(set(name) & set('<>:"|?*\\') for name in named)


def test_a_file_that_the_disk_refuses_costs_only_itself(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_medseg.batch import predict as module

    real = module.read_input

    def refuse(path: Path, *others: Any) -> Any:
        if path.name == "a.png":
            raise OSError(5, "Input/output error")
        return real(path, *others)

    monkeypatch.setattr(module, "read_input", refuse)
    record = batch.predict(resume=False)
    assert [row["status"] for row in record["files"].values()] == ["failed", "done"]
    assert "Input/output error" in record["files"][str(batch.a)]["reason"]


def test_errors_are_of_the_product(batch: Batch) -> None:
    (batch.out / "review.csv").write_bytes(b"\xff\xfe" + b"x" * 31)
    with pytest.raises(MedSegError):
        batch.predict()


VOXELS = np.random.default_rng(5).integers(0, 900, (3, 8, 9)).astype(np.uint16)
META = "ObjectType = Image\nNDims = 3\nDimSize = 9 8 3\nElementType = MET_USHORT\nElementSpacing = 1 1 1\n"
NRRD = "NRRD0005\ntype: uint16\ndimension: 3\nsizes: 9 8 3\nendian: little\nencoding: raw\nspacings: 1 1 1\n"


def in_parts(folder: Path, kind: str) -> tuple[Path, Path]:
    """Write a volume whose voxels lie in other files than the one that stands for it; return that and one of them."""
    folder.mkdir()
    if kind == "series":
        paths = [*d.series(folder, VOXELS), *d.series(folder, VOXELS + 7, prefix="other", series="9.9")]
        return paths[0], paths[2]
    if kind == "pair":
        nibabel.save(nibabel.Nifti1Pair(VOXELS.T, np.eye(4)), folder / "a.img")
        return folder / "a.hdr", folder / "a.img"
    for k in range(3):
        (folder / f"slice{k}.raw").write_bytes(VOXELS[k].tobytes())
    (folder / "all.raw").write_bytes(VOXELS.tobytes())
    head, listed = (META + "ElementDataFile = ", "") if kind.startswith("mhd") else (NRRD + "data file: ", "\n")
    parts = "LIST\nslice0.raw\nslice1.raw\nslice2.raw\n" if kind.endswith("list") else f"all.raw\n{listed}"
    header = folder / f"a.{kind.split()[0]}"
    header.write_text(head + parts)
    return header, folder / ("slice2.raw" if kind.endswith("list") else "all.raw")


@pytest.mark.parametrize("kind", ["mhd", "mhd list", "nhdr", "nhdr list", "pair", "series"])
def test_voxels_in_other_files_are_part_of_what_was_predicted(tmp_path: Path, kind: str) -> None:
    source, part = in_parts(tmp_path / "in", kind)
    np.testing.assert_array_equal(read_one(source).data, VOXELS)
    (tmp_path / "in" / "unrelated.txt").write_text("of something else")
    known = fingerprint(source_files(source))
    (tmp_path / "in" / "unrelated.txt").write_text("and changed")
    assert is_same(known, source_files(source))
    content = part.read_bytes()
    part.write_bytes(content[:-10] + bytes(10))
    assert not is_same(known, source_files(source))
    part.unlink()
    assert not is_same(known, source_files(source))
