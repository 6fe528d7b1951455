"""What a refinement begins with: image, start, engine, models and settings."""

from __future__ import annotations

import shlex
from functools import cached_property
from typing import TYPE_CHECKING, Any

from napari.layers import Shapes
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QLabel, QPushButton, QSpinBox, QVBoxLayout, QWidget

from napari_medseg._napari.layers import add_part, add_time_point, image_from_layer, image_layers, label_layers
from napari_medseg._napari.refine.jobs import Start
from napari_medseg._napari.refine.layers import RefineLayers
from napari_medseg._napari.refine.outlines import Outline, closed_shapes, part_around
from napari_medseg._napari.refine.saves import KEPT, Saved, saved_models, saved_sessions
from napari_medseg._napari.widgets.channels import ChannelChooser, combined
from napari_medseg._napari.widgets.dock import FoldedSettings
from napari_medseg._napari.widgets.form import SettingsForm
from napari_medseg._napari.widgets.layer_chooser import LayerChooser
from napari_medseg._napari.widgets.listening import listen
from napari_medseg.errors import MedSegError
from napari_medseg.image import Image
from napari_medseg.io.geometry import part_of
from napari_medseg.io.volumes.space import at_time
from napari_medseg.refinement.history import Box
from napari_medseg.refinement.settings import RefinementSettings
from napari_medseg.refinement.state import check_image
from napari_medseg.settings import Role, as_flags

if TYPE_CHECKING:
    from napari_medseg._napari.docks.model_chooser import ModelChooser

