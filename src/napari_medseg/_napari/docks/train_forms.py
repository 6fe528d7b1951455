"""What is trained and for how long: method, schedule and their forms, shortened to the time there is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_medseg._napari.widgets.dock import FoldedSettings, show_device
from napari_medseg._napari.widgets.form import SettingsForm
from napari_medseg._napari.widgets.named import Choices
from napari_medseg._napari.widgets.run_bar import RunBar
from napari_medseg._napari.widgets.words import duration
from napari_medseg.errors import MedSegError, counted
from napari_medseg.methods import get_method, title_of, trained_methods
from napari_medseg.settings import TrainSettings
from napari_medseg.training.loop import Pace

PAPER, SHORT, RECOMMENDED, FITS, CUSTOM = "paper", "short", "recommended", "fits the time", "custom"
SCHEDULES = (
    "paper: as published; short: to see whether it learns; recommended: method settings and schedule that did "
    "better in our measurements; fits the time: shortened to the time below, once Propose a schedule has "
    "timed this computer; custom: as changed below"
)
EPOCHS = 10  # of the short schedule
MINUTES = (15, 60, 240, 720)  # that can be chosen


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
