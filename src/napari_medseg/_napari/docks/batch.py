"""The Batch dock: a folder, a model, Run; then review case by case."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import Any

import napari
import pandas as pd
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QListWidget,
)

from napari_medseg._napari import remote
from napari_medseg._napari.docks.fine_tune import FineTunePanel
from napari_medseg._napari.docks.model_chooser import ModelChooser
from napari_medseg._napari.docks.review import ReviewPanel
from napari_medseg._napari.preferences import predict_settings
from napari_medseg._napari.widgets.calibration import Calibration
from napari_medseg._napari.widgets.charts import Charts
from napari_medseg._napari.widgets.dock import Dock, FoldedSettings, path_in, show_device
from napari_medseg._napari.widgets.form import SettingsForm
from napari_medseg._napari.widgets.named import Choices, folder_edit, named, push_button
from napari_medseg._napari.widgets.run_bar import RunBar
from napari_medseg._napari.worker import JobWorker
from napari_medseg.batch import ReviewSheet
from napari_medseg.batch.inputs import list_inputs
from napari_medseg.batch.settings import BatchSettings
from napari_medseg.errors import MedSegError, counted
from napari_medseg.image import Image
from napari_medseg.io import read_one
from napari_medseg.jobs import Job, Progress
from napari_medseg.settings import PredictSettings, as_flags

EXPORTS = {
    "outlines for QuPath, with measurements (.geojson)": ".geojson",
    "regions for ImageJ (.zip)": "_rois.zip",
    "labels as OME-Zarr": ".ome.zarr",
    "labels as TIFF": ".tif",
    "labels as NIfTI (volumes)": ".nii.gz",
    "tables as one workbook (.xlsx)": ".xlsx",
    "methods paragraph (.txt)": ".txt",
}
MOVIE = "These are movies: open one and use the dock Nerve movie, or Segment, which goes frame by frame."
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
        self.folder = folder_edit("Folder of images", "Every image in it, and in the folders below, is segmented")
        self.out = folder_edit("Folder of results", "Where labels, tables and the record of the run go")
        self.pattern = named(QLineEdit(), "Pattern of file names", "Only files whose name fits: * is anything")
        self.pattern.setPlaceholderText("pattern, for example *_org.tif; empty: all images")
        self.overlays = QCheckBox("also write a small picture per case")
        self.overlays.setToolTip("For quality control: the image with its labels outlined and tinted")
        self.models = ModelChooser(planes=False)
        self.movie = ""  # why a folder of movies is not for this dock
        self.models.command = self.command
        self.form = SettingsForm(predict_settings(PredictSettings()))
        kept = "Finished files are kept; Run goes on with the others."
        run_tip = "Segment every image of the folder"
        self.run_bar = RunBar(self.make_job, self.show_record, self.show_progress, kept=kept, tip=run_tip)
        self.files, self.rows = named(QListWidget(), "Files", "What became of each file"), {}
        self.files.setFixedHeight(110)
        self.review = ReviewPanel(napari_viewer)
        self.review_button = push_button("Review results", "Look at each result, accept, correct or exclude it")
        self.review_button.clicked.connect(self.start_review)
        self.calibration = Calibration(button=False)
        self.found = QLabel("")
        self.found.setWordWrap(True)
        self.looking: JobWorker | None = None
        self.section("Images", self.folder.native, self.pattern, self.found, self.calibration)
        self.section("With", self.models, FoldedSettings(self.form, self.command))
        self.section("Results", self.out.native, self.overlays)
        self.section("Run", self.run_bar, self.files)
        show_device(self.run_bar, self.form)
        self.learn = FineTunePanel(self)
        self.section("Review", self.review_button, self.review)
        self._add_export(napari_viewer)
        self.section("Learn from corrections", self.learn)
        self.folder.changed.connect(lambda *_: self.look())
        self.pattern.editingFinished.connect(self.look)
        for changed in (self.folder.changed, self.out.changed, self.models.changed):
            changed.connect(lambda *_: self.update_reason())
        self.update_reason()

    def _add_export(self, viewer: napari.Viewer) -> None:
        """Add what other programs, and charts, get of the results."""
        self.export_kind = Choices("Export as", "The format for the next program")
        for title, suffix in EXPORTS.items():
            self.export_kind.addItem(title, suffix)
        self.export_bar = RunBar(
            self.make_export,
            self.show_export,
            text="Export ...",
            kept="Files written so far are there.",
            tip="Write the results, as corrected, into a folder for other programs",
        )
        self.charts = Charts(viewer)
        self.chart_button = push_button("Charts of the measurements", "Draw the measurements of all images")
        self.chart_button.clicked.connect(lambda: self.show_charts())
        self.section("Export", self.export_kind, self.export_bar, self.chart_button, self.charts)

    def update_reason(self) -> None:
        """Enable Run, or say why not."""
        reason = self.movie or self.models.reason
        reason = "Choose a folder for the results." if not path_in(self.out) else reason
        reason = "Choose a folder of images." if not path_in(self.folder) else reason
        self.run_bar.set_reason(reason)
        self.review_button.setEnabled(self.results is not None)
        self.export_bar.set_reason("" if self.results is not None else "Segment a folder first.")
        self.chart_button.setEnabled(self.results is not None)
        self.learn.update_state()

    def look(self) -> None:
        """Count the images of the folder, judge the models against the first, propose a folder for the results."""
        if not path_in(self.folder):
            return
        if not path_in(self.out):
            self.out.value = Path(f"{self.folder.value}_results")
        if self.looking is None:
            self.found.setText("looking into the folder ...")
            job = look_into(self.folder.value, self.pattern.text().strip(), self.out.value)
            told = {"on_result": self._tell, "on_error": self._tell, "on_end": self._looked}
            self.looking = JobWorker(job, on_progress=lambda _: None, quick=True, owner=self, **told)

    def _tell(self, seen: tuple[str, Image | None] | Exception) -> None:
        told, first = (str(seen), None) if isinstance(seen, Exception) else seen
        self.found.setText(told)
        self.movie = MOVIE if first is not None and "T" in first.axes else ""
        self.models.set_image(first)

    def _looked(self) -> None:
        self.looking = None

    @property
    def results(self) -> Path | None:
        """The result folder, if it holds a batch."""
        out = path_in(self.out)
        return out if out and (out / "run.json").is_file() else None

    def command(self) -> str:
        """Return the ``medseg predict`` line that does the same."""
        source, out = str(path_in(self.folder) or "INPUT"), str(path_in(self.out) or "OUT")
        words = ["medseg", "predict", self.models.word, source, "-o", out]
        return shlex.join([*words, *self.models.flags, *as_flags(self.form.value), *as_flags(self.options)])

    @property
    def options(self) -> BatchSettings:
        """Pattern, overlays and calibration as entered; raises `SettingsError` where that is no number."""
        return BatchSettings(
            pattern=self.pattern.text().strip(),
            overlays=self.overlays.isChecked(),
            pixel_size=self.calibration.micrometres,
            nm_per_grey=self.calibration.nm_per_grey,
        )

    def make_job(self) -> Job[Any]:
        """Return the job for the folder."""
        entry = self.models.entry
        if entry is None:
            raise MedSegError(self.models.reason)
        options = self.options
        self.review.end()
        self.files.clear()
        self.rows = {}
        model = self.models.file(Path(self.out.value))
        return remote.segment_folder(model, self.folder.value, self.out.value, self.form.value, options)

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

    def make_export(self, folder: str = "") -> Job[str]:
        """Return the job that writes the results for other programs into a folder that is asked for."""
        folder = folder or QFileDialog.getExistingDirectory(self, "Folder to export to", str(self.out.value))
        if not folder:
            raise MedSegError("Nothing was exported: no folder was chosen.")
        sheet = self.review.sheet or ReviewSheet(self.out.value)
        return sheet.export(Path(folder), str(self.export_kind.currentData()))

    def show_export(self, said: str) -> None:
        """Say what was written."""
        self.export_bar.say(said)

    def show_charts(self) -> None:
        """Draw the measurements of all images, by image or class."""
        try:
            self.charts.show_table(pd.read_csv(self.out.value / "measurements.csv"))
        except (OSError, ValueError) as error:
            self.export_bar.say(f"There are no measurements to draw: {error}")

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
