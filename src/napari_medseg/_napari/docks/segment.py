"""The Segment dock: a layer, a model, Run."""

from __future__ import annotations

import contextlib
import shlex
from typing import Any

import napari
from napari.layers import Layer
from qtpy.QtWidgets import QCheckBox, QLabel

from napari_medseg._napari import remote
from napari_medseg._napari.docks.model_chooser import ModelChooser
from napari_medseg._napari.layers import DERIVED, image_from_layer, image_layers, in_layer, like
from napari_medseg._napari.preferences import predict_settings
from napari_medseg._napari.view import view_box
from napari_medseg._napari.widgets.channels import ChannelChooser, combined
from napari_medseg._napari.widgets.dock import Dock, FoldedSettings, show_device
from napari_medseg._napari.widgets.export_button import ExportButton
from napari_medseg._napari.widgets.form import SettingsForm
from napari_medseg._napari.widgets.layer_chooser import LayerChooser
from napari_medseg._napari.widgets.listening import listen
from napari_medseg._napari.widgets.named import Choices
from napari_medseg._napari.widgets.run_bar import RunBar
from napari_medseg._napari.widgets.words import duration
from napari_medseg._napari.world import moved_to
from napari_medseg.errors import DataError, MedSegError
from napari_medseg.image import Image
from napari_medseg.io.geometry import cut_out, in_order
from napari_medseg.jobs import Job
from napari_medseg.models.purpose import FAR, PixelSize, no_cell_fits
from napari_medseg.settings import PredictSettings, as_flags

WHOLE, VIEW = "whole image", "current view"
MOST = 100_000_000  # pixels that a window segments at once


class ExtentChooser(Choices):
    """Whole image or current view; of a slide the view is proposed first."""

    def __init__(self, viewer: Any) -> None:
        super().__init__("Extent", "All of the image, or only what the window shows of it")
        self.viewer = viewer
        self.addItems([WHOLE, VIEW])
        self._seen: Layer | None = None

    def suit(self, layer: Layer | None) -> None:
        """Propose the current view for a layer of several resolutions, when it is chosen anew."""
        if layer is not None and layer is not self._seen:
            self._seen = layer
            self.setCurrentText(VIEW if getattr(layer, "multiscale", False) else WHOLE)

    def cut(self, layer: Layer, *channels: Layer) -> tuple[Image, tuple[int, ...]]:
        """Return the layer's image with further channels, or the part of it that is in view, and its offset.

        The image has its axes in the usual order, the offset in that of the layer.

        Raises
        ------
        DataError
            If that is more of a slide than a window can segment at once, or nothing is in view.
        """
        box = [slice(0, n) for n in image_from_layer(layer).spatial_shape]
        part = self.currentText() == VIEW and self.viewer.dims.ndisplay == 2
        if part:
            box[-2:] = view_box(self.viewer, layer)
        offset = tuple(s.start for s in box)
        height, width = (s.stop - s.start for s in box[-2:])
        if getattr(layer, "multiscale", False) and height * width > MOST:
            raise DataError(
                f"{layer.name}: {width} x {height} pixels are too many to segment in the window. Zoom in and choose "
                f"{VIEW!r}, or give the slide's folder to the Batch dock, which writes the result to files."
            )
        if not part:
            return in_order(combined([layer, *channels])), offset
        return in_order(combined([layer, *channels], lambda one: cut_out(image_from_layer(one), box))), offset


