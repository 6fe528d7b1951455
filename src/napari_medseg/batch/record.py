"""What became of each file of a batch: ``run.json``, and what stays of an earlier run."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_medseg import __version__
from napari_medseg.batch.inputs import Case, list_cases, source_files
from napari_medseg.batch.settings import BatchSettings
from napari_medseg.batch.tables import (
    Said,
    is_result,
    marked,
    read_review,
    said_of,
    source_of,
    write_decision,
    write_measurements,
    write_summary,
)
from napari_medseg.errors import DataError, MedSegError, ReadError, printable
from napari_medseg.io import read
from napari_medseg.io.files import disk_errors, inside, is_blank, json_safe, read_json, sweep_below, write_json
from napari_medseg.io.identity import fingerprint, is_same
from napari_medseg.io.locks import WAIT, holding
from napari_medseg.io.sidecar import sidecar_path, was_written_over
from napari_medseg.jobs import Progress
from napari_medseg.settings import PredictSettings

OF_THE_MACHINE = {"device", "tile", "batch"}  # settings that change no result
FILES = ("labels", "probabilities", "measurements", "overlay", "pyramid")  # names of a row that are files
LABELS = ("_labels.tif", "_labels.nii.gz")
SHARE = 20
Row = dict[str, Any]
KINDS: dict[str, type | tuple[type, ...]] = {  # of what a row may hold; its files are names inside the folder
    **dict.fromkeys(("status", "name", "reason", "note", "modality_files"), str),
    **dict.fromkeys(("summary", "files", "source"), dict),
    **dict.fromkeys(("uncertainty", "seconds"), (int, float)),
}


class BatchRecord:
    """The cases of a batch and their rows; on disk after every file, or as often as costs at most 5 % of the time.

    Parameters
    ----------
    out
        Result folder.
    head
        What `run.json` says besides the files.
    rows
        Rows of files that are done, by path.
    """

    def __init__(self, out: Path, head: dict[str, Any], rows: dict[str, Row], words: str = "") -> None:
        self.out, self.head, self.rows, self.words = out, head, rows, words
        self.cases: list[Case] = []
        self.todo: list[Case] = []
        self.unmeasured: list[Case] = []
        self.kept = 0
        self.made: set[str] = set()  # what this batch makes; other rows may change on the disk meanwhile
        self._begun: dict[str, dict[str, Any]] = {}
        self._saved, self._cost = -1e9, 0.0

    @property
    def position(self) -> int:
        """Number of this batch's cases that have a row."""
        return len(self.cases) - len(self.todo)

    def begin(self, case: Case) -> None:
        """Remember what a case is made from, before it is read."""
        self._begun[str(case.path)] = fingerprint(source_files(case.path, self.words))

    def finish(self, case: Case, row: Row) -> Progress:
        """Take the row of a case, with what its source and its files are, and say so."""
        key = str(case.path)
        if row["status"] == "done":
            source = self._begun.pop(key, {})
            same = is_same(source, source_files(case.path, self.words))
            row = {**row, "source": source if same else {}, "files": sizes(self.out, row)}
        self.rows[key] = row
        self.todo.remove(case)
        if time.monotonic() - self._saved > SHARE * self._cost:
            self.save()
        return Progress(self.position, len(self.cases), f"{case.path.name}: {row['status']}", item=str(case.path))

    def greeting(self) -> str:
        """Say what is there already."""
        kept = f", {self.kept} of them reviewed, which stay as they are" if self.kept else ""
        return f"{self.position} files were done before{kept}"

    def step(self, message: str, item: str = "") -> Progress:
        """Return the progress of a case, `item`, that is not finished."""
        return Progress(self.position, len(self.cases), message, item=item)

    def note(self, text: str) -> None:
        """Keep something that the user must know."""
        self.head.setdefault("notes", []).append(text)

    def content(self) -> dict[str, Any]:
        """Return what `run.json` holds: files of earlier runs, then this batch's in their order."""
        order = {str(case.path): index for index, case in enumerate(self.cases)}
        files = dict(sorted(self.rows.items(), key=lambda item: order.get(item[0], -1)))
        return {**self.head, "files": files}

    def save(self) -> None:
        """Write ``run.json``."""
        start = time.monotonic()
        with disk_errors(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
        with holding(self.out, "record", wait=WAIT):
            self._take_over()
            write_json(self.out / "run.json", self.content())
        self._saved = time.monotonic()
        self._cost = self._saved - start

    def _take_over(self) -> None:
        """Take the rows that somebody who reviews meanwhile has changed."""
        with suppress(MedSegError):
            for key, row in read_record(self.out)["files"].items():
                if key in self.rows and key not in self.made:
                    self.rows[key] = row

    def conclude(self) -> dict[str, Any]:
        """Check that every result is there, write the tables, and return the record.

        Raises
        ------
        DataError
            If every file of the batch failed.
        """
        for case in self.cases:
            row = self.rows[str(case.path)]
            if row["status"] == "done" and not _is_there(self.out, row):
                lost = "its results were removed while the batch ran; give the command again"
                self.rows[str(case.path)] = {"status": "failed", "name": case.name, "reason": lost}
        content: dict[str, Any] = json_safe(self.content())
        self.rows = content["files"]
        sweep_below(self.out)
        self.save()
        write_measurements(self.out, self.rows)
        write_summary(self.out, self.rows)
        rows = [self.rows[str(case.path)] for case in self.cases]
        reasons = [row["reason"] for row in rows if row["status"] == "failed"]
        if len(reasons) == len(rows):
            raise DataError(f"None of {len(rows)} files could be predicted. First reason: {reasons[0]}")
        return content


def open_record(
    card: dict[str, Any],
    inputs: Sequence[Path],
    out: Path,
    settings: PredictSettings,
    options: BatchSettings,
    *,
    resume: bool = True,
) -> BatchRecord:
    """Return the record of a batch with the cases to do.

    A row of an earlier run stays when its model and settings were the same, the source is still the one it was made
    from, and its files are whole. Whatever the model, files that somebody reviewed stay: decisions and corrected labels
    are never predicted over, even when ``run.json`` or ``review.csv`` is gone.

    Raises
    ------
    DataError
        If no input is an image, or ``review.csv`` is no table any more.
    """
    notes: list[str] = []
    before, same = _previous(out, card, settings, notes)
    review = read_review(out)
    taken = {Path(key): row["name"] for key, row in before.items()}
    cases, skipped = list_cases(inputs, options, out, taken)
    cases = [_with_free_name(case, out, before, review, notes) for case in cases]
    own = {str(case.path) for case in cases}
    done = {key: row for key, row in before.items() if row["status"] == "done"}
    rows = {k: row for k, row in done.items() if k not in own and ((same and resume) or _said(out, k, row, review))}
    head = {"model": card, "settings": settings.model_dump(mode="json"), "version": __version__, "skipped": skipped}
    record = BatchRecord(out, head | ({"notes": notes} if notes else {}), rows, options.modality_files)
    record.cases = cases
    for case in cases:
        key = str(case.path)
        row = done.get(key) if same and resume else None
        kept = row if row and _is_done(case, row, out, options, said_of(review, key)) else None
        kept = kept or _reviewed(case, before.get(key), out, review, record)
        record.rows[key] = kept or {"status": "waiting", "name": case.name}
        if kept is None:
            record.todo.append(case)
            record.made.add(key)
    record.kept = sum(
        bool(_said(out, str(c.path), record.rows[str(c.path)], review)) for c in cases if c not in record.todo
    )
    return record


def _is_done(case: Case, row: Row, out: Path, options: BatchSettings, said: Said) -> bool:
    """Whether a row is of the source that is there now and its files are whole."""
    wanted = ["overlay"] * options.overlays + ["probabilities"] * options.slide_probabilities
    if row.get("calibration", {}) != options.calibration:
        return False
    if said or any(name not in row for name in wanted) or not isinstance(row.get("files"), dict):
        return False
    if not is_same(row.get("source") or {}, source_files(case.path, options.modality_files)):
        return False
    edited = bool(row.get("labels")) and was_written_over(inside(out, row["labels"]))
    return sizes(out, row) == row["files"] and bool(row["files"]) and not edited


def _reviewed(case: Case, row: Row | None, out: Path, review: Mapping[str, Said], record: BatchRecord) -> Row | None:
    """Return the row of a case whose labels a person accepted, corrected or drew elsewhere, if they can be read."""
    key = str(case.path)
    said = said_of(review, key)
    labels = _labels_of(case, row, out, said)
    if labels is None:
        return None
    said = said or marked(labels)
    edited = bool(row) and _was_edited(labels, out, row or {})
    if not said and not edited:
        return None
    name = labels.relative_to(out).as_posix()
    try:
        read(labels)
    except MedSegError:
        if said:
            write_decision(out, key, None)
            record.note(
                f"{name} was reviewed but is damaged or gone: it is predicted again and must be reviewed again."
            )
        return None
    kept: Row = {**(row or {}), "status": "done", "name": case.name, "labels": name}
    if edited and not said:
        record.note(f"{name} was changed by another program since it was predicted: it stays as it is.")
    elif kept.get("source") and not is_same(kept["source"], source_files(case.path, record.words)):
        record.note(
            f"{printable(case.path.name)} changed since the labels {name} were reviewed: they stay. Look at them."
        )
    if said_of(review, key) != said and not edited:
        write_decision(out, key, {"image": key, "labels": name, **said})
        record.note(f"What was said about {name} was no longer in review.csv: taken from its side-car.")
    measured = inside(out, kept["measurements"]) if kept.get("measurements") else None
    if measured is not None and (size_of(measured) < 2 or is_blank(measured)):
        record.unmeasured.append(case)
    return kept


def _labels_of(case: Case, row: Row | None, out: Path, said: Said) -> Path | None:
    """Return the label file of a case, whether or not a record or a table names it."""
    names = [row["labels"]] if row and row.get("labels") else []
    names += [said["labels"]] if said.get("labels") else []
    names += [case.name + end for end in LABELS]
    return next((path for name in names if size_of(path := inside(out, name)) > 0), None)


def _was_edited(labels: Path, out: Path, row: Row) -> bool:
    """Whether labels that a record knows have another size now, or, beside their side-car, another content."""
    known = row.get("files")
    size = known.get(labels.relative_to(out).as_posix()) if isinstance(known, dict) else None
    changed = isinstance(size, int) and (size != size_of(labels) or was_written_over(labels))
    return row.get("status") == "done" and changed


def _said(out: Path, key: str, row: Mapping[str, Any], review: Mapping[str, Said]) -> Said:
    return said_of(review, key) or (marked(inside(out, row["labels"])) if row.get("labels") else {})


def _with_free_name(
    case: Case, out: Path, before: Mapping[str, Row], review: Mapping[str, Said], notes: list[str]
) -> Case:
    """Give a case of which nothing is known another name where labels of its name are not results of its own.

    They are labels that a person drew, or reviewed labels of another image.
    """
    key = str(case.path)
    if key in before or said_of(review, key):
        return case
    for end in LABELS:
        labels = out / f"{case.name}{end}"
        if not labels.is_file():
            continue
        if not is_result(labels):
            free = case.renamed()
            notes.append(
                f"{labels.name} is there already and is no result of a prediction: it stays as it is, and the results "
                f"of {printable(case.path.name)} are called {free.name}."
            )
            return free
        if marked(labels) and source_of(labels) not in ("", key):
            return case.renamed()
    return case


def _previous(
    out: Path, card: dict[str, Any], settings: PredictSettings, notes: list[str]
) -> tuple[dict[str, Row], bool]:
    """Return the rows of an earlier run, and whether its model and all settings that change results were the same.

    A record that is none is put aside.
    """
    path = out / "run.json"
    if not path.exists():
        return {}, False
    try:
        record = read_record(out)
    except MedSegError as error:
        aside = next(p for k in range(1, 10**6) if not (p := out / f"run.damaged-{k}.json").exists())
        with disk_errors(aside):
            os.replace(path, aside)
        notes.append(f"{error} It was put aside as {aside.name}.")
        return {}, False
    now, usual = (one.model_dump(mode="json", exclude=OF_THE_MACHINE) for one in (settings, type(settings)()))
    same = record["model"].get("sha256") == card.get("sha256")
    then = {k: v for k, v in record["settings"].items() if k not in OF_THE_MACHINE}
    same = same and now == {**usual, **then}  # records of older versions lack newer settings
    return record["files"], same


def read_record(out: Path) -> dict[str, Any]:
    """Return ``run.json`` of a result folder; every row has a status and a name, every file lies inside.

    Raises
    ------
    ReadError
        If there is none, or it is no record of a batch.
    DataError
        If it names files outside of the folder.
    """
    content = read_json(out / "run.json")
    try:
        whole = isinstance(content["model"], dict) and isinstance(content["settings"], dict)
        rows = content["files"].values()
        if not whole or not all(isinstance(row, dict) and {"status", "name"} <= row.keys() for row in rows):
            raise TypeError
        if not all(isinstance(row[name], kind) for row in rows for name, kind in KINDS.items() if name in row):
            raise TypeError
    except (KeyError, TypeError, AttributeError) as error:
        raise ReadError(f"{out / 'run.json'} is no record of a batch.") from error
    for row in rows:
        for name in ("name", *(kind for kind in FILES if kind in row)):
            inside(out, row[name])
    record: dict[str, Any] = content
    return record


def sizes(out: Path, row: Mapping[str, Any]) -> dict[str, int]:
    """Return the bytes of every file of a row, the side-cars of pictures too; of a store, of all that it holds.

    A file that a crash left with its size and without its content is none.
    """
    paths = [inside(out, row[kind]) for kind in FILES if row.get(kind)]
    paths += [
        car
        for kind in ("labels", "probabilities")
        if row.get(kind) and (car := sidecar_path(out / row[kind])).is_file()
    ]
    known = {path: size_of(path) for path in paths if not is_blank(path)}
    return {path.relative_to(out).as_posix(): size for path, size in known.items() if size >= 0}


def size_of(path: Path) -> int:
    """Return the bytes of a file or of all files of a folder; -1 where there is none."""
    try:
        if path.is_dir():
            return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return path.stat().st_size
    except OSError:
        return -1


def _is_there(out: Path, row: Mapping[str, Any]) -> bool:
    return all(size_of(inside(out, row[kind])) > 0 for kind in ("labels", "probabilities") if row.get(kind))
