"""Parts of the Nerve video dock: choose a layer that is a movie; run with a pause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton

from napari_medseg._napari.dock import LayerChooser
from napari_medseg._napari.layers import image_from_layer, image_layers
from napari_medseg._napari.run_bar import RunBar
from napari_medseg.image import PIXEL, Image


class MovieChooser(LayerChooser):
    """Choose among the layers that are movies."""

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer, movie_layers, sample="video")

    def _chosen(self, index: int = 0) -> None:
        super()._chosen(index)
        if self.layer is not None:
            frames, height, width = self.layer.data.shape[:3]
            step = float(self.layer.scale[0])
            rate = f"{1 / step:.4g} frames/s, {frames * step:.1f} s" if _timed(self.layer) else "frame rate not known"
            self.line.setText(f"{frames} frames of {width}x{height} pixels, {rate}")


class PausableBar(RunBar):
    """A run bar with Pause / Resume; emits `ended` when nothing runs any more and all files are closed."""

    ended = Signal()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.pause_button = QPushButton("Pause")
        self.pause_button.setEnabled(False)
        self.pause_button.clicked.connect(self.toggle)
        self.layout().itemAt(0).layout().insertWidget(1, self.pause_button)

    def start(self) -> None:
        """Start a job unless one runs."""
        super().start()
        if self.current is not None:
            self.current.worker.paused.connect(lambda: self._show("Resume", "Paused; what was finished is kept."))
            self.current.worker.resumed.connect(lambda: self._show("Pause", "Going on ..."))
            self.pause_button.setEnabled(True)

    def toggle(self) -> None:
        """Pause after this frame, or go on."""
        if self.current is not None:
            self.pause_button.setEnabled(False)
            self.current.worker.toggle_pause()

    def _show(self, button: str, message: str) -> None:
        self.pause_button.setText(button)
        self.pause_button.setEnabled(True)
        self.say(message)

    def _end(self) -> None:
        super()._end()
        self.pause_button.setText("Pause")
        self.pause_button.setEnabled(False)
        self.ended.emit()


def movie_layers(viewer: Any) -> list[Any]:
    """Return the layers with a time axis, and colour stacks."""
    return [
        layer
        for layer in image_layers(viewer)
        if layer.ndim == 3 and (layer.rgb or layer.metadata.get("medseg_image", {}).get("axes", "").startswith("T"))
    ]


def movie_of(layer: Any) -> Path | Image:
    """Return the file of a movie layer (it knows its frame times), or the layer's own frames."""
    image = image_from_layer(layer)
    path = Path(image.metadata["source_file"] or "/missing")
    if path.exists():
        return path
    units = ("second" if _timed(layer) else PIXEL, PIXEL, PIXEL)
    return image.replace(axes="T" + image.axes[1:], scale=(float(layer.scale[0]), 1.0, 1.0), units=units, affine=None)


def _timed(layer: Any) -> bool:
    return str(layer.units[0]) == "second"
