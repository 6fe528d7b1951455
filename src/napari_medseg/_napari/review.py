"""Page through the results of a batch with the arrow keys; accept, exclude or correct each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_medseg._napari.layers import layer_data
from napari_medseg._napari.review_sheet import ACCEPTED, EXCLUDED, ReviewSheet, load_case
from napari_medseg._napari.worker import JobWorker
from napari_medseg.errors import MedSegError
from napari_medseg.image import Image

HELP = "<b>Left / Right</b> previous, next. Paint on the labels to correct them: they are saved when you go on."


class ReviewPanel(QWidget):
    """Show one case at a time: its image and its labels as layers."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.sheet: ReviewSheet | None = None
        self.index, self.wanted = -1, -1
        self.worker: JobWorker | None = None
        self.layers: list[Any] = []
        self.loaded: Image | None = None
        self.before: dict[str, Any] = {}
        self.keys, self.line, self.reason = QLabel(HELP), QLabel(""), QLineEdit()
        for text in (self.keys, self.line):
            text.setWordWrap(True)
        self.reason.setPlaceholderText("why it is excluded")
        self.accept_button, self.exclude_button = QPushButton("Accept"), QPushButton("Exclude")
        self.accept_button.clicked.connect(lambda: self.decide(ACCEPTED))
        self.exclude_button.clicked.connect(lambda: self.decide(EXCLUDED))
        self.reason.returnPressed.connect(lambda: self.decide(EXCLUDED))
        row = QHBoxLayout()
        row.addWidget(self.accept_button)
        row.addWidget(self.exclude_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.keys, self.line, self.reason):
            layout.addWidget(widget)
        layout.addLayout(row)
        self.hide()

    def open(self, folder: Path) -> None:
        """Start with the first undecided case of a result folder; raises `DataError` where there is none."""
        self.close_case()
        self.sheet = ReviewSheet(folder)
        self.index = -1
        self.show()
        if not self.before:
            for key, step in (("Left", -1), ("Right", 1)):
                self.before[key] = self.viewer.bind_key(key, self._turn(step), overwrite=True)
        first = next((i for i, e in enumerate(self.sheet.entries) if not e.decision), 0)
        self.go(first)

    def end(self) -> None:
        """Save corrections and give the keys back."""
        self.close_case()
        for key, there in self.before.items():
            self.viewer.bind_key(key, there, overwrite=True)
        self.before.clear()
        self.sheet = None
        self.hide()

    def go(self, index: int) -> None:
        """Show case `index`, after what is being read."""
        self.wanted = index % len(self.sheet.entries)
        if self.worker is not None:
            return
        self.close_case()
        entry = self.sheet.entries[self.wanted]
        self.index = self.wanted
        self.worker = JobWorker(
            load_case(entry.image, self.sheet.folder / entry.labels),
            on_progress=lambda p: self.line.setText(p.message),
            on_result=self._show,
            on_error=lambda error: self.line.setText(f"{self.where()}{error}"),
            on_end=self._read,
            quick=True,
        )

    def decide(self, decision: str) -> None:
        """Keep a decision about this case and go to the next undecided one."""
        if self.sheet is None or self.index < 0 or self.worker is not None:
            return
        reason = self.reason.text().strip() if decision == EXCLUDED else ""
        if decision == EXCLUDED and not reason:
            self.line.setText(f"{self.where()}Say why it is excluded, then press Exclude.")
            self.reason.setFocus()
            return
        self.sheet.decide(self.index, decision, reason)
        following = self.sheet.next_open(self.index)
        if following is None:
            self.save_corrections()
            self.line.setText(f"All {len(self.sheet.entries)} cases are reviewed: {self.sheet.folder / 'review.csv'}")
        else:
            self.go(following)

    def where(self) -> str:
        """Say which case this is and what was decided."""
        if self.sheet is None:
            return ""
        entry = self.sheet.entries[self.index]
        state = " · ".join(filter(None, (entry.decision, entry.reason, "corrected" if entry.corrected else "")))
        return f"<b>{self.index + 1} of {len(self.sheet.entries)}</b> {entry.image.name} · {state or 'open'}<br>"

    def save_corrections(self) -> None:
        """Write the labels back if they were painted on."""
        painted = np.asarray(self.layers[-1].data) if self.layers else None
        if self.sheet is None or self.loaded is None or np.array_equal(painted, self.loaded.data):
            return
        self.loaded = self.loaded.replace(data=painted.copy())
        try:
            self.sheet.correct(self.index, self.loaded)
        except MedSegError as error:
            self.line.setText(str(error))

    def close_case(self) -> None:
        """Save corrections and remove this case's layers."""
        self.save_corrections()
        for layer in self.layers:
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        self.layers, self.loaded = [], None

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
        self.layers.append(self.viewer.add_labels(data.copy(), opacity=0.5, **kwargs))
        self.loaded = labels
        self.reason.setText(self.sheet.entries[self.index].reason)
        self.viewer.reset_view()
        self.line.setText(self.where())

    def _read(self) -> None:
        self.worker = None
        if self.sheet is not None and self.wanted != self.index:
            self.go(self.wanted)
