"""The Train dock: check the data, choose a schedule, watch it learn, stop and resume."""

from __future__ import annotations

import contextlib
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
import pandas as pd
import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QCheckBox, QLabel, QVBoxLayout, QWidget

from napari_medseg._napari.docks.model_chooser import ModelChooser
from napari_medseg._napari.docks.train_data import TrainData
from napari_medseg._napari.widgets.dock import Dock, FoldedSettings, path_in, show_device
from napari_medseg._napari.widgets.form import SettingsForm
from napari_medseg._napari.widgets.named import Choices, folder_edit, named
from napari_medseg._napari.widgets.plot_style import follow_theme
from napari_medseg._napari.widgets.run_bar import RunBar
from napari_medseg._napari.widgets.words import duration
from napari_medseg.errors import DataError, MedSegError, counted
from napari_medseg.image import Image
from napari_medseg.jobs import Job, Progress
from napari_medseg.methods import get_method, title_of, trained_methods
from napari_medseg.settings import TrainSettings, as_flags
from napari_medseg.training.data import Report, inspect, look
from napari_medseg.training.loop import Pace, time_steps, train

SHOWN = 12  # problems that are listed
LOSS, SCORE = ("loss", "val_loss"), ("val_score",)
COLOURS = {"loss": "#56b4e9", "val_loss": "#e69f00", "val_score": "#009e73"}
BELOW = 6
NAMES = {"loss": "training loss", "val_loss": "validation loss", "val_score": "validation score"}
PAPER, SHORT, RECOMMENDED, FITS, CUSTOM = "paper", "short", "recommended", "fits the time", "custom"
SCHEDULES = (
    "paper: as published; short: to see whether it learns; recommended: method settings and schedule that did "
    "better in our measurements; fits the time: shortened to the time below, once Propose a schedule has "
    "timed this computer; custom: as changed below"
)
EPOCHS = 10
MINUTES = (15, 60, 240, 720)


class EpochAxis(pg.AxisItem):
    """An axis with ticks at whole numbers only."""

    def tickSpacing(self, low: float, high: float, size: float) -> list[tuple[float, float]]:  # noqa: N802
        """Return the steps between ticks, none below 1, each with its offset."""
        steps = {max(1.0, step): offset for step, offset in super().tickSpacing(low, high, size)}
        return list(steps.items())


class Curves(QWidget):
    """Two plots over epochs and the preview below."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.lines: dict[str, pg.PlotDataItem] = {}
        for names in (LOSS, SCORE):
            what = "Losses" if names is LOSS else "Validation score"
            plot = pg.PlotWidget(background=None, axisItems={"bottom": EpochAxis("bottom")})
            named(plot, f"{what} over epochs", f"{what} over epochs").setFixedHeight(150)
            plot.setLabel("bottom", "epoch")
            plot.getPlotItem().layout.setContentsMargins(0, 4, 0, BELOW)  # the label hangs out of its axis
            plot.addLegend(offset=(-5, 5 if names is LOSS else -5))  # where the curve is not: losses fall, scores rise
            for name in names:
                self.lines[name] = plot.plot(pen=pg.mkPen(COLOURS[name], width=2), name=NAMES[name], symbolSize=4)
            layout.addWidget(plot)
        follow_theme(viewer, self.findChildren(pg.PlotWidget))
        self.preview = QLabel()
        self.preview.setAlignment(Qt.AlignmentFlag.AlignCenter)
        layout.addWidget(self.preview)
        self.clear()

    def clear(self) -> None:
        """Forget the curves."""
        self.values: dict[str, list[tuple[float, float]]] = {name: [] for name in self.lines}
        for line in self.lines.values():
            line.setData([], [])
        self.preview.clear()

    def load(self, table: Path) -> None:
        """Draw the epochs of an earlier run, if its table is there."""
        if table.is_file():
            for row in pd.read_csv(table).to_dict("records"):
                self.add(Progress(0, 0, metrics={str(name): float(value) for name, value in row.items()}))

    def add(self, progress: Progress) -> None:
        """Add an epoch's numbers and picture."""
        if "epoch" not in progress.metrics:
            return
        for name, line in self.lines.items():
            value = progress.metrics.get(name, math.nan)
            if math.isfinite(value):
                self.values[name].append((progress.metrics["epoch"], value))
                line.setData(*zip(*self.values[name], strict=True))
        if progress.preview is not None:
            self.preview.setPixmap(_pixmap(progress.preview))


def _pixmap(preview: Image, height: int = 160) -> QPixmap:
    """Draw image and probability side by side."""
    picture = np.concatenate([_grey(channel) for channel in np.asarray(preview.data)], 1)
    picture = np.ascontiguousarray(picture)
    rows, columns = picture.shape
    image = QImage(picture.data, columns, rows, columns, QImage.Format.Format_Grayscale8).copy()
    return QPixmap.fromImage(image).scaledToHeight(height, Qt.TransformationMode.SmoothTransformation)


def _grey(channel: np.ndarray) -> np.ndarray:
    low, high = float(channel.min()), float(channel.max())
    return np.asarray((channel - low) / (high - low or 1.0) * 255, np.uint8)


