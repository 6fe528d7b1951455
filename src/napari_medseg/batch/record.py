"""What became of each file of a batch: ``run.json``, and the tables at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_medseg.batch.inputs import Case, source_files
from napari_medseg.batch.tables import write_measurements, write_summary
from napari_medseg.errors import DataError, MedSegError, ReadError
from napari_medseg.io.atomic import disk_errors, sweep_below
from napari_medseg.io.identity import fingerprint, is_same
from napari_medseg.io.json_file import read_json, write_json
from napari_medseg.io.locks import holding
from napari_medseg.io.places import inside
from napari_medseg.io.sidecar import sidecar_path
from napari_medseg.jobs import Progress

ELSEWHERE = {"device", "tile", "batch"}
FILES = ("labels", "probabilities", "measurements", "overlay", "pyramid")  # names of a row that are files
LABELS = ("_labels.tif", "_labels.nii.gz")
SHARE = 20
WAIT = 10.0  # seconds for another window that writes the record
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
        content = self.content()
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
    """Return the bytes of every file of a row, the side-cars of pictures too; of a store, of all that it holds."""
    paths = [inside(out, row[kind]) for kind in FILES if row.get(kind)]
    paths += [
        car
        for kind in ("labels", "probabilities")
        if row.get(kind) and (car := sidecar_path(out / row[kind])).is_file()
    ]
    return {path.relative_to(out).as_posix(): size for path in paths if (size := size_of(path)) >= 0}


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
