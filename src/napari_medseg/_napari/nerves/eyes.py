"""Measures of each eye: mean and SD over its images, from the open layers or from a folder of results."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_medseg._napari.layers import image_from_layer, label_layers
from napari_medseg._napari.nerves.paths import path_layer_name
from napari_medseg._napari.worker import JobWorker
from napari_medseg.errors import DataError, MedSegError
from napari_medseg.image import Image
from napari_medseg.jobs import Job, Progress
from napari_medseg.measure import nerve
from napari_medseg.measure.eyes import assignment
from napari_medseg.measure.files import Tables, measure_files

Drawn = tuple[list[np.ndarray], list[str]]


def measure_layers(found: Sequence[tuple[Image, Drawn | None]], eyes: str = "") -> Job[pd.DataFrame]:
    """Return a row for each eye of label images; where paths were drawn they count, not the mask's centreline.

    `eyes` says how names state subject and eye, or names a table (`napari_medseg.measure.eyes.assignment`).
    """
    frames = []
    who = assignment(eyes) if eyes else None
    for index, (labels, drawn) in enumerate(found, 1):
        row = nerve.summary(labels) if drawn is None else _drawn_summary(labels, *drawn)
        known = who(plain_name(labels.name)) if who is not None else None
        frames.append(row if known is None else row.assign(**known))
        yield Progress(index, len(found), f"measured {labels.name}")
    return nerve.by_eye(frames)


def measure_folder(folder: Path, eyes: str = "") -> Job[pd.DataFrame]:
    """Return a row for each eye of the label images in `folder`; files that cannot be measured are named."""
    tables: Tables = yield from measure_files("nerve", [folder], eyes=eyes)
    if tables.problems:
        yield Progress(1, 1, "not measured: " + "; ".join(tables.problems))
    eyes = tables.eyes if tables.eyes is not None else pd.DataFrame()
    return eyes.assign(**({"not measured": "; ".join(tables.problems)} if tables.problems else {}))


class NerveEyes(QWidget):
    """Buttons for the eyes of the open Labels layers or of a folder; `show` is called with the table."""

    def __init__(self, viewer: Any, show: Callable[[pd.DataFrame], None]) -> None:
        super().__init__()
        self.viewer, self.show_result = viewer, show
        self.worker: JobWorker | None = None
        self.layers_button, self.folder_button = QPushButton("Eyes of open layers"), QPushButton("Eyes of a folder ...")
        self.layers_button.setToolTip("Mean and SD of each eye over all open Labels layers; edited paths count")
        self.folder_button.setToolTip("Mean and SD of each eye over the label images of a folder")
        self.layers_button.clicked.connect(self.start_layers)
        self.folder_button.clicked.connect(lambda: self.start_folder())
        self.names = QLineEdit()
        self.names.setPlaceholderText("names: {subject}_{eye}_{frame}, or a table .csv")
        self.names.setToolTip(
            "How names state subject, eye and site (* is anything), or a CSV table with the columns image, subject, "
            "eye, site; empty: as the corneal microscope names them"
        )
        self.line = QLabel("")
        self.line.setWordWrap(True)
        row = QHBoxLayout()
        row.addWidget(self.layers_button)
        row.addWidget(self.folder_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.names)
        layout.addWidget(self.line)

    def start_layers(self) -> None:
        """Measure all open 2D Labels layers."""
        try:
            found = [(image_from_layer(layer), self._drawn(layer)) for layer in label_layers(self.viewer)]
            found = [(image, drawn) for image, drawn in reversed(found) if image.spatial_axes == "YX"]
            if not found:
                raise DataError("Open or make 2D Labels layers first.")
        except MedSegError as error:
            self.line.setText(str(error))
            return
        self._run(measure_layers(found, self.names.text().strip()))

    def start_folder(self, folder: str = "") -> None:
        """Measure the label images of a folder."""
        folder = folder or QFileDialog.getExistingDirectory(self, "Folder of label images")
        if folder:
            self._run(measure_folder(Path(folder), self.names.text().strip()))

    def _drawn(self, layer: Any) -> Drawn | None:
        name = path_layer_name(layer.name)
        if name not in self.viewer.layers:
            return None
        paths = self.viewer.layers[name]
        return [np.array(path) for path in paths.data], paths.features["class"].tolist()

    def _run(self, job: Job[pd.DataFrame]) -> None:
        if self.worker is not None:
            return
        self.worker = JobWorker(
            job,
            on_progress=lambda p: self.line.setText(p.message),
            on_result=self._measured,
            on_error=lambda error: self.line.setText(str(error)),
            on_end=self._end,
        )

    def _measured(self, eyes: pd.DataFrame) -> None:
        images = int(eyes["images used"].sum())
        notes = [text for name in ("overlap warning", "not measured") if name in eyes for text in eyes[name] if text]
        self.line.setText("\n".join([f"{len(eyes)} eyes, {images} images", *dict.fromkeys(notes)]))
        self.show_result(eyes)

    def _end(self) -> None:
        self.worker = None


def plain_name(name: str) -> str:
    """Return the name of an image without what the viewer adds to it: the method, a number in brackets."""
    return re.sub(r"( · .*| \[\d+\])$", "", name)


def _drawn_summary(labels: Image, paths: list[np.ndarray], classes: list[str]) -> pd.DataFrame:
    mask = np.asarray(labels.data) > 0
    measures = nerve.summary_from_paths(paths, classes, labels.spatial_shape, labels.scale, labels.units, mask)
    return pd.DataFrame([{**nerve.identity(labels), **measures}])
