"""The cases of a result folder and what a reviewer decided about each: ``review.csv``."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io import read_one, write, write_table
from napari_medseg.jobs import Job, Progress

ACCEPTED, EXCLUDED = "accepted", "excluded"
COLUMNS = ("image", "labels", "decision", "reason", "corrected")


@dataclass
class Entry:
    """One predicted file: its image, its label file (below the result folder) and the decision."""

    image: Path
    labels: str
    decision: str = ""
    reason: str = ""
    corrected: bool = False


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
            files = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))["files"]
            done = [(Path(key), row["labels"]) for key, row in files.items() if row["status"] == "done"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{folder} holds no batch result (run.json). Run a batch into it first.") from error
        if not done:
            raise DataError(f"{folder} holds no finished file to review.")
        self.entries = [Entry(*pair) for pair in done]
        self._take_over()

    def decide(self, index: int, decision: str, reason: str = "") -> None:
        """Keep a decision."""
        entry = self.entries[index]
        entry.decision, entry.reason = decision, reason
        self.save()

    def correct(self, index: int, labels: Image) -> None:
        """Write corrected labels over the predicted ones; the provenance says so."""
        entry = self.entries[index]
        known = {**labels.metadata.get("medseg", {}), "corrected": True}
        write(self.folder / entry.labels, labels.replace(metadata={**labels.metadata, "medseg": known}))
        entry.corrected = True
        self.save()

    def next_open(self, index: int) -> int | None:
        """Return the first undecided entry after `index`, going round, or ``None``."""
        n = len(self.entries)
        return next((i % n for i in range(index + 1, index + n) if not self.entries[i % n].decision), None)

    def save(self) -> None:
        """Write ``review.csv``."""
        rows = [
            (str(e.image), e.labels, e.decision, e.reason, "yes" if e.corrected else "no")
            for e in self.entries
            if e.decision or e.corrected
        ]
        write_table(self.folder / "review.csv", pd.DataFrame(rows, columns=list(COLUMNS)))

    def _take_over(self) -> None:
        path = self.folder / "review.csv"
        if not path.is_file():
            return
        with path.open(encoding="utf-8", newline="") as file:
            kept = {row.get("image", ""): row for row in csv.DictReader(file)}
        for entry in self.entries:
            row = kept.get(str(entry.image), {})
            entry.decision, entry.reason = row.get("decision", ""), row.get("reason", "")
            entry.corrected = row.get("corrected", "") == "yes"


def load_case(image: Path, labels: Path) -> Job[tuple[Image, Image]]:
    """Read an image and its labels."""
    yield Progress(0, 2, f"reading {image.name}")
    picture = read_one(image)
    yield Progress(1, 2, f"reading {labels.name}")
    mask = read_one(labels, kind="labels")
    if mask.spatial_shape != picture.spatial_shape:
        raise DataError(f"{labels.name} is {mask.spatial_shape} but {image.name} is {picture.spatial_shape}.")
    return picture, mask.replace(data=np.array(mask.data))
