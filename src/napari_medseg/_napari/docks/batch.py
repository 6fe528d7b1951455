"""The Batch dock: a folder, a model, Run; then review case by case."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import Any

import napari
from magicgui.widgets import FileEdit
from qtpy.compat import isalive
from qtpy.QtWidgets import QCheckBox, QLabel, QLineEdit, QListWidget, QPushButton

from napari_medseg._napari import remote
from napari_medseg._napari.docks.finetune import FineTunePanel
from napari_medseg._napari.docks.model_chooser import ModelChooser
from napari_medseg._napari.docks.review import ReviewPanel
from napari_medseg._napari.preferences import predict_settings
from napari_medseg._napari.widgets.dock import Dock, FoldedSettings, show_device
from napari_medseg._napari.widgets.form import SettingsForm
from napari_medseg._napari.widgets.run_bar import RunBar
from napari_medseg._napari.worker import JobWorker
from napari_medseg.batch.inputs import list_inputs
from napari_medseg.batch.settings import BatchSettings
from napari_medseg.errors import MedSegError, counted
from napari_medseg.image import Image
from napari_medseg.io import read_one
from napari_medseg.jobs import Job, Progress
from napari_medseg.settings import PredictSettings, as_flags

TRIED = 3  # files that are read to judge the models


def look_into(folder: Path, pattern: str, out: Path) -> Job[tuple[str, Image | None]]:
    """Count the images of a folder and read the first that can be read."""
    yield Progress(0, 1, f"looking into {folder}")
    files, skipped = list_inputs([Path(folder)], pattern, Path(out))
    told = counted(len(files), "image") + (f", {counted(len(skipped), 'other file')}" if skipped else "")
    for path in files[:TRIED]:
        with contextlib.suppress(MedSegError):
            first = read_one(path)
            return f"{told}; {path.name}: {first.describe()}", first
    return f"{told}; none of the first {min(len(files), TRIED)} can be read", None


class BatchDock(Dock):
    """Segment every image of a folder, then review the results."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self.folder = FileEdit(mode="d", label="Images", nullable=True)
        self.out = FileEdit(mode="d", label="Results", nullable=True)
        self.pattern = QLineEdit()
        self.pattern.setPlaceholderText("pattern, for example *_org.tif; empty: all images")
        self.overlays = QCheckBox("also write a small picture per case")
        self.overlays.setToolTip("For quality control: the image with its labels outlined and tinted")
        self.models = ModelChooser()
        self.form = SettingsForm(predict_settings(PredictSettings()))
        self.run_bar = RunBar(self.make_job, self.show_record, self.show_progress)
        self.files, self.rows = QListWidget(), {}
        self.files.setFixedHeight(110)
        self.review = ReviewPanel(napari_viewer)
        self.review_button = QPushButton("Review results")
        self.review_button.clicked.connect(self.start_review)
        self.found = QLabel("")
        self.found.setWordWrap(True)
        self.looking: JobWorker | None = None
        self.section("Images", self.folder.native, self.pattern, self.found)
        self.section("With", self.models, FoldedSettings(self.form, self.command))
        self.section("Results", self.out.native, self.overlays)
        self.section("Run", self.run_bar, self.files)
        show_device(self.run_bar, self.form)
        self.learn = FineTunePanel(self)
        self.section("Review", self.review_button, self.review)
        self.section("Learn from corrections", self.learn)
        self.folder.changed.connect(lambda *_: self.look())
        self.pattern.editingFinished.connect(self.look)
        for changed in (self.folder.changed, self.out.changed, self.models.changed):
            changed.connect(lambda *_: self.update_reason())
        self.update_reason()

    def update_reason(self) -> None:
        """Enable Run, or say why not."""
        reason = self.models.reason
        reason = "Choose a folder for the results." if not _given(self.out) else reason
        reason = "Choose a folder of images." if not _given(self.folder) else reason
        self.run_bar.set_reason(reason)
        self.review_button.setEnabled(self.results is not None)
        self.learn.update_state()

    def look(self) -> None:
        """Count the images of the folder, judge the models against the first, propose a folder for the results."""
        if not _given(self.folder):
            return
        if not _given(self.out):
            self.out.value = Path(f"{self.folder.value}_results")
        if self.looking is None:
            self.found.setText("looking into the folder ...")
            job = look_into(self.folder.value, self.pattern.text().strip(), self.out.value)
            told = {"on_result": self._tell, "on_error": self._tell, "on_end": self._looked}
            self.looking = JobWorker(job, on_progress=lambda _: None, quick=True, **told)

    def _tell(self, seen: tuple[str, Image | None] | Exception) -> None:
        told, first = (str(seen), None) if isinstance(seen, Exception) else seen
        if isalive(self):
            self.found.setText(told)
            self.models.set_image(first)

    def _looked(self) -> None:
        self.looking = None

    @property
    def results(self) -> Path | None:
        """The result folder, if it holds a batch."""
        there = _given(self.out) and (self.out.value / "run.json").is_file()
        return Path(self.out.value) if there else None

    def command(self) -> str:
        """Return the ``medseg predict`` line that does the same."""
        entry, pattern = self.models.entry, self.pattern.text().strip()
        model = str(entry.path) if entry else "MODEL"
        source, out = (str(e.value) if _given(e) else name for e, name in ((self.folder, "INPUT"), (self.out, "OUT")))
        words = ["medseg", "predict", model, source, "-o", out, *as_flags(self.form.value)]
        words += [f"--pattern={pattern}"] * bool(pattern) + ["--overlays"] * self.overlays.isChecked()
        return shlex.join(words)

    def make_job(self) -> Job[Any]:
        """Return the job for the folder."""
        entry = self.models.entry
        if entry is None:
            raise MedSegError(self.models.reason)
        self.review.end()
        self.files.clear()
        self.rows = {}
        options = BatchSettings(pattern=self.pattern.text().strip(), overlays=self.overlays.isChecked())
        return remote.segment_folder(entry.path, self.folder.value, self.out.value, self.form.value, options)

    def show_progress(self, progress: Progress) -> None:
        """Show what a file's progress says in its row."""
        if progress.item:
            self._say(progress.item, progress.message.removeprefix(f"{Path(progress.item).name}: "))

    def show_record(self, record: dict[str, Any]) -> None:
        """List every file with what became of it, and offer the review."""
        self.files.clear()
        self.rows = {}
        for path, row in record["files"].items():
            self._say(path, row.get("reason") or f"{row['status']} in {row.get('seconds', 0):.1f} s")
        for name in record.get("skipped", []):
            self._say(name, "no image, or the labels of one; skipped")
        done = sum(row["status"] == "done" for row in record["files"].values())
        self.run_bar.say(f"{done} of {len(record['files'])} files segmented into {self.out.value}")
        self.run_bar.offer("Review", self.start_review)
        self.update_reason()

    def start_review(self) -> None:
        """Page through the results."""
        try:
            self.review.open(self.out.value)
        except MedSegError as error:
            self.run_bar.say(str(error))

    def leave(self) -> None:
        """Stop, save and give the keys back when the dock is closed."""
        super().leave()
        self.review.end()

    def _say(self, name: str, text: str) -> None:
        if name not in self.rows:
            self.rows[name] = self.files.count()
            self.files.addItem("")
        item = self.files.item(self.rows[name])
        item.setText(f"{Path(name).name}: {text}")
        item.setToolTip(f"{name}: {text}")


def _given(edit: FileEdit) -> bool:
    return edit.value is not None and str(edit.value) not in ("", ".")