WHOLE = "whole image"
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
        self.time = QSpinBox()
        self.time.setToolTip("Of a movie one time point is refined; pictures of a movie can be refined all together")
        self.where = QComboBox()
        self.where.setToolTip("Of a large image only the part around a box: what lies outside the box is background")
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            listen(event, self.list_boxes)
        self.box_button = QPushButton("Draw a box")
        self.box_button.clicked.connect(lambda: self.draw_box())
        self.sessions, self.problem = QComboBox(), ""
        self.resume_button = QPushButton("Continue session")
        self.resume_button.clicked.connect(lambda: self.resume.emit())
        self.origin, self.engine = QComboBox(), QComboBox()
        self.origin.addItems([NOTHING, LABELS, PROPOSAL])
        self.engine.addItems([GEODESIC, DEEPIGEOS])
        self.labels = LayerChooser(viewer, label_layers)
        self.places = {"propose": QVBoxLayout(), "refine": QVBoxLayout()}
        self.fitting: Image | None = None
        self.form = SettingsForm(RefinementSettings(), hidden=("engine",))
        self.folded = FoldedSettings(self.form, self.command)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (
            QLabel("<b>Input</b>"), self.input, self.time, self.channels, self.where, self.box_button,
            self.sessions, self.resume_button, QLabel("<b>Start from</b>"), self.origin, self.labels,
            self.places["propose"], QLabel("<b>With</b>"), self.engine, self.places["refine"], self.folded,
        ):  # fmt: skip
            column.addWidget(part) if isinstance(part, QWidget) else column.addLayout(part)
        self.input.changed.connect(self.update_input)
        self.channels.changed.connect(self.update_image)
        self.where.currentIndexChanged.connect(lambda _: self.update_image())
        self.time.valueChanged.connect(lambda _: self.update_image())
        for signal in (self.labels.changed, self.origin.currentTextChanged, self.engine.currentTextChanged):
            signal.connect(lambda *_: self.update_choice())
        self.list_boxes()
        self.update_input()

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
        """What is refined: the chosen image with its further channels, one time point of it, the part around a box."""
        layer = self.input.layer
        if layer is None:
            return None
        image = combined([layer, *self.channels.chosen])
        if image.spatial_axes.startswith("T"):
            image = as_stack(image) if self.time.value() < 0 else at_time(image, self.time.value())
        box = self._box()
        if box is None:
            return image
        index = (slice(None), *box) if image.axes.startswith("C") else box
        return part_of(image.replace(data=image.data[index]), [s.start for s in box])

    def _box(self) -> Box | None:
        """Return the part of the chosen image that is refined, ``None`` for all of it."""
        shapes, layer = self.box_layer, self.input.layer
        box = None if shapes is None or layer is None else part_around(shapes, layer)
        return None if box is None else box[-layer.ndim + self._timed :]

    @property
    def _timed(self) -> int:
        """1 if one time point of the chosen layer is refined, else 0."""
        image = self.input.image
        return int(image is not None and image.spatial_axes.startswith("T") and self.time.value() >= 0)

    def target(self) -> Any:
        """Return the layer that the refinement lies on: the chosen one, or one of its time point or part."""
        chosen, box = self.input.layer, self._box()
        layer = add_time_point(self.viewer, chosen, self.time.value()) if self._timed else chosen
        layer = layer if box is None else add_part(self.viewer, layer, box)
        self.input.choose(chosen)  # the list follows the layer that is added
        return layer

    def draw_box(self) -> None:
        """Let the user draw a box around what is to be refined."""
        layer = self.input.layer
        if layer is not None:
            self.drawn = Outline(self.viewer, layer, "box", self._drawn)
            self.input.choose(layer)

    def _drawn(self, shapes: Shapes) -> None:
        shapes.mode = "select"  # so that the box can be moved and stretched
        self.where.setCurrentText(shapes.name)

    @property
    def box_layer(self) -> Shapes | None:
        """The Shapes layer around whose shapes the image is refined; ``None``: all of it."""
        name = self.where.currentText()
        return next((layer for layer in closed_shapes(self.viewer) if layer.name == name), None)

    def list_boxes(self, event: Any = None) -> None:
        """List the Shapes layers whose boxes can be worked in."""
        chosen, names = self.where.currentText(), [layer.name for layer in closed_shapes(self.viewer)]
        self.where.blockSignals(True)
        self.where.clear()
        self.where.addItems([WHOLE, *names])
        self.where.setCurrentText(chosen if chosen in names else WHOLE)
        self.where.blockSignals(False)
        self.where.setVisible(bool(names))

    def update_input(self) -> None:
        """List the further channels that fit the image, offer its time points, and judge it."""
        image = self.input.image
        movie = image is not None and image.spatial_axes.startswith("T")
        self.time.setVisible(movie)
        if image is not None and movie:
            flat, frames = len(image.spatial_axes) == 3, image.data.shape[image.axes.index("T")]
            self.time.blockSignals(True)
            self.time.setRange(-1 if flat else 0, frames - 1)
            self.time.setSpecialValueText("all frames together" if flat else "")
            self.time.setPrefix("time point ")
            self.time.setValue(min(int(self.viewer.dims.current_step[-len(image.spatial_axes)]), frames - 1))
            self.time.blockSignals(False)
        self.box_button.setVisible(image is not None)
        self.channels.show_for(self.input.layer)
        self.update_image()

    def update_image(self) -> None:
        """Judge the models against the image, and look for sessions to continue."""
        image, self.problem = None, ""
        try:
            image = self.image
            if image is not None:
                check_image(image)
        except MedSegError as error:
            image, self.problem = None, str(error)
        self.fitting = image
        for name in self.__dict__.keys() & {"pnet", "rnet"}:
            getattr(self, name).set_image(image)
        self.sessions.clear()
        for saved in saved_sessions(image) if image is not None else ():
            self.sessions.addItem(saved.describe(), saved)
            self.sessions.setItemData(self.sessions.count() - 1, str(saved.folder), Qt.ItemDataRole.ToolTipRole)
        self.sessions.setToolTip(f"Of each image the newest {KEPT} sessions are kept")
        for widget in (self.sessions, self.resume_button):
            widget.setVisible(self.saved is not None)
        self.update_choice()

    @property
    def saved(self) -> Saved | None:
        """The chosen one of the sessions that can be continued, the newest at first."""
        return self.sessions.currentData()

    def update_choice(self) -> None:
        """Show the choosers that are needed."""
        self.labels.setVisible(self.origin.currentText() == LABELS)
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
        image, layer, origin = self.image, target or self.input.layer, self.origin.currentText()
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
            box=self.box_layer,
        )  # fmt: skip

    def resumed(self) -> Start:
        """Return how to continue the saved session, with its own models or else those chosen here."""
        assert self.saved is not None  # the button is hidden without one
        models = saved_models(self.saved.folder)
        for name in ("rnet", "pnet"):
            path = models[name]
            if path is not None and not path.exists() and getattr(self, name).entry is not None:
                models[name] = getattr(self, name).entry.path
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


def as_stack(image: Image) -> Image:
    """Return the frames of a movie as slices that lie as far apart as pixels are wide."""
    scale, units = (image.scale[-1], *image.scale[1:]), (image.units[-1], *image.units[1:])
    return image.replace(axes=image.axes.replace("T", "Z"), scale=scale, units=units, affine=None)
