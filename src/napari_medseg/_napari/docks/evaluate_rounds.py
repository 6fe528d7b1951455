"""The rounds of a recorded refinement against a reference: what is chosen, and Dice over the steps."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pyqtgraph as pg
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_medseg._napari.layers import image_from_layer, image_layers
from napari_medseg._napari.refine.saves import SESSIONS, saved_sessions
from napari_medseg._napari.widgets.layer_chooser import FixedChooser, LayerChooser
from napari_medseg._napari.widgets.named import folder_edit, named
from napari_medseg._napari.widgets.plot_style import follow_theme
from napari_medseg.errors import DataError
from napari_medseg.evaluate.figures import LINE
from napari_medseg.evaluate.rounds import is_session, replay_scores
from napari_medseg.jobs import Job


class RoundsInput(QWidget):
    """The image that was refined, the folder of the session (the newest of that image is proposed), the reference."""

    def __init__(self, viewer: Any, changed: Any) -> None:
        super().__init__()
        self.image, self.reference = LayerChooser(viewer, image_layers), FixedChooser(viewer)
        self.session = folder_edit("Session folder", "A saved refinement of the image; the newest is proposed")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        fields = (("Image", self.image), ("Session folder", self.session), ("Reference", self.reference))
        for name, field in fields:
            layout.addWidget(QLabel(name))
            layout.addWidget(getattr(field, "native", field))
        self.image.changed.connect(self.propose)
        for signal in (self.image.changed, self.session.changed, self.reference.changed):
            signal.connect(lambda *_: changed())

    @property
    def folder(self) -> Path | None:
        """The chosen folder, if it holds a session."""
        value = self.session.value
        return Path(value) if value and is_session(Path(value)) else None

    @property
    def reason(self) -> str:
        """What is missing; empty when nothing is."""
        if self.image.layer is None or self.reference.layer is None:
            return "Open the image and its reference as a Labels layer."
        return "" if self.folder is not None else f"Choose the folder of a session; they are below {SESSIONS}."

    def propose(self) -> None:
        """Choose the newest session of the image, unless one is chosen."""
        if self.image.layer is None or self.folder is not None:
            return
        image = image_from_layer(self.image.layer)
        saved = saved_sessions(image)
        if saved:
            self.session.value = saved[0].folder

    def job(self) -> Job[pd.DataFrame]:
        """Return the job that repeats the session."""
        if self.folder is None or self.reason:
            raise DataError(self.reason)
        truth, image = image_from_layer(self.reference.layer), image_from_layer(self.image.layer)
        return replay_scores(self.folder, truth, image)

    def command(self, method: str) -> str:
        """Return the ``medseg evaluate`` line that does the same."""
        layers = self.reference.layer, self.image.layer
        files = ["" if layer is None else image_from_layer(layer).metadata["source_file"] for layer in layers]
        words = ["medseg", "evaluate", method, str(self.folder or "SESSION"), files[0] or "REF"]
        return shlex.join([*words, "--image", files[1] or "IMAGE"])


class RoundsCurve(pg.PlotWidget):
    """Dice over the steps of a refinement."""

    def __init__(self, viewer: Any) -> None:
        super().__init__(background=None)
        follow_theme(viewer, [self])
        named(self, "Dice over steps", "Dice after each step of the refinement").setFixedHeight(170)
        self.setLabel("bottom", "step")
        self.setLabel("left", "Dice")
        self.setYRange(0, 1)
        self.line = self.plot(pen=pg.mkPen(LINE, width=2), symbol="o", symbolSize=6, symbolBrush=LINE)
        self.hide()

    def show_rounds(self, frame: pd.DataFrame | None) -> None:
        """Draw the rows of `replay_scores`, or hide."""
        if frame is not None:
            self.line.setData(frame["step"].to_numpy(), frame["dice"].to_numpy())
        self.setVisible(frame is not None)
