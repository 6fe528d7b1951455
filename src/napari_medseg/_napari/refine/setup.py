"""What a refinement begins with: the picture, what to start from, engine, models and settings."""

from __future__ import annotations

import shlex
from functools import cached_property
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_medseg._napari.layers import image_from_layer, label_layers
from napari_medseg._napari.refine.jobs import Start
from napari_medseg._napari.refine.layers import RefineLayers
from napari_medseg._napari.refine.picture import Picture
from napari_medseg._napari.refine.saves import KEPT, Saved, saved_models, saved_sessions
from napari_medseg._napari.widgets.dock import FoldedSettings
from napari_medseg._napari.widgets.form import SettingsForm
from napari_medseg._napari.widgets.layer_chooser import LayerChooser
from napari_medseg._napari.widgets.named import Choices, push_button
from napari_medseg.errors import DataError, MedSegError
from napari_medseg.image import Image
from napari_medseg.refinement.settings import RefinementSettings
from napari_medseg.refinement.state import check_image
from napari_medseg.settings import Role, as_flags

if TYPE_CHECKING:
    from napari_medseg._napari.docks.model_chooser import ModelChooser

NOTHING, LABELS, PROPOSAL = "nothing", "a Labels layer", "a proposal (P-Net model)"
OBJECTS = "objects of a Labels layer"
ORIGIN = (
    "A Labels layer becomes the mask, as one foreground or as so many classes as Settings say. Objects of a "
    "Labels layer: each stays an object of its own with its number, and is opened to be corrected"
)
OPEN = "Point at an object and press O to correct it, then A; or paint a new one."
GEODESIC, DEEPIGEOS = "geodesic (works on anything)", "DeepIGeoS (R-Net model)"