class SegmentDock(Dock):
    """Segment one layer, with further channels where the model takes them, or every layer that fits the model."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self.input = LayerChooser(napari_viewer, image_layers, sample="afm", sizes=True, heights=True)
        self.channels = ChannelChooser(napari_viewer)
        self.extent = ExtentChooser(napari_viewer)
        self.every = QCheckBox("every layer that fits the model")
        self.probabilities = QCheckBox("also show the probability")
        self.every.setToolTip("One run for all open images that the model was made for")
        self.probabilities.setToolTip("How sure the model is at each pixel, as one more layer from 0 to 1")
        self.replace = QCheckBox("replace the earlier result")
        self.replace.setToolTip("Otherwise each run adds a new layer")
        self.models = ModelChooser()
        self.models.command = self.command
        self.size_line, self.resample = QLabel(""), QCheckBox("show it at the model's pixel size (resample)")
        self.size_line.setWordWrap(True)
        self.resample.setToolTip("The labels come back at the pixels of the image")
        self.form = SettingsForm(predict_settings(PredictSettings()))
        self.run_bar = RunBar(self.make_job, self.show_results, tip="Segment the image with the chosen model")
        self.section("Input", self.input, self.channels, self.extent, self.every)
        settings = FoldedSettings(self.form, self.command)
        self.section("With", self.models, self.size_line, self.resample, self.probabilities, self.replace, settings)
        self.made: Any = None
        self.export_button = ExportButton(self, lambda: self.made, lambda sentence: self.run_bar.say(sentence))
        self.export_button.hide()
        self.section("Run", self.run_bar, self.export_button)
        show_device(self.run_bar, self.form)
        listen(napari_viewer.layers.events.removed, self.forget)
        self.input.changed.connect(self.update_state)
        self.channels.changed.connect(self.update_image)
        self.models.changed.connect(self.update_reason)
        self.models.changed.connect(self.update_size)
        self.models.changed.connect(lambda: self.input.take_for(self.models.entry.field if self.models.entry else None))
        self.resample.toggled.connect(lambda on: setattr(self.form["resample"], "value", on))
        self.update_state()

    def update_state(self) -> None:
        """List the further channels of the chosen layer, and judge the models against it."""
        self.channels.show_for(self.input.layer if self.input.image is not None else None)
        self.extent.suit(self.input.layer)
        self.update_image()

    def update_image(self) -> None:
        """Judge the models against what is chosen."""
        self.every.setEnabled(not self.channels.chosen)
        self.models.set_image(self.image)
        self.update_size()

    def update_size(self) -> None:
        """Say where no cell fits in a scan, or the model was trained at another pixel size; offer to resample."""
        entry, image = self.models.entry, self.image
        size = None if entry is None or image is None else PixelSize.of_card(entry.card)
        other = size is not None and size.steps_for(image) is not None
        far = "The results may be poor." if other and size.factor(image) > FAR else ""
        self.size_line.setText(f"The model was trained at {size}; this image has other pixels. {far}" if other else "")
        self.resample.setVisible(other)
        if not other:
            self.resample.setChecked(False)
            cells = image is not None and entry is not None and entry.field == "afm" and not (size and size.of(image))
            self.size_line.setText(no_cell_fits(image) if cells else "")
        self.size_line.setVisible(bool(self.size_line.text()))

    def update_reason(self) -> None:
        """Enable Run, or say why not."""
        reason = "Open an image first." if self.input.layer is None else self.input.problem or self.models.reason
        self.run_bar.set_reason(reason)

    @property
    def image(self) -> Image | None:
        """The chosen layer with its further channels; ``None`` without one that can be used."""
        return None if self.input.image is None else combined([self.input.layer, *self.channels.chosen])

    def command(self) -> str:
        """Return the ``medseg predict`` line that does the same."""
        image = self.image
        source = image.metadata["source_file"] if image is not None else ""
        words = ["medseg", "predict", self.models.word, source or "INPUT", "-o", "OUT"]
        return shlex.join([*words, *self.models.flags, *as_flags(self.form.value)])

    def make_job(self) -> Job[Any]:
        """Return the job for the chosen layers."""
        self.targets = self.chosen_layers()
        self.before = [layer.data for layer in self.targets]
        cut = [self.extent.cut(layer, *self.channels.chosen) for layer in self.targets]
        images, self.offsets = zip(*cut, strict=True)
        assert self.models.entry is not None  # Run is disabled without a model
        shown = self.probabilities.isChecked()
        return remote.segment(self.models.file(), images, self.form.value, probabilities=shown)

    def chosen_layers(self) -> list[Layer]:
        """Return the layers to segment."""
        entry, found = self.models.entry, []
        if not (self.every.isChecked() and self.every.isEnabled()) or entry is None:
            return [self.input.layer]
        for layer in image_layers(self.viewer):
            with contextlib.suppress(MedSegError):
                found += [] if entry.unfit(image_from_layer(layer)) else [layer]
        return found or [self.input.layer]

    def show_results(self, results: list[Any]) -> None:
        """Add one Labels layer per segmented layer, exactly on its source."""
        for layer, offset, prediction in zip(self.targets, self.offsets, results, strict=True):
            kept = prediction.labels.metadata["medseg"]
            placed = like(layer)
            placed["translate"] = moved_to(layer, offset)
            if self.probabilities.isChecked():
                shown = {**placed, "metadata": {**placed["metadata"], **DERIVED}, "colormap": "magma", "opacity": 0.6}
                probability = in_layer(layer, prediction.labels.replace(data=prediction.probabilities[-1]))
                self.show(f"{layer.name} · probability", probability, self.viewer.add_image, shown)
            placed["metadata"] = {**placed["metadata"], "medseg": kept}
            name = f"{layer.name} · {kept['method']}"
            labels = in_layer(layer, prediction.labels)
            self.made = self.show(name, labels, self.viewer.add_labels, {**placed, "opacity": 0.5})
        made = ", ".join(layer.name for layer in self.targets)
        spent = duration(sum(p.seconds for p in results))
        doubts = dict.fromkeys([*self.changed_meanwhile(), *(doubt for p in results for doubt in p.doubts)])
        self.run_bar.say(" ".join([f"Segmented {made} in {spent} on {results[0].device}.", *doubts]))
        self.run_bar.offer("Measure", self.open_measure)
        self.export_button.show()
        self.scroll_to(self.export_button)

    def changed_meanwhile(self) -> list[str]:
        """Say which layers are no longer what was segmented."""
        said = []
        for layer, data in zip(self.targets, self.before, strict=True):
            if layer not in self.viewer.layers:
                said.append(f"{layer.name} was removed meanwhile; the result is kept.")
            elif layer.data is not data:
                said.append(f"{layer.name} changed meanwhile: the result is of what it was. Run again for the new one.")
        return said

    def show(self, name: str, data: Any, add: Any, placed: dict[str, Any]) -> Layer:
        """Add a layer, or fill the earlier one of that name, if that is asked for and its size is the same."""
        old = self.viewer.layers[name] if self.replace.isChecked() and name in self.viewer.layers else None
        if old is None or old.data.shape != data.shape:
            return add(data, name=name, **placed)
        old.data, old.translate, old.metadata = data, placed["translate"], placed["metadata"]
        return old

    def forget(self, event: Any = None) -> None:
        """Offer nothing of a result that was removed."""
        if self.made is not None and self.made not in self.viewer.layers:
            self.made = None
            self.export_button.hide()
            self.run_bar.clear()

    def open_measure(self) -> None:
        """Measure what was made, in the dock Measure."""
        self.measure_next(self.made)
