"""What a refinement begins with: image, start, engine, models and settings."""

from __future__ import annotations

import shlex
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_medseg._napari.docks.model_chooser import ModelChooser
from napari_medseg._napari.layers import image_from_layer, image_layers, label_layers
from napari_medseg._napari.refine.jobs import Start
from napari_medseg._napari.refine.layers import RefineLayers
from napari_medseg._napari.refine.saves import Saved, newest_saved, saved_models
from napari_medseg._napari.widgets.channels import ChannelChooser, combined
from napari_medseg._napari.widgets.dock import FoldedSettings
from napari_medseg._napari.widgets.form import SettingsForm
from napari_medseg._napari.widgets.layer_chooser import LayerChooser
from napari_medseg.errors import MedSegError
from napari_medseg.image import Image
from napari_medseg.refinement.settings import RefinementSettings
from napari_medseg.refinement.state import check_image
from napari_medseg.settings import as_flags

NOTHING, LABELS, PROPOSAL = "nothing", "a Labels layer", "a proposal (P-Net model)"
GEODESIC, DEEPIGEOS = "geodesic (works on anything)", "DeepIGeoS (R-Net model)"


class Setup(QWidget):
    """The upper half of the dock; `reason` says why it cannot start yet, `resume` asks to continue a saved session."""

    changed, resume = Signal(), Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.input = LayerChooser(viewer, image_layers, sample="mri", sizes=True)
        self.channels = ChannelChooser(viewer)
        self.saved: Saved | None = None
        self.problem = ""
        self.resume_button = QPushButton()
        self.resume_button.clicked.connect(lambda: self.resume.emit())
        self.origin, self.engine = QComboBox(), QComboBox()
        self.origin.addItems([NOTHING, LABELS, PROPOSAL])
        self.engine.addItems([GEODESIC, DEEPIGEOS])
        self.labels = LayerChooser(viewer, label_layers)
        self.pnet = ModelChooser("propose")
        self.rnet = ModelChooser("refine", planes=False)
        self.form = SettingsForm(RefinementSettings(), hidden=("engine",))
        self.folded = FoldedSettings(self.form, self.command)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (
            QLabel("<b>Input</b>"), self.input, self.channels, self.resume_button, QLabel("<b>Start from</b>"),
            self.origin, self.labels, self.pnet, QLabel("<b>With</b>"), self.engine, self.rnet, self.folded,
        ):  # fmt: skip
            column.addWidget(widget)
        self.input.changed.connect(self.update_input)
        self.channels.changed.connect(self.update_image)
        for signal in (self.labels.changed, self.pnet.changed, self.rnet.changed, self.origin.currentTextChanged,
                       self.engine.currentTextChanged):  # fmt: skip
            signal.connect(lambda *_: self.update_choice())
        self.update_input()

    @property
    def reason(self) -> str:
        """Why it cannot start; empty when it can."""
        if self.input.layer is None:
            return "Open an image first."
        if self.problem:
            return self.problem
        if self.origin.currentText() == LABELS and self.labels.layer is None:
            return "Open a Labels layer to start from, or start from nothing."
        wanted = [self.pnet] if self.origin.currentText() == PROPOSAL else []
        wanted += [self.rnet] if self.engine.currentText() == DEEPIGEOS else []
        return next((models.reason for models in wanted if models.reason), "")

    @property
    def image(self) -> Image | None:
        """The chosen image, with its further channels; ``None`` without a layer."""
        layer = self.input.layer
        return combined([layer, *self.channels.chosen]) if layer is not None else None

    def update_input(self) -> None:
        """List the further channels that fit the image, and judge it."""
        self.channels.show_for(self.input.layer)
        self.update_image()

    def update_image(self) -> None:
        """Judge the models against the image, and look for a session to continue."""
        image, self.problem = None, ""
        try:
            image = self.image
            if image is not None:
                check_image(image)
        except MedSegError as error:
            image, self.problem = None, str(error)
        self.pnet.set_image(image)
        self.rnet.set_image(image)
        self.saved = newest_saved(image) if image is not None else None
        self.resume_button.setText(self.saved.describe() if self.saved else "")
        self.resume_button.setToolTip(self.saved.explain() if self.saved else "")
        self.resume_button.setVisible(self.saved is not None)
        self.update_choice()

    def update_choice(self) -> None:
        """Show the choosers that are needed."""
        self.labels.setVisible(self.origin.currentText() == LABELS)
        self.pnet.setVisible(self.origin.currentText() == PROPOSAL)
        self.rnet.setVisible(self.engine.currentText() == DEEPIGEOS)
        self.changed.emit()

    def start(self) -> Start:
        """Return what was chosen.

        Raises
        ------
        MedSegError
            If a setting or a layer does not fit.
        """
        image, layer, origin = self.image, self.input.layer, self.origin.currentText()
        assert image is not None  # Start is disabled without one
        deep = self.engine.currentText() == DEEPIGEOS
        settings = self.form.value.updated(engine="deepigeos" if deep else "geodesic")
        objects = RefineLayers.find(self.viewer, layer)
        if origin == LABELS and objects == self.labels.layer:
            objects = None  # accepted objects that are corrected cannot be locked
        return Start(
            image, settings,
            initial=image_from_layer(self.labels.layer) if origin == LABELS else None,
            locked=image_from_layer(objects) if objects is not None else None,
            rnet=self.rnet.entry.path if deep and self.rnet.entry else None,
            pnet=self.pnet.entry.path if origin == PROPOSAL and self.pnet.entry else None,
        )  # fmt: skip

    def resumed(self) -> Start:
        """Return how to continue the saved session, with its own models or else those chosen here."""
        assert self.saved is not None  # the button is hidden without one
        models = saved_models(self.saved.folder)
        for name, chooser in (("rnet", self.rnet), ("pnet", self.pnet)):
            path = models[name]
            if path is not None and not path.exists() and chooser.entry is not None:
                models[name] = chooser.entry.path
        image = self.image
        assert image is not None  # the button is hidden without one
        return Start(image, saved=self.saved.folder, **models)

    def command(self) -> str:
        """Return the ``medseg refine`` line that does the same."""
        start = self.start()
        source = str(start.image.metadata.get("source_file") or "IMAGE")
        words = ["medseg", "refine", source, "SCRIBBLES", "-o", "MASK", *as_flags(start.settings)]
        words += [f"--model={start.rnet}"] if start.rnet else []
        words += [f"--proposal={start.pnet}"] if start.pnet else []
        words += ["--initial", "LABELS"] if start.initial is not None else []
        return shlex.join(words)
