"""Learn from the corrections of a batch: train its model on, then segment the open cases anew."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_medseg._napari.widgets.dock import FoldedSettings
from napari_medseg._napari.widgets.form import SettingsForm
from napari_medseg._napari.widgets.run_bar import RunBar
from napari_medseg.batch import ReviewSheet
from napari_medseg.errors import DataError, MedSegError
from napari_medseg.jobs import Job, Progress
from napari_medseg.settings import TrainSettings, as_flags

LEARN = "Train the model on what was accepted and corrected, then segment the open cases anew"


def learn_job(model: Path, results: Path, folder: Path, settings: TrainSettings) -> Job[dict[str, Any]]:
    """Fine-tune `model` into `folder`, then predict with it what nobody reviewed; return the batch's record."""
    from napari_medseg.training.loop import fine_tune, predict_rest

    tuned = yield from fine_tune(model, results, folder, settings)
    yield Progress(0, 1, "segmenting the open cases again")
    record = yield from predict_rest(folder / "best.pt", results)
    return {**record, "best": tuned.card.get("best", {}), "before": tuned.card.get("before", {})}


class FineTunePanel(QWidget):
    """Says what there is to learn from, and does it; `dock` is the Batch dock."""

    def __init__(self, dock: Any) -> None:
        super().__init__()
        self.dock = dock
        self.line = QLabel("")
        self.line.setWordWrap(True)
        self.form = SettingsForm(TrainSettings())
        self.run_bar = RunBar(self.make_job, self.show_result, text="Fine-tune on corrections", tip=LEARN)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.line, FoldedSettings(self.form, self.command, "Schedule"), self.run_bar):
            layout.addWidget(widget)
        dock.review.changed.connect(self.update_state)

    def update_state(self) -> None:
        """Count what there is to learn from, propose a schedule, and enable Fine-tune or say why not."""
        from napari_medseg.training.loop import fine_tune_settings

        entry, results = self.dock.models.entry, self.dock.results
        entries = []
        if results is not None:
            try:
                entries = (self.dock.review.sheet or ReviewSheet(results)).entries
            except MedSegError:  # nothing finished yet
                results = None
        lessons = [e for e in entries if e.teaches]
        corrected, waiting = sum(e.corrected for e in lessons), sum(e.open for e in entries)
        accepted = len(lessons) - corrected
        self.line.setText(f"{corrected} corrected, {accepted} accepted unchanged, {waiting} open" if entries else "")
        if entry is not None and not entry.problem and lessons and not self.edited:
            self.form.value = self.form.defaults = fine_tune_settings(entry.card, len(lessons))
        reason = "" if lessons else "Correct or accept some cases first."
        reason = reason if entry is not None else self.dock.models.reason
        self.run_bar.set_reason(reason if results is not None else "Segment a folder and review it first.")

    @property
    def edited(self) -> bool:
        """Whether the proposed schedule was changed."""
        try:
            return bool(self.form.value != self.form.defaults)
        except MedSegError:  # something that cannot be is being typed
            return True

    def command(self) -> str:
        """Return the ``medseg train`` line that does the same."""
        from napari_medseg.methods import get_method

        entry, results = self.dock.models.entry, self.dock.results
        if entry is None or results is None:
            raise DataError("Choose a model and a result folder first.")
        method = entry.card["method"]
        words = ["medseg", "train", method, str(results), "-o", str(self.next_folder()), f"--from={entry.path}"]
        return shlex.join(words + as_flags(self.form.value, get_method(method).training))

    def next_folder(self) -> Path:
        """Return the folder of the next fine-tuned model."""
        from napari_medseg.training.loop import next_run

        return next_run(self.dock.results)

    def make_job(self) -> Job[Any]:
        """Return the job; what is being corrected is saved first."""
        self.dock.review.end()
        entry, results = self.dock.models.entry, self.dock.results
        if entry is None or results is None:
            raise DataError("Choose a model and a result folder first.")
        self.folder = self.next_folder()
        self.run_bar.kept = f"What was learnt in whole epochs is in {self.folder}."
        return learn_job(entry.path, results, self.folder, self.form.value)

    def show_result(self, record: dict[str, Any]) -> None:
        """Choose the new model and go to the case that it is least sure of."""
        said = self.run_bar.message.text()
        self.dock.models.add(self.folder / "best.pt")
        self.dock.show_record(record)
        best, before = record["best"], record["before"]
        name = "val_score" if "val_score" in before else "loss"
        scores = f"{before[name]:.3f} before, " if name in before else "training loss "
        scores += f"{best.get(name, float('nan')):.3f}" + (" after on the held-out cases" if name in before else "")
        self.run_bar.say(f"{said}: {scores}. The open cases are segmented with {self.folder.name}.")
        self.run_bar.offer("Next most uncertain", self.go_on)
        self.go_on()

    def go_on(self) -> None:
        """Go on reviewing with the most uncertain case."""
        review = self.dock.review
        if review.sheet is None:
            review.open(self.dock.results, uncertain=True)
        else:
            review.go_to_uncertain()
