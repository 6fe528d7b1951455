"""The cases of a result folder and what a reviewer decided about each: ``review.csv``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.batch.case import measure_case
from napari_medseg.batch.decisions import (
    COLUMNS,
    NAME,
    Said,
    is_corrected,
    mark,
    marked,
    read_review,
    said_of,
    write_decision,
)
from napari_medseg.batch.inputs import read_input
from napari_medseg.batch.record import WAIT, read_record, sizes
from napari_medseg.batch.tables import update_measurements, write_summary
from napari_medseg.errors import DataError, ReadError, SettingsError
from napari_medseg.image import Image
from napari_medseg.io import read_one, write
from napari_medseg.io.grids import on_grid
from napari_medseg.io.json_file import write_json
from napari_medseg.io.locks import holding
from napari_medseg.io.pairs import Pair, case_files, case_stem
from napari_medseg.io.places import inside
from napari_medseg.io.sidecar import provenance
from napari_medseg.jobs import Job, Progress
from napari_medseg.methods import get_method

ACCEPTED, EXCLUDED = "accepted", "excluded"


@dataclass
class Entry:
    """One predicted file: its image, its label file (below the result folder) and the decision.

    `uncertainty` is the `mean_entropy` of its prediction, -1 where it is not known; `modality_files` are the words by
    which the files of a folder are channels.
    """

    image: Path
    labels: str
    decision: str = ""
    reason: str = ""
    corrected: bool = False
    uncertainty: float = -1.0
    modality_files: str = ""

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


def is_reviewed(folder: Path) -> bool:
    """Whether a folder holds the results of a batch that somebody reviewed."""
    return all((Path(folder) / name).is_file() for name in ("run.json", "review.csv"))


def load_case(image: Path, labels: Path, modality_files: str = "") -> Job[tuple[Image, Image]]:
    """Read an image, or the channels of a folder, and its labels."""
    yield Progress(0, 2, f"reading {image.name}")
    picture = read_input(image, modality_files)
    yield Progress(1, 2, f"reading {labels.name}")
    mask = on_grid(read_one(labels, kind="labels"), picture)
    return picture, mask.replace(data=np.array(mask.data))
