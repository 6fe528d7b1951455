"""Parts of the Nerve video dock: choose a layer that is a movie; run with a pause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QPushButton

from napari_medseg._napari.layers import DERIVED, image_from_layer, image_layers
from napari_medseg._napari.widgets.layer_chooser import LayerChooser
from napari_medseg._napari.widgets.run_bar import RunBar
from napari_medseg.image import PIXEL, Image
from napari_medseg.jobs import Progress

LIVE_MS = 100


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
        self.layout().setContentsMargins(9, 4, 9, 6)

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


class LivePicture:
    """The frame being computed, painted, over its movie; drawn at most ten times a second, removed at the end."""

    def __init__(self, viewer: Any) -> None:
        self.viewer, self.layer, self.movie = viewer, None, None
        self.latest: tuple[int, Any] | None = None
        self.timer = QTimer()
        self.timer.setSingleShot(True)
        self.timer.timeout.connect(self.draw)

    def open(self, movie: Any) -> None:
        """Begin with a movie layer."""
        self.close()
        self.movie = movie

    def show(self, progress: Progress) -> None:
        """Take a frame's overlay; the picture follows a little later."""
        if progress.preview is not None and self.movie is not None:
            self.latest = int(progress.metrics["frame"]), progress.preview.data
            if not self.timer.isActive():
                self.timer.start(LIVE_MS)

    def draw(self) -> None:
        """Show the latest overlay and go to its frame."""
        if self.latest is None or self.movie not in self.viewer.layers:
            return
        number, picture = self.latest
        if self.layer is None or self.layer not in self.viewer.layers:
            place = {name: getattr(self.movie, name)[1:] for name in ("scale", "units", "axis_labels")}
            kept = {"rgb": True, "metadata": dict(DERIVED)}
            self.layer = self.viewer.add_image(picture, name="running", **place, **kept)
        else:
            self.layer.data = picture
        dims = self.viewer.dims
        dims.set_point(dims.ndim - self.movie.ndim, self.movie.data_to_world((number, 0, 0))[0])

    def close(self) -> None:
        """Remove the picture."""
        self.timer.stop()
        if self.layer is not None and self.layer in self.viewer.layers:
            self.viewer.layers.remove(self.layer)
        self.layer = self.latest = None


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
