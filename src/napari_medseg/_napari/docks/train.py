"""The Train dock: check the data, choose a schedule, watch it learn, stop and resume."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import napari
from qtpy.QtWidgets import QCheckBox, QLabel

from napari_medseg._napari.docks.model_chooser import ModelChooser
from napari_medseg._napari.docks.train_curves import Curves
from napari_medseg._napari.docks.train_data import TrainData
from napari_medseg._napari.docks.train_forms import TrainForms
from napari_medseg._napari.widgets.dock import Dock, path_in
from napari_medseg._napari.widgets.form import SettingsForm
from napari_medseg._napari.widgets.named import folder_edit
from napari_medseg._napari.widgets.run_bar import RunBar
from napari_medseg._napari.widgets.words import duration
from napari_medseg.errors import DataError, counted
from napari_medseg.jobs import Job, Progress
from napari_medseg.methods import get_method
from napari_medseg.settings import TrainSettings, as_flags
from napari_medseg.training.data import Report, inspect, look
from napari_medseg.training.loop import Pace, time_steps, train

SHOWN = 12  # problems that are listed


def check_job(method: Any, folder: Path, settings: TrainSettings) -> Job[Report]:
    """Load every case of a folder and report, also on how `settings` split it."""
    yield Progress(0, 1, f"reading {folder}")
    method = method.adapted_to(folder)
    return look(inspect(method, method.find_pairs(folder).require(folder)), settings)


class TrainDock(Dock):
    """Train a method on a folder."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self.run_folder = folder_edit("Run folder", "Where model, curves and settings of this training go")
        self.check_bar = RunBar(
            self.make_check,
            self.show_report,
            text="Check data",
            tip="Read every case, and say what is found and what is wrong",
        )
        self.source = TrainData(napari_viewer, self.check_bar.say)
        self.data = self.source.folder
        self.findings = QLabel("")
        self.findings.setWordWrap(True)
        self.resume = QCheckBox("resume the run in this folder")
        self.resume.setToolTip("Go on after its last epoch, with the same data and method")
        self.curves = Curves(napari_viewer)
        train_tip = "Train on the data; Stop keeps the best model so far"
        self.run_bar = RunBar(self.make_job, self.show_result, self.show_progress, text="Train", tip=train_tip)
        self.forms = TrainForms(self.command, self.run_bar)
        self.pace_bar = RunBar(
            self.make_pace, self.show_pace, text="Propose a schedule", kept="Nothing was proposed.",
            tip="Time three steps on this computer, and shorten the schedule to fit",
        )  # fmt: skip
        self.method, self.schedule = self.forms.method, self.forms.schedule
        self.section("Input", self.source, self.check_bar, self.findings)
        self.section("With", self.forms, self.pace_bar)
        self.section("Run folder", self.run_folder.native, self.resume)
        self.section("Run", self.run_bar, self.curves)
        for field in (self.data, self.run_folder):
            field.changed.connect(lambda _: self.update_reason())
        self.data.changed.connect(lambda _: self.forms.take_pace(None))
        self.update_reason()

    @property
    def method_form(self) -> SettingsForm:
        """The settings of the method."""
        return self.forms.method_form

    @property
    def training_form(self) -> SettingsForm:
        """The schedule."""
        return self.forms.training_form

    def update_reason(self) -> None:
        """Enable Run, or say what is missing."""
        self.check_bar.set_reason("" if path_in(self.data) else "Choose the folder with images and labels.")
        missing = "" if path_in(self.data) else "Choose a data folder first."
        self.pace_bar.set_reason(missing)
        self.run_bar.set_reason(missing or ("" if path_in(self.run_folder) else "Choose a folder for the run."))

    def command(self) -> str:
        """Return the ``medseg train`` line that does the same."""
        data, run = path_in(self.data) or "DATA", path_in(self.run_folder) or "RUN"
        words = ["medseg", "train", self.method.currentData(), str(data), "-o", str(run)]
        words += ["--resume"] * self.resume.isChecked()
        words += as_flags(self.method_form.value) + as_flags(
            self.training_form.value, get_method(self.method.currentData()).training
        )
        return shlex.join(words)

    def make_check(self) -> Job[Any]:
        """Return the job that checks the data."""
        folder = path_in(self.data)
        assert folder is not None  # Check is disabled without a folder
        return check_job(self.built_method(), folder, self.training_form.value)

    def built_method(self) -> Any:
        """Return the method with the settings of the form."""
        return get_method(self.method.currentData())(self.method_form.value)

    def make_job(self) -> Job[Any]:
        """Return the training job."""
        folder, run = path_in(self.data), path_in(self.run_folder)
        if folder is None or run is None:
            raise DataError("Choose a data folder and a run folder first.")
        if (run / "last.pt").exists() and not self.resume.isChecked():
            raise DataError(f"{run} already holds a run. Tick resume to go on with it, or choose another folder.")
        self.curves.clear()
        if self.resume.isChecked():
            self.curves.load(run / "history.csv")
        self.run, self.epochs = run, len(self.curves.values["loss"])
        self.say_kept()
        return train(self.built_method(), folder, run, self.training_form.value, resume=self.resume.isChecked())

    def show_report(self, report: Report) -> None:
        """List what was found, problems last."""
        lines = [*report.lines, *(f"<b>!</b> {problem}" for problem in report.problems[:SHOWN])]
        lines += [f"... and {len(report.problems) - SHOWN} more"] * (len(report.problems) > SHOWN)
        n = len(report.problems)
        found = f"{n} problem{'s' * (n != 1)}" if n else "no problems"
        self.check_bar.say(f"{len(report.pairs)} usable cases, {found}. {self.check_bar.message.text()}")
        self.findings.setText("<br>".join(lines))

    def show_progress(self, progress: Progress) -> None:
        """Draw the curves and the preview."""
        self.curves.add(progress)
        if "epoch" in progress.metrics:
            self.epochs = int(progress.metrics["epoch"])
            self.say_kept()
            if self.best is not None:
                self.offer_model()

    @property
    def best(self) -> Path | None:
        """The best model of the run so far, of its newest fold."""
        found = [path for path in (self.run / "best.pt", *self.run.glob("fold*/best.pt")) if path.is_file()]
        return max(found, key=lambda path: path.stat().st_mtime, default=None)

    def say_kept(self) -> None:
        """Say what Stop would leave now: whole epochs, and the best model among them."""
        n = self.epochs
        kept = f"The best model of {counted(n, 'epoch')} is kept: {self.best}. Tick resume to go on with epoch {n + 1}."
        self.run_bar.kept = kept if n and self.best else "No epoch was finished, so there is no model."
        self.run_bar.stop_button.setToolTip(self.run_bar.kept)

    def make_pace(self) -> Job[Pace]:
        """Return the job that times this computer."""
        folder = path_in(self.data)
        assert folder is not None  # it is disabled without a folder
        return time_steps(self.built_method(), folder, self.training_form.value)

    def show_pace(self, pace: Pace) -> None:
        """Propose the schedule that fits into the time there is."""
        self.forms.take_pace(pace)
        took = f"One step takes {duration(pace.step)}, validating a case {duration(pace.case)}."
        published = duration(pace.seconds(self.forms.base))
        self.pace_bar.say(f"{took} The whole schedule would take {published}.")

    def show_result(self, model: Any) -> None:
        """Offer the model for segmentation."""
        self.run_bar.say(f"Best model: {model.card['file']}, made in {self.run_bar.spent}")
        self.offer_model()

    def offer_model(self) -> None:
        """Offer the best model so far."""
        self.run_bar.offer("Use this model", lambda: self.use_model())

    def use_model(self) -> None:
        """Open the Segment dock with the best model."""
        path = self.best
        if path is None:
            return
        if path not in ModelChooser.session:
            ModelChooser.session.insert(0, path)
        dock = self.open_next("Segment")
        dock.models.refresh(path)