class Setup(QWidget):
    """The upper half of the dock; `reason` says why it cannot start yet, `resume` asks to continue a saved session."""

    changed, resume = Signal(), Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.picture = Picture(viewer)
        self.problem = ""  # why the chosen image cannot be refined
        self.sessions = Choices("Saved sessions", "Earlier refinements of this image, the newest first")
        self.resume_button = push_button("Continue session", "Go on with the chosen refinement where it ended")
        self.resume_button.clicked.connect(lambda: self.resume.emit())
        self.engine = Choices("Engine", "What turns strokes into a mask")
        self.origin = Choices("Start from", ORIGIN)
        self.origin.addItems([NOTHING, LABELS, OBJECTS, PROPOSAL])
        self.engine.addItems([GEODESIC, DEEPIGEOS])
        self.labels = LayerChooser(viewer, label_layers, name="Labels to start from")
        self.places = {"propose": QVBoxLayout(), "refine": QVBoxLayout()}
        self.fitting: Image | None = None
        self.form = SettingsForm(RefinementSettings(), hidden=("engine",))
        self.folded = FoldedSettings(self.form, self.command)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (
            QLabel("<b>Input</b>"), self.picture, self.sessions, self.resume_button,
            QLabel("<b>Start from</b>"), self.origin, self.labels, self.places["propose"],
            QLabel("<b>With</b>"), self.engine, self.places["refine"], self.folded,
        ):  # fmt: skip
            column.addWidget(part) if isinstance(part, QWidget) else column.addLayout(part)
        self.picture.changed.connect(self.update_image)
        for signal in (self.labels.changed, self.origin.currentTextChanged, self.engine.currentTextChanged):
            signal.connect(lambda *_: self.update_choice())
        self.update_image()

    @cached_property
    def pnet(self) -> ModelChooser:
        """The list of P-Net models, made when it is asked for: reading models takes torch."""
        return self._models("propose", planes=True)

    @cached_property
    def rnet(self) -> ModelChooser:
        """The list of R-Net models."""
        return self._models("refine", planes=False)

    def _models(self, role: Role, planes: bool) -> ModelChooser:
        from napari_medseg._napari.docks.model_chooser import ModelChooser

        chooser = ModelChooser(role, planes=planes)
        chooser.set_image(self.fitting)
        chooser.changed.connect(lambda *_: self.update_choice())
        self.places[role].addWidget(chooser)
        return chooser

    @property
    def _from_labels(self) -> bool:
        return bool(self.origin.currentText() in (LABELS, OBJECTS))

    @property
    def reason(self) -> str:
        """Why it cannot start; empty when it can."""
        if self.picture.input.layer is None:
            return "Open an image first."
        if self.problem:
            return self.problem
        if self._from_labels and self.labels.layer is None:
            return "Open a Labels layer to start from, or start from nothing."
        wanted = [self.pnet] if self.origin.currentText() == PROPOSAL else []
        wanted += [self.rnet] if self.engine.currentText() == DEEPIGEOS else []
        return next((models.reason for models in wanted if models.reason), "")

    def update_image(self) -> None:
        """Judge the models against the image, and look for sessions to continue."""
        image, self.problem = None, ""
        try:
            image = self.picture.image
            if image is not None:
                check_image(image)
        except MedSegError as error:
            image, self.problem = None, str(error)
        self.fitting = image
        for name in self.__dict__.keys() & {"pnet", "rnet"}:
            getattr(self, name).set_image(image)
        chosen = self.saved if self.sessions.currentIndex() > 0 else None
        self.sessions.clear()
        layer = self.picture.input.layer if self.picture.pyramid else None
        for saved in self._saved_of(image, layer) if image is not None else ():
            self.sessions.addItem(saved.describe(), saved)
            self.sessions.setItemData(self.sessions.count() - 1, str(saved.folder), Qt.ItemDataRole.ToolTipRole)
            if chosen is not None and saved.folder == chosen.folder:  # layers come and go meanwhile
                self.sessions.setCurrentIndex(self.sessions.count() - 1)
        self.sessions.setToolTip(f"Of each image the newest {KEPT} sessions are kept")
        for widget in (self.sessions, self.resume_button):
            widget.setVisible(self.saved is not None)
        self.update_choice()

    def _saved_of(self, image: Image, pyramid: Any) -> list[Saved]:
        """Return the saved sessions of an image, none where its values cannot be read: Start says why."""
        try:
            return saved_sessions(image, pyramid)
        except (OSError, ValueError, RuntimeError, LookupError):
            return []

    @property
    def saved(self) -> Saved | None:
        """The chosen one of the sessions that can be continued, the newest at first."""
        return self.sessions.currentData()

    def update_choice(self) -> None:
        """Show the choosers that are needed."""
        self.labels.setVisible(self._from_labels)
        wanted = {"pnet": self.origin.currentText() == PROPOSAL, "rnet": self.engine.currentText() == DEEPIGEOS}
        for name, shown in wanted.items():
            if shown or name in self.__dict__:
                getattr(self, name).setVisible(shown)
        self.changed.emit()

    def start(self, target: Any = None) -> Start:
        """Return what was chosen, to be refined on the layer `target` (default: the chosen one).

        Raises
        ------
        MedSegError
            If a setting or a layer does not fit.
        """
        picture, origin = self.picture, self.origin.currentText()
        image, layer = picture.taken or picture.image, target or picture.input.layer
        assert image is not None  # Start is disabled without one
        deep = self.engine.currentText() == DEEPIGEOS
        settings = self.form.value.updated(engine="deepigeos" if deep else "geodesic")
        corrected = self.labels.layer if self._from_labels else None
        objects = corrected if origin == OBJECTS else RefineLayers.find(self.viewer, layer)
        if origin == LABELS and objects == corrected:
            objects = None  # accepted objects that are corrected cannot be locked
        note = " ".join(filter(None, (picture.note(image), OPEN if origin == OBJECTS else "")))
        elsewhere = [one for one in RefineLayers.elsewhere(self.viewer, picture.whole, objects) if one is not corrected]
        return Start(
            image, settings,
            initial=image_from_layer(corrected) if origin == LABELS else None,
            locked=image_from_layer(objects) if objects is not None else None,
            others=tuple(image_from_layer(one) for one in elsewhere), whole=picture.whole,
            rnet=self.rnet.entry.path if deep and self.rnet.entry else None,
            pnet=self.pnet.entry.path if origin == PROPOSAL and self.pnet.entry else None,
            box=picture.box_layer, given=corrected, note=note,
        )  # fmt: skip

    def resumed(self, saved: Saved) -> Start:
        """Return how to continue a saved session, with its own models or else those chosen here."""
        models = saved_models(saved.folder)
        for name in ("rnet", "pnet"):
            path = models[name]
            if path is not None and not path.exists() and getattr(self, name).entry is not None:
                models[name] = getattr(self, name).entry.path
        image = self.picture.taken or self.picture.image
        assert image is not None  # the button is hidden without one
        return Start(image, saved=saved.folder, note=self.picture.note(image), whole=self.picture.whole, **models)

    def command(self) -> str:
        """Return the ``medseg refine`` line that does the same.

        Raises
        ------
        DataError
            If there is none.
        """
        if self.origin.currentText() == OBJECTS:
            raise DataError("Objects are corrected one by one in the window alone. Start from a Labels layer.")
        self.picture.taken = None
        start = self.start()
        source = str(start.image.metadata.get("source_file") or "IMAGE")
        words = ["medseg", "refine", source, "SCRIBBLES", "-o", "MASK", *as_flags(start.settings)]
        words += [f"--model={start.rnet}"] if start.rnet else []
        words += [f"--proposal={start.pnet}"] if start.pnet else []
        words += ["--initial", "LABELS"] if start.initial is not None else []
        return shlex.join(words)
