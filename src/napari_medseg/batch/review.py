"""The cases of a result folder and what a reviewer decided about each: ``review.csv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_medseg.batch.inputs import read_input
from napari_medseg.batch.predict import measure_case
from napari_medseg.batch.record import read_record, sizes
from napari_medseg.batch.tables import (
    COLUMNS,
    NAME,
    Said,
    is_corrected,
    mark,
    marked,
    read_review,
    said_of,
    update_measurements,
    write_decision,
    write_summary,
)
from napari_medseg.errors import DataError, ReadError, SettingsError, counted
from napari_medseg.image import Image
from napari_medseg.io import read_labels, read_one, write
from napari_medseg.io.files import disk_errors, expanded, inside, write_json, write_text
from napari_medseg.io.grids import on_grid
from napari_medseg.io.locks import WAIT, holding
from napari_medseg.io.pairs import Pair, case_files, case_stem
from napari_medseg.io.sidecar import provenance
from napari_medseg.io.spreadsheets import table_of
from napari_medseg.io.write import write_tables
from napari_medseg.jobs import Job, Progress
from napari_medseg.measure.labels import facts_of_objects
from napari_medseg.methods import get_method

ACCEPTED, EXCLUDED = "accepted", "excluded"


@dataclass
class Entry:
    """One predicted file: its image, its label file (below the result folder) and the decision.

    `uncertainty` is the `mean_entropy` of its prediction, -1 where it is not known; `modality_files` are the words by
    which the files of a folder are channels, `calibration` what was entered of its pixels (`read_input`).
    """

    image: Path
    labels: str
    decision: str = ""
    reason: str = ""
    corrected: bool = False
    uncertainty: float = -1.0
    modality_files: str = ""
    calibration: dict[str, float] = field(default_factory=dict)

    def said(self) -> Said:
        """Return its row of ``review.csv``."""
        corrected = "yes" if self.corrected else "no"
        return dict(zip(COLUMNS, (str(self.image), self.labels, self.decision, self.reason, corrected), strict=True))

    @property
    def open(self) -> bool:
        """Whether nobody decided about it or corrected it yet."""
        return not (self.decision or self.corrected)

    @property
    def teaches(self) -> bool:
        """Whether its labels are good to learn from: accepted, or corrected and not excluded."""
        return self.decision == ACCEPTED or (self.corrected and self.decision != EXCLUDED)


class ReviewSheet:
    """All finished files of a result folder; decisions are on disk as soon as they are made.

    Raises
    ------
    DataError
        If the folder holds no finished batch.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        try:
            self.content: dict[str, Any] = read_record(self.folder)
            files = {key: row for key, row in self.content["files"].items() if row["status"] == "done"}
            self.entries = [
                Entry(
                    Path(key),
                    row["labels"],
                    uncertainty=float(row.get("uncertainty", -1)),
                    modality_files=str(row.get("modality_files", "")),
                    calibration=dict(row.get("calibration", {})),
                )
                for key, row in files.items()
            ]
        except (ReadError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{folder} holds no batch result (run.json). Run a batch into it first.") from error
        if not self.entries:
            raise DataError(f"{folder} holds no finished file to review.")
        self._take_over()

    # ---- what comes next
    def next_open(self, index: int) -> int | None:
        """Return the first undecided entry after `index`, going round, or ``None``."""
        n = len(self.entries)
        return next((i % n for i in range(index + 1, index + n) if not self.entries[i % n].decision), None)

    def most_uncertain(self, but: int = -1) -> int | None:
        """Return the entry that the network was least sure of among the open ones other than `but`, or ``None``."""
        waiting = [i for i, entry in enumerate(self.entries) if entry.open and i != but]
        return max(waiting, key=lambda i: self.entries[i].uncertainty, default=None)

    def pairs(self) -> tuple[Pair, ...]:
        """Return the accepted and corrected cases as training cases."""
        return tuple(self._pair(entry) for entry in self.entries if entry.teaches)

    def _pair(self, entry: Entry) -> Pair:
        files = case_files(entry.image, entry.modality_files)
        extra: dict[str, object] = {"modalities": tuple(files)} if files else {}
        return Pair(entry.image, self.folder / entry.labels, case_stem(entry.image), extra)

    # ---- what is decided
    def decide(self, index: int, decision: str, reason: str = "") -> None:
        """Keep a decision, also in the tables."""
        entry = self.entries[index]
        entry.decision, entry.reason = decision, reason
        self._keep(entry)

    def correct(self, index: int, labels: Image, image: Image) -> Job[None]:
        """Write corrected labels over the predicted ones and measure them anew; the provenance says so.

        Labels and `image` lie on the same grid. The rows of this file in ``measurements.csv`` and ``summary.csv`` are
        replaced.
        """
        entry = self.entries[index]
        yield Progress(0, 2, f"saving {entry.labels}")
        path = inside(self.folder, entry.labels)
        before = provenance(path).get("medseg", {})
        known = {**before, **labels.metadata.get("medseg", {}), "corrected": True}
        labels = labels.replace(metadata={**labels.metadata, "medseg": known})
        write(path, labels)
        entry.corrected = True
        self.save()
        yield Progress(1, 2, f"measuring {entry.labels}")
        row = self.content["files"][str(entry.image)]
        row |= measure_case(self.folder, row["name"], self._kind(), labels, image, overlays="overlay" in row)
        self._keep(entry)

    def save(self) -> None:
        """Write every decision into ``review.csv`` and the side-cars."""
        if not (self.folder / NAME).exists():
            write_decision(self.folder, "", None)
        for entry in self.entries:
            if not entry.open:
                self._write(entry)

    # ---- what other programs read
    def export(self, folder: Path, suffix: str) -> Job[str]:
        """Write what is not excluded into `folder`, and return a sentence on it.

        Parameters
        ----------
        folder
            Made if it is not there.
        suffix
            ``.xlsx``: both tables as one workbook; ``.txt``: a methods paragraph; otherwise the format that
            `napari_medseg.io.write` knows by it, one file of labels with their measurements for each image.

        Raises
        ------
        WriteError
            If the folder or the disk refuses.
        """
        folder = expanded(folder)
        entries = [entry for entry in self.entries if entry.decision != EXCLUDED]
        if suffix == ".xlsx":
            yield Progress(0, 1, "writing the tables")
            with disk_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            tables = {name: _table(self.folder / f"{name}.csv") for name in ("measurements", "summary")}
            return f"Saved {write_tables(folder / 'results.xlsx', tables)[0]}."
        if suffix == ".txt":
            yield Progress(0, 1, "writing the paragraph")
            return f"Saved {write_text(folder / 'methods.txt', self._paragraph(entries))}."
        problems = []
        for number, entry in enumerate(entries):
            yield Progress(number, len(entries), f"writing {entry.image.name}")
            try:
                self._export(entry, folder, suffix)
            except DataError as error:
                problems.append(f"{entry.labels}: {error}")
        return " ".join([f"{counted(len(entries) - len(problems), 'file')} written to {folder}.", *problems])

    def _export(self, entry: Entry, folder: Path, suffix: str) -> None:
        row = self.content["files"][str(entry.image)]
        labels = read_one(inside(self.folder, entry.labels), kind="labels")
        known = provenance(inside(self.folder, entry.labels))
        if row.get("measurements"):
            known |= facts_of_objects(labels, _table(inside(self.folder, row["measurements"])))
        write(folder / f"{row['name']}{suffix}", labels.replace(metadata={**labels.metadata, **known}))

    def _paragraph(self, entries: Sequence[Entry]) -> str:
        from napari_medseg.report.case import methods_paragraph

        path = inside(self.folder, (entries or self.entries)[0].labels)
        objects = len(_table(self.folder / "measurements.csv"))
        kind: dict[str, Any] = {"measured_as": self._kind(), "objects": objects} if objects else {}
        facts = provenance(path).get("medseg", {})
        return methods_paragraph(read_one(path, kind="labels"), facts, **kind)

    def _write(self, entry: Entry) -> None:
        said = entry.said()
        write_decision(self.folder, said["image"], said, [str(one.image) for one in self.entries])
        mark(inside(self.folder, entry.labels), said)

    def _keep(self, entry: Entry) -> None:
        self._write(entry)
        key = str(entry.image)
        self._keep_row(key)
        write_summary(self.folder, self.content["files"])
        update_measurements(self.folder, key, self.content["files"][key])

    def _keep_row(self, key: str) -> None:
        """Write the row of one file into ``run.json``; a batch that still runs may have written others."""
        row = self.content["files"][key]
        row["files"] = sizes(self.folder, row)
        with holding(self.folder, "record", wait=WAIT):
            self.content = read_record(self.folder)
            self.content["files"][key] = row
            write_json(self.folder / "run.json", self.content)

    def _kind(self) -> str:
        try:
            return get_method(self.content["model"]["method"]).measure
        except (SettingsError, KeyError, TypeError):  # a batch of a method that is not installed here
            return ""

    def _take_over(self) -> None:
        kept = read_review(self.folder)
        for entry in self.entries:
            row = said_of(kept, str(entry.image)) or marked(inside(self.folder, entry.labels))
            entry.decision, entry.reason = row.get("decision", ""), row.get("reason", "")
            entry.corrected = is_corrected(row)


def _table(path: Path) -> pd.DataFrame:
    """Read a table of a batch; an empty one where nothing was measured."""
    return table_of(path) if path.is_file() and path.stat().st_size > 1 else pd.DataFrame()


def is_reviewed(folder: Path) -> bool:
    """Whether a folder holds the results of a batch that somebody reviewed."""
    return all((Path(folder) / name).is_file() for name in ("run.json", "review.csv"))


def load_case(
    image: Path, labels: Path, modality_files: str = "", calibration: Mapping[str, float] | None = None
) -> Job[tuple[Image, Image]]:
    """Read an image, or the channels of a folder, as `read_input` does, and its labels."""
    yield Progress(0, 2, f"reading {image.name}")
    picture = read_input(image, modality_files, calibration)
    yield Progress(1, 2, f"reading {labels.name}")
    mask = on_grid(read_labels(labels, picture), picture)
    return picture, mask.replace(data=np.array(mask.data))
