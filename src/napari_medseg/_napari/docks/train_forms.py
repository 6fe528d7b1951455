"""What is trained: the method with its settings, and the schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QComboBox, QVBoxLayout, QWidget

from napari_medseg._napari.widgets.dock import FoldedSettings, show_device
from napari_medseg._napari.widgets.form import SettingsForm
from napari_medseg._napari.widgets.run_bar import RunBar
from napari_medseg.errors import MedSegError
from napari_medseg.methods import get_method, trained_methods

PAPER, SHORT, RECOMMENDED, CUSTOM = "paper", "short", "recommended", "custom"
EPOCHS = 10


class TrainForms(QWidget):
    """Method and schedule, each with a folded form; `command` is the line that does the same."""

    def __init__(self, command: Callable[[], str], run_bar: RunBar) -> None:
        super().__init__()
        self.command, self.run_bar = command, run_bar
        self.method, self.schedule = QComboBox(), QComboBox()
        for name in trained_methods():
            self.method.addItem(name, name)
        self.schedule.addItems([PAPER, SHORT, RECOMMENDED, CUSTOM])
        self.schedule.setToolTip(
            "paper: as published; short: to see whether it learns; recommended: method settings and schedule that did "
            "better in our measurements; custom: as changed below"
        )
        self.folded: list[FoldedSettings] = []
        self.layout_ = QVBoxLayout(self)
        self.layout_.setContentsMargins(0, 0, 0, 0)
        self.layout_.addWidget(self.method)
        self.layout_.addWidget(self.schedule)
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
        self.update_schedule()

    def schedules(self) -> dict[str, Any]:
        """Return the schedules that have a name."""
        paper, recipe = self.chosen.training, self.chosen.recipe
        known = {PAPER: paper, SHORT: paper.updated(epochs=EPOCHS)}
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
            self._fill_method(self.schedule.currentText() == RECOMMENDED)

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
