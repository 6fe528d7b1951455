"""Page through the results of a batch with the arrow keys; accept, exclude or correct each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from napari.utils.notifications import show_info
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QVBoxLayout, QWidget

from napari_medseg._napari.layers import layer_data
from napari_medseg._napari.widgets.listening import listen
from napari_medseg._napari.widgets.named import named, push_button
from napari_medseg._napari.worker import JobWorker
from napari_medseg.batch.review import ACCEPTED, EXCLUDED, ReviewSheet, load_case
from napari_medseg.errors import MedSegError
from napari_medseg.image import Image
from napari_medseg.jobs import Job, run

HELP = "<b>Left / Right</b> previous, next. Paint on the labels to correct them: they are saved when you go on."


class ReviewPanel(QWidget):
    """Show one case at a time: its image and its labels as layers; `changed` when something was decided or saved."""

    changed = Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.sheet: ReviewSheet | None = None
        self.index, self.wanted = -1, -1
        self.worker: JobWorker | None = None
        self.reader: JobWorker | None = None
        self.ready: dict[int, tuple[Image, Image]] = {}  # cases beside the present one, read ahead
        self.layers: list[Any] = []
        self.image: Image | None = None
        self.loaded: Image | None = None
        self.before: dict[str, Any] = {}
        self.keys, self.line = QLabel(HELP), QLabel("")
        self.reason = named(QLineEdit(), "Why it is excluded", "Written beside the decision; Enter excludes the case")
        for text in (self.keys, self.line):
            text.setWordWrap(True)
        self.reason.setPlaceholderText("why it is excluded")
        self.accept_button = push_button("Accept", "The labels are right, as they are or as you corrected them; go on")
        self.exclude_button = push_button("Exclude", "Leave this case out of everything that follows; go on")
        self.uncertain_button = push_button(
            "Next most uncertain", "Go to the open case that the model was least sure of"
        )
        self.uncertain_button.clicked.connect(lambda: self.go_to_uncertain())
        self.accept_button.clicked.connect(lambda: self.decide(ACCEPTED))
        self.exclude_button.clicked.connect(lambda: self.decide(EXCLUDED))
        self.reason.returnPressed.connect(lambda: self.decide(EXCLUDED))
        row = QHBoxLayout()
        row.addWidget(self.accept_button)
        row.addWidget(self.exclude_button)
        row.addWidget(self.uncertain_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.keys, self.line, self.reason):
            layout.addWidget(widget)
        layout.addLayout(row)
        listen(viewer.layers.events.removed, self._removed)
        self.hide()

    def open(self, folder: Path, uncertain: bool = False) -> None:
        """Start with the first undecided, or the most uncertain case of a folder; raises `DataError` without any."""
        self.end()
        self.sheet = ReviewSheet(folder)
        self.index = -1
        self.show()
        for key, step in (("Left", -1), ("Right", 1)):
            self.before[key] = self.viewer.bind_key(key, self._turn(step), overwrite=True)
        first = next((i for i, e in enumerate(self.sheet.entries) if not e.decision), 0)
        worst = self.sheet.most_uncertain() if uncertain else None
        self.go(first if worst is None else worst)

    def end(self) -> None:
        """Save corrections and give the keys back."""
        correction = self.correction()
        if correction is not None:
            try:
                run(correction)
            except MedSegError as error:
                show_info(str(error))
        self.remove_layers()
        self.ready.clear()
        for key, there in self.before.items():
            self.viewer.bind_key(key, there, overwrite=True)
        self.before.clear()
        self.sheet = None
        self.hide()
        self.changed.emit()

    def go(self, index: int) -> None:
        """Show case `index`, after what is being read; a correction of the present case is saved first."""
        self.wanted = index % len(self.sheet.entries)
        if self.worker is not None:
            return
        correction = self.correction()
        if correction is not None:
            self._work(correction, lambda _: self.changed.emit())
            return
        if self.image is not None and self.loaded is not None:
            self.ready[self.index] = self.image, self.loaded
        self.remove_layers()
        self.index = self.wanted
        case = self.ready.pop(self.index, None)
        if case is not None:
            self._show(case)
            return
        self.line.setText(f"{self.where()}reading ...")
        self._work(self._reading(self.index), self._show)

    def _reading(self, index: int) -> Job[tuple[Image, Image]]:
        entry = self.sheet.entries[index]
        return load_case(entry.image, self.sheet.folder / entry.labels, entry.modality_files, entry.calibration)

    def _read_ahead(self) -> None:
        """Read the next case, so that the arrow key shows it at once; forget those further away."""
        n = len(self.sheet.entries)
        near = {(self.index + step) % n for step in (-1, 1)}
        self.ready = {index: case for index, case in self.ready.items() if index in near}
        index, sheet = (self.index + 1) % n, self.sheet
        if self.reader is not None or index == self.index or index in self.ready:
            return

        def keep(case: tuple[Image, Image]) -> None:
            if self.sheet is sheet and index != self.index:
                self.ready[index] = case

        def end() -> None:
            self.reader = None

        told = {"on_progress": lambda _: None, "on_result": keep, "on_error": lambda _: None, "on_end": end}
        self.reader = JobWorker(self._reading(index), quick=True, owner=self, **told)

    def go_to_uncertain(self) -> None:
        """Show the open case that the network was least sure of."""
        index = self.sheet.most_uncertain(but=self.index) if self.sheet is not None else None
        if index is not None:
            self.go(index)
        elif self.sheet is not None:
            self.line.setText(f"{self.where()}No other case is open.")

    def decide(self, decision: str) -> None:
        """Keep a decision about this case and go to the next undecided one."""
        if self.sheet is None or self.index < 0 or self.worker is not None:
            return
        reason = self.reason.text().strip() if decision == EXCLUDED else ""
        if decision == EXCLUDED and not reason:
            self.line.setText(f"{self.where()}Say why it is excluded, then press Exclude.")
            self.reason.setFocus()
            return
        try:
            self.sheet.decide(self.index, decision, reason)
        except MedSegError as error:
            self.line.setText(f"{self.where()}{error}")
            return
        self.changed.emit()
        following = self.sheet.next_open(self.index)
        if following is not None:
            self.go(following)
            return
        correction = self.correction()
        if correction is not None:
            self._work(correction, lambda _: self.changed.emit())
        self.line.setText(f"All {len(self.sheet.entries)} cases are reviewed: {self.sheet.folder / 'review.csv'}")

    def where(self) -> str:
        """Say which case this is, how sure the network was, and what was decided."""
        if self.sheet is None:
            return ""
        entry = self.sheet.entries[self.index]
        sure = f"uncertainty {entry.uncertainty:.3f}" if entry.uncertainty >= 0 else ""
        state = " · ".join(filter(None, (entry.decision, entry.reason, "corrected" if entry.corrected else "")))
        told = " · ".join(filter(None, (entry.image.name, sure, state or "open")))
        return f"<b>{self.index + 1} of {len(self.sheet.entries)}</b> {told}<br>"

    def correction(self) -> Job[None] | None:
        """Return the job that saves and measures this case's labels, ``None`` if they were not painted on."""
        painted = np.asarray(self.layers[-1].data) if self.layers else None
        if self.sheet is None or self.loaded is None or painted is None or np.array_equal(painted, self.loaded.data):
            return None
        if painted.shape != self.loaded.data.shape:
            show_info(
                f"The labels of {self.image.name} were replaced by some of another size ({painted.shape} instead of "
                f"{self.loaded.data.shape}). These are not saved; the case keeps the labels it had."
            )
            return None
        labels = self.loaded.replace(data=painted.copy())
        return self._saved(labels, self.sheet.correct(self.index, labels, self.image))

    def _saved(self, labels: Image, job: Job[None]) -> Job[None]:
        yield from job
        self.loaded = labels

    def remove_layers(self) -> None:
        """Remove this case's layers."""
        going, self.layers = self.layers, []
        for layer in going:
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        self.loaded = self.image = None

    def _removed(self, event: Any) -> None:
        """Say what becomes of a layer of this case that somebody removed."""
        if any(layer == event.value for layer in self.layers):  # either may be a proxy
            self.line.setText(
                f"{self.where()}{event.value.name} was removed from the view. Its file is kept, and what was painted "
                "on the labels is saved when you go on; go on and come back to see it again."
            )

    def _work(self, job: Job[Any], done: Any) -> None:
        self.worker = JobWorker(
            job,
            on_progress=lambda p: self.line.setText(p.message),
            on_result=done,
            on_error=self._failed,
            on_end=self._ended,
            quick=True,
            owner=self,
        )

    def _failed(self, error: Exception) -> None:
        self.wanted = self.index
        self.line.setText(f"{self.where()}{error}")

    def _turn(self, step: int) -> Any:
        def turn(viewer: Any) -> None:
            self.go((self.index if self.worker is None else self.wanted) + step)

        return turn

    def _show(self, case: tuple[Image, Image]) -> None:
        if self.sheet is None:  # the review was ended meanwhile
            return
        image, labels = case
        data, kwargs, _ = layer_data(image)
        added = self.viewer.add_image(data, **kwargs)
        self.layers = [*added] if isinstance(added, list) else [added]
        data, kwargs, _ = layer_data(labels)
        self.layers.append(
            self.viewer.add_labels(data.copy(), opacity=0.5, **{**kwargs, "name": f"{image.name} · labels"})
        )
        self.image, self.loaded = case
        self.reason.setText(self.sheet.entries[self.index].reason)
        self.viewer.reset_view()
        self.line.setText(self.where())
        self._read_ahead()

    def _ended(self) -> None:
        self.worker = None
        if self.sheet is not None and self.wanted != self.index:
            self.go(self.wanted)
