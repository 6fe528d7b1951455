"""Nerves as editable paths: a Shapes layer coloured by class, and a table that follows its edits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Layer
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_medseg._napari.layers import DERIVED, image_from_layer
from napari_medseg._napari.nerves.pictures import with_picture
from napari_medseg._napari.nerves.tracings import Paths, colour, recolour, shapes_data
from napari_medseg._napari.widgets.listening import listen
from napari_medseg._napari.widgets.named import named
from napari_medseg._napari.worker import JobWorker
from napari_medseg.errors import MedSegError
from napari_medseg.image import Image
from napari_medseg.io.geometry import measurable
from napari_medseg.jobs import Job, Progress
from napari_medseg.measure import curves, nerve
from napari_medseg.measure.settings import NerveSettings

PATHS_OF = "medseg_paths_of"  # in the metadata of a layer of paths: the ``unique_id`` of the labels they belong to
TOLERANCE_PX = 0.25
DELAY_MS = 150


def trace(labels: Image, settings: NerveSettings | None = None) -> Job[tuple[list[np.ndarray], list[str]]]:
    """Return the nerves of `labels` as paths of few vertices, within a quarter of a pixel, and their classes."""
    yield Progress(0, 1, "tracing the nerves")
    found, classes = nerve.paths(labels, settings)
    return [curves.simplify(path, TOLERANCE_PX) for path in found], classes


def measure_paths(
    paths: Paths,
    classes: Sequence[str],
    labels: Image,
    settings: NerveSettings | None = None,
    picture: Image | None = None,
) -> Job[tuple[pd.DataFrame, pd.DataFrame]]:
    """Return the table of edited paths and the one-row summary; `picture` is on the grid of the labels."""
    yield Progress(0, 1, "measuring the paths")
    mask = np.asarray(labels.data) > 0
    known = (paths, classes, labels.spatial_shape, labels.scale, labels.units, mask)
    summary = nerve.summary_from_paths(*known, settings=settings, picture=picture)
    return nerve.table_from_paths(*known), pd.DataFrame([summary])


def path_layer_name(labels: str) -> str:
    """Return the name of the layer of paths that belongs to a Labels layer."""
    return f"{labels} · nerves"


class NervePaths(QWidget):
    """Show the nerves of a Labels layer as paths; `show(table, summary, layer)` is called after every edit.

    `labels` returns the layer, `picture` the Image layer of one or ``None``, `settings` those of the measurement.
    """

    def __init__(
        self,
        viewer: Any,
        labels: Callable[[], Layer],
        picture: Callable[[Layer], Layer | None],
        settings: Callable[[], NerveSettings],
        show: Callable[[pd.DataFrame, pd.DataFrame, Any], None],
    ) -> None:
        super().__init__()
        self.viewer, self.labels, self.picture = viewer, labels, picture
        self.settings, self.show_result = settings, show
        self.layer: Any = None
        self.source: Any = None
        self.image: Image | None = None
        self.worker: JobWorker | None = None
        self.show_button, self.line = QPushButton("Show paths"), QLabel("")
        named(self.show_button, "Show paths", "Trace the nerves as paths that can be edited; the table follows")
        self.show_button.clicked.connect(self.start)
        self.line.setWordWrap(True)
        row = QHBoxLayout()
        row.addWidget(self.show_button)
        for kind, name in (("main", "Main nerve"), ("branch", "Branch")):
            button = QPushButton(name)
            button.setToolTip(f"Make the selected paths, and those drawn next, of class {kind}")
            button.setStyleSheet(f"border-bottom: 3px solid {colour(kind)}")
            button.clicked.connect(lambda _=False, kind=kind: self.mark(kind))
            row.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.line)
        self.timer = QTimer(self)
        self.timer.setSingleShot(True)
        self.timer.setInterval(DELAY_MS)
        self.timer.timeout.connect(self.measure)
        listen(viewer.layers.events.removed, self._removed)

    def start(self) -> None:
        """Trace the chosen labels in a worker and add the layer of paths."""
        try:
            self.source = self.labels()
            self.image = image_from_layer(self.source)
            job = trace(self.image, self.settings())
        except MedSegError as error:
            self.line.setText(str(error))
            return
        self._run(job, self._add)

    def mark(self, kind: str) -> None:
        """Give the selected paths, and paths drawn next, a class."""
        if self.layer is None:
            self.line.setText("Press Show paths first.")
            return
        features = self.layer.features.copy()
        features.loc[sorted(self.layer.selected_data), "class"] = kind
        self.layer.features = features
        self.layer.feature_defaults = {"class": kind}
        self.layer.current_edge_color = colour(kind)

    def measure(self) -> None:
        """Measure the paths as they are now; while a measurement runs, soon after it."""
        if self.layer is None or self.worker is not None:
            if self.layer is not None:
                self.timer.start()
            return
        paths = [np.array(path) for path in self.layer.data]
        try:
            # their pixel size may have been entered since
            self.image, picture = with_picture(self.source, self.picture(self.source))
            classes = self.layer.features["class"].tolist()
            job = measure_paths(paths, classes, measurable(self.image), self.settings(), picture)
        except MedSegError as error:
            self.line.setText(str(error))
            return
        self._run(job, self._measured)

    def _run(self, job: Job[Any], done: Callable[[Any], None]) -> None:
        def end() -> None:
            self.worker = None

        self.worker = JobWorker(
            job,
            on_progress=lambda p: self.line.setText(p.message),
            on_result=done,
            on_error=lambda error: self.line.setText(str(error)),
            on_end=end,
            quick=True,
            owner=self,
        )

    def _add(self, result: tuple[Paths, Sequence[str]]) -> None:
        data, kwargs, _ = shapes_data(*result, self.image, path_layer_name(self.image.name))
        own = {**DERIVED, PATHS_OF: self.source.unique_id}  # it belongs to its labels, which are measured with it
        kwargs["metadata"] = {**kwargs["metadata"], **own}
        self.layer = self.viewer.add_shapes(data, **kwargs)
        self.layer.current_edge_color = colour("main")
        for event in (self.layer.events.data, self.layer.events.features):
            listen(event, self._edited)
        self.timer.start()

    def _edited(self, event: Any = None) -> None:
        self.timer.start()

    def _measured(self, result: tuple[pd.DataFrame, pd.DataFrame]) -> None:
        if self.layer is None:
            return
        n = len(result[0])
        self.line.setText(f"{n} paths; the table follows your edits")
        recolour(self.layer)
        self.show_result(*result, self.layer)

    def _removed(self, event: Any) -> None:
        if self.layer is not None and self.layer == event.value:  # either may be a proxy
            self.timer.stop()
            self.layer = None
            self.line.setText("")
