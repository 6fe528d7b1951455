"""The Segment dock: a layer, a model, Run."""

from __future__ import annotations

import shlex
from typing import Any

import napari
from napari.layers import Layer
from qtpy.QtWidgets import QCheckBox

from napari_medseg._napari import remote
from napari_medseg._napari.dock import Dock, FoldedSettings, LayerChooser
from napari_medseg._napari.extent import ExtentChooser
from napari_medseg._napari.form import SettingsForm
from napari_medseg._napari.layers import image_from_layer, image_layers, like
from napari_medseg._napari.model_chooser import ModelChooser
from napari_medseg._napari.preferences import predict_settings
from napari_medseg._napari.run_bar import RunBar
from napari_medseg.flags import as_flags
from napari_medseg.jobs import Job
from napari_medseg.settings import PredictSettings


class SegmentDock(Dock):
    """Segment one layer, or every layer that fits, with a trained model."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self.input = LayerChooser(napari_viewer, image_layers, sample="afm")
        self.extent = ExtentChooser(napari_viewer)
        self.every = QCheckBox("every layer that fits the model")
        self.probabilities = QCheckBox("also show the probability")
        self.models = ModelChooser()
        self.form = SettingsForm(predict_settings(PredictSettings()))
        self.run_bar = RunBar(self.make_job, self.show_results)
        self.section("Input", self.input, self.extent, self.every)
        self.section("With", self.models, self.probabilities, FoldedSettings(self.form, self.command))
        self.section("Run", self.run_bar)
        self.input.changed.connect(self.update_state)
        self.models.changed.connect(self.update_reason)
        self.update_state()

    def update_state(self) -> None:
        """Judge models against the chosen layer."""
        layer = self.input.layer
        self.models.set_image(image_from_layer(layer) if layer is not None else None)
        self.extent.suit(layer)
        self.update_reason()

    def update_reason(self) -> None:
        """Enable Run, or say why not."""
        reason = "Open an image first." if self.input.layer is None else self.models.reason
        self.run_bar.set_reason(reason)

    def command(self) -> str:
        """Return the ``medseg predict`` line that does the same."""
        entry, layer = self.models.entry, self.input.layer
        model = str(entry.path) if entry else "MODEL"
        source = image_from_layer(layer).metadata["source_file"] if layer is not None else ""
        words = ["medseg", "predict", model, source or "INPUT", "-o", "OUT", *as_flags(self.form.value)]
        return shlex.join(words)

    def make_job(self) -> Job[Any]:
        """Return the job for the chosen layers."""
        self.targets = self.chosen_layers()
        images, self.offsets = zip(*map(self.extent.cut, self.targets), strict=True)
        assert self.models.entry is not None  # Run is disabled without a model
        shown = self.probabilities.isChecked()
        return remote.segment(self.models.entry.path, images, self.form.value, probabilities=shown)

    def chosen_layers(self) -> list[Layer]:
        """Return the layers to segment."""
        entry = self.models.entry
        if not self.every.isChecked() or entry is None:
            return [self.input.layer]
        return [layer for layer in image_layers(self.viewer) if not entry.unfit(image_from_layer(layer))]

    def show_results(self, results: list[Any]) -> None:
        """Add one Labels layer per segmented layer, exactly on its source."""
        for layer, offset, prediction in zip(self.targets, self.offsets, results, strict=True):
            labels = prediction.labels
            method = labels.metadata["medseg"]["method"]
            placed = like(layer)
            shift = [o * s for o, s in zip(offset, layer.scale[-len(offset) :], strict=True)]
            placed["translate"] = layer.translate + shift
            placed["metadata"] = {**placed["metadata"], "medseg": labels.metadata["medseg"]}
            if self.probabilities.isChecked():
                self.viewer.add_image(
                    prediction.probabilities[-1],
                    name=f"{layer.name} · probability",
                    colormap="magma",
                    opacity=0.6,
                    **placed,
                )
            self.viewer.add_labels(labels.data, name=f"{layer.name} · {method}", opacity=0.5, **placed)
        seconds = sum(p.seconds for p in results)
        made = ", ".join(layer.name for layer in self.targets)
        self.run_bar.say(f"Segmented {made} in {seconds:.1f} s on {results[0].device}")
        self.run_bar.offer("Measure", self.open_measure)

    def open_measure(self) -> None:
        """Open the Measure dock."""
        self.viewer.window.add_plugin_dock_widget("napari-medseg", "Measure")