class TrainForms(QWidget):
    """Method and schedule, each with a folded form; `command` is the line that does the same."""

    def __init__(self, command: Callable[[], str], run_bar: RunBar) -> None:
        super().__init__()
        self.command, self.run_bar = command, run_bar
        self.method = Choices("Method", "The network that is trained")
        for name in trained_methods():
            self.method.addItem(title_of(name), name)
        self.schedule = Choices("Schedule", SCHEDULES)
        self.schedule.addItems([PAPER, SHORT, RECOMMENDED, FITS, CUSTOM])
        self.time, self.estimate = Choices("Time", "How long the training may take on this computer"), QLabel("")
        self.pace: Pace | None = None
        for minutes in MINUTES:
            self.time.addItem(f"in at most {duration(60 * minutes)}", 60 * minutes)
        self.time.setCurrentIndex(MINUTES.index(60))
        self.time.currentIndexChanged.connect(lambda _: self.update_schedule())
        self.estimate.setWordWrap(True)
        self.folded: list[FoldedSettings] = []
        self.layout_ = QVBoxLayout(self)
        self.layout_.setContentsMargins(0, 0, 0, 0)
        self.layout_.addWidget(self.method)
        self.layout_.addWidget(self.schedule)
        self.layout_.addWidget(self.time)
        self.layout_.addWidget(self.estimate)
        self.method.currentIndexChanged.connect(lambda _: self.update_forms())
        self.schedule.currentIndexChanged.connect(lambda _: self.update_schedule())
        self.update_forms()

    @property
    def chosen(self) -> Any:
        """The class of the chosen method."""
        return get_method(self.method.currentData())

    def update_forms(self) -> None:
        """Show the settings of the chosen method."""
        for old in self.folded:
            self.layout_.removeWidget(old)
            old.hide()
            old.deleteLater()
        self.method_form, self.training_form = SettingsForm(self.chosen.Settings()), SettingsForm(self.chosen.training)
        self.training_form.changed.connect(lambda _: self.name_schedule())
        self.folded = [
            FoldedSettings(self.method_form, self.command, "Method settings"),
            FoldedSettings(self.training_form, self.command, "Schedule"),
        ]
        for folded in self.folded:
            self.layout_.addWidget(folded)
        show_device(self.run_bar, self.training_form, here=True)
        self._offer_recipe()
        self.take_pace(None)

    def take_pace(self, pace: Pace | None) -> None:
        """Take how fast the method trains here, and choose what fits; ``None``: it is not known any more."""
        self.pace = pace
        self.schedule.model().item(self.schedule.findText(FITS)).setEnabled(pace is not None)
        if pace is not None:
            self.schedule.setCurrentText(FITS)
        elif self.schedule.currentText() == FITS:
            self.schedule.setCurrentText(PAPER)
        self.update_schedule()

    @property
    def base(self) -> TrainSettings:
        """The schedule that is shortened: the recommended one where the method's settings are, else the published."""
        recipe = self.chosen.recipe
        wanted = recipe is not None and self.method_form.value == self.chosen.Settings.parse(recipe.settings)
        where = {name: self.training_form[name].value for name in ("device", "precision")}
        return (recipe.training if wanted else self.chosen.training).updated(**where)

    def tell_time(self) -> None:
        """Say how long the schedule takes, where that was timed."""
        self.time.setVisible(self.schedule.currentText() == FITS)
        told = ""
        with contextlib.suppress(MedSegError):  # something that cannot be is being typed
            settings = self.training_form.value
            told = "" if self.pace is None else f"{counted(settings.epochs, 'epoch')}, about "
            told += "" if self.pace is None else f"{duration(self.pace.seconds(settings))} on this computer"
        self.estimate.setText(told)
        self.estimate.setVisible(bool(told))

    def schedules(self) -> dict[str, Any]:
        """Return the schedules that have a name."""
        paper, recipe = self.chosen.training, self.chosen.recipe
        known = {PAPER: paper, SHORT: paper.updated(epochs=EPOCHS)}
        if self.pace is not None:
            known[FITS] = self.pace.fitting(self.base, float(self.time.currentData()))
        return {**known, RECOMMENDED: recipe.training} if recipe else known

    def _offer_recipe(self) -> None:
        """Grey the recommended recipe where the method has none."""
        index, recipe = self.schedule.findText(RECOMMENDED), self.chosen.recipe
        self.schedule.model().item(index).setEnabled(recipe is not None)
        if recipe is None and self.schedule.currentIndex() == index:
            self.schedule.setCurrentText(PAPER)

    def update_schedule(self) -> None:
        """Fill in the schedule that is named, or unfold it for the user to fill in."""
        named = self.schedules().get(self.schedule.currentText())
        if named is None:
            self.folded[1].expand(animate=False)
        else:
            self.training_form.value = named
            if self.schedule.currentText() != FITS:
                self._fill_method(self.schedule.currentText() == RECOMMENDED)
        self.tell_time()

    def _fill_method(self, recommended: bool) -> None:
        """Fill in the recipe's method settings, or, where they are unchanged, take them back."""
        if self.chosen.recipe is None:
            return
        suggested, usual = self.chosen.Settings.parse(self.chosen.recipe.settings), self.chosen.Settings()
        if recommended:
            self.method_form.value = suggested
        elif self.method_form.value == suggested:
            self.method_form.value = usual

    def name_schedule(self) -> None:
        """Name the schedule as it was edited."""
        try:
            edited = self.training_form.value
        except MedSegError:  # something that cannot be is being typed
            return
        self.schedule.blockSignals(True)
        named = (name for name, value in self.schedules().items() if value == edited)
        self.schedule.setCurrentText(next(named, CUSTOM))
        self.schedule.blockSignals(False)
        self.tell_time()


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
