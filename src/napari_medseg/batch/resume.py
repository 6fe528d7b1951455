"""What stays of an earlier batch: results that are whole and of the same source, and reviewed labels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_medseg import __version__
from napari_medseg.batch.decisions import (
    Said,
    marked,
    read_review,
    said_of,
    source_of,
    write_decision,
)
from napari_medseg.batch.inputs import Case, list_cases, source_files
from napari_medseg.batch.record import BatchRecord, Row, read_record, size_of, sizes
from napari_medseg.batch.settings import BatchSettings
from napari_medseg.errors import MedSegError, printable
from napari_medseg.io import read
from napari_medseg.io.atomic import disk_errors
from napari_medseg.io.identity import is_same
from napari_medseg.io.places import inside
from napari_medseg.settings import PredictSettings

ELSEWHERE = {"device", "tile", "batch"}
LABELS = ("_labels.tif", "_labels.nii.gz")


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
    cases = [_with_free_name(case, out, before) for case in cases]
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
    return sizes(out, row) == row["files"] and bool(row["files"])


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
    if kept.get("measurements") and size_of(inside(out, kept["measurements"])) < 2:
        record.unmeasured.append(case)
    return kept


def _labels_of(case: Case, row: Row | None, out: Path, said: Said) -> Path | None:
    """Return the label file of a case, whether or not a record or a table names it."""
    names = [row["labels"]] if row and row.get("labels") else []
    names += [said["labels"]] if said.get("labels") else []
    names += [case.name + end for end in LABELS]
    return next((path for name in names if size_of(path := inside(out, name)) > 0), None)


def _was_edited(labels: Path, out: Path, row: Row) -> bool:
    """Whether labels that a record knows have another size now."""
    known = row.get("files")
    size = known.get(labels.relative_to(out).as_posix()) if isinstance(known, dict) else None
    return row.get("status") == "done" and isinstance(size, int) and size != size_of(labels)


def _said(out: Path, key: str, row: Mapping[str, Any], review: Mapping[str, Said]) -> Said:
    return said_of(review, key) or (marked(inside(out, row["labels"])) if row.get("labels") else {})


def _with_free_name(case: Case, out: Path, before: Mapping[str, Row]) -> Case:
    """Give a case without a row another name where somebody's reviewed labels of another image have its own."""
    if str(case.path) in before:
        return case
    for end in LABELS:
        labels = out / f"{case.name}{end}"
        if labels.is_file() and marked(labels) and source_of(labels) not in ("", str(case.path)):
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
    now = settings.model_dump(mode="json", exclude=ELSEWHERE)
    same = record["model"].get("sha256") == card.get("sha256")
    same = same and now == {k: v for k, v in record["settings"].items() if k not in ELSEWHERE}
    return record["files"], same
