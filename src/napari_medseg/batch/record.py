"""What became of each file of a batch: ``run.json``, and the tables at the end."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_medseg import __version__
from napari_medseg.batch.inputs import Case, list_cases
from napari_medseg.batch.settings import BatchSettings
from napari_medseg.batch.tables import read_review, write_measurements, write_summary
from napari_medseg.errors import DataError
from napari_medseg.io.json_file import write_json
from napari_medseg.jobs import Progress
from napari_medseg.settings import PredictSettings

ELSEWHERE = {"device", "tile", "batch"}
SHARE = 20
PART = re.compile(r"\.\d+\.(.+)")  # what a file is called before it is complete


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

    def __init__(self, out: Path, head: dict[str, Any], rows: dict[str, dict[str, Any]]) -> None:
        self.out, self.head, self.rows = out, head, rows
        self.cases: list[Case] = []
        self.todo: list[Case] = []
        self.kept = 0
        self._saved, self._cost = -1e9, 0.0

    @property
    def position(self) -> int:
        """Number of this batch's cases that have a row."""
        return len(self.cases) - len(self.todo)

    def finish(self, case: Case, row: dict[str, Any]) -> Progress:
        """Take the row of a case and say so."""
        self.rows[str(case.path)] = row
        self.todo.remove(case)
        if time.monotonic() - self._saved > SHARE * self._cost:
            self.save()
        return Progress(self.position, len(self.cases), f"{case.path.name}: {row['status']}")

    def greeting(self) -> str:
        """Say what is there already."""
        kept = f", {self.kept} of them reviewed, which stay as they are" if self.kept else ""
        return f"{self.position} files were done before{kept}"

    def step(self, message: str) -> Progress:
        """Return the progress of a case that is not finished."""
        return Progress(self.position, len(self.cases), message)

    def content(self) -> dict[str, Any]:
        """Return what `run.json` holds: files of earlier runs, then this batch's in their order."""
        order = {str(case.path): index for index, case in enumerate(self.cases)}
        files = dict(sorted(self.rows.items(), key=lambda item: order.get(item[0], -1)))
        return {**self.head, "files": files}

    def save(self) -> None:
        """Write ``run.json``."""
        start = time.monotonic()
        write_json(self.out / "run.json", self.content())
        self._saved = time.monotonic()
        self._cost = self._saved - start

    def conclude(self) -> dict[str, Any]:
        """Write the tables, remove what killed processes left of files, and return the record.

        Raises
        ------
        DataError
            If every file of the batch failed.
        """
        content = self.content()
        self.rows = content["files"]
        for part in self.out.rglob(".*"):
            whole = PART.fullmatch(part.name)
            if whole is not None and part.with_name(whole[1]).is_file():  # somebody else finished it
                part.unlink(missing_ok=True)
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
    """Return the record of a batch with the cases to do; rows of an earlier run with the same model stay.

    So do, whatever the model, files that somebody reviewed: decisions and corrected labels are never predicted over.

    Raises
    ------
    DataError
        If no input is an image.
    """
    before, same = _previous(out, card, settings)
    review = read_review(out)
    rows = {key: row for key, row in before.items() if (same and resume) or key in review}
    taken = {Path(key): row["name"] for key, row in before.items()}
    cases, skipped = list_cases(inputs, options, out, taken)
    head = {"model": card, "settings": settings.model_dump(mode="json"), "version": __version__, "skipped": skipped}
    record = BatchRecord(out, head, {key: row for key, row in rows.items() if row["status"] == "done"})
    record.cases = cases
    record.todo = [case for case in cases if not _is_done(str(case.path), record.rows, out, options, review)]
    record.rows |= {str(case.path): {"status": "waiting", "name": case.name} for case in record.todo}
    record.kept = len(set(review) & {str(case.path) for case in cases if case not in record.todo})
    return record


def _is_done(
    key: str, rows: dict[str, dict[str, Any]], out: Path, options: BatchSettings, review: Mapping[str, Any]
) -> bool:
    wanted = ["labels"]
    if key not in review:  # reviewed labels are never predicted over, whatever is missing beside them
        wanted += ["overlay"] * options.overlays + ["probabilities"] * options.slide_probabilities
    return key in rows and all(name in rows[key] and (out / rows[key][name]).exists() for name in wanted)


def _previous(out: Path, card: dict[str, Any], settings: PredictSettings) -> tuple[dict[str, dict[str, Any]], bool]:
    """Return the rows of an earlier run, and whether its model and all settings that change results were the same."""
    try:
        record = json.loads((out / "run.json").read_text(encoding="utf-8"))
        now = settings.model_dump(mode="json", exclude=ELSEWHERE)
        same = record["model"].get("sha256") == card.get("sha256")
        same = same and now == {k: v for k, v in record["settings"].items() if k not in ELSEWHERE}
        return {k: row for k, row in record["files"].items() if {"status", "name"} <= set(row)}, same
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, False
