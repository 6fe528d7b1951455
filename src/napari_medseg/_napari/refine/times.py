"""The time point of a movie that is refined: it follows the viewer's slider, and its layers are shown at it alone."""

from __future__ import annotations

from typing import Any

from napari.layers import Layer
from qtpy.compat import isalive
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QSpinBox, QVBoxLayout, QWidget

from napari_medseg._napari.refine.steps import timer
from napari_medseg._napari.widgets.listening import listen
from napari_medseg._napari.widgets.named import named, still
from napari_medseg._napari.world import to_data, to_world
from napari_medseg.image import Image

TIME_OF = "medseg_time_of"  # metadata of a layer: which layer it is a time point of, and which time point
POINT = "The time point that is refined: the one in view, so it moves with the slider"
SETTLE_MS = 150  # after which a slider that moved stands still


class TimeChooser(QWidget):
    """The time point of a movie in view, or all frames together; hidden for everything else."""

    changed = Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.movie: Layer | None = None
        self.busy = False  # while a time point is refined, its layers stay in view
        self.away: list[Layer] = []  # hidden, for the slider is at another time point
        self.point, self.together = named(QSpinBox(), "Time point", POINT), QCheckBox("all frames together")
        self.point.setPrefix("time point ")
        still(self.point)
        self.together.setToolTip("Refine all frames as one stack: strokes in any frame act on those beside it too")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.point)
        column.addWidget(self.together)
        self.settled = timer(SETTLE_MS, lambda: self.changed.emit() if isalive(self) else None)
        self.point.valueChanged.connect(self._go)
        self.together.toggled.connect(self._choose)
        listen(viewer.dims.events.current_step, self._follow)
        self.hide()

    def suit(self, layer: Layer | None, image: Image | None) -> None:
        """Offer the time points of a layer that shows `image`."""
        movie = image is not None and image.spatial_axes.startswith("T")
        self.movie = layer if movie else None
        self.setVisible(movie)
        if image is not None and movie:
            flat = len(image.spatial_axes) == 3
            self.together.setVisible(flat)
            for widget in (self.point, self.together):
                widget.blockSignals(True)
            self.together.setChecked(flat and self.together.isChecked())
            self.point.setRange(0, image.data.shape[image.axes.index("T")] - 1)
            self.point.setValue(self._seen())
            self.point.setEnabled(not self.together.isChecked())
            for widget in (self.point, self.together):
                widget.blockSignals(False)

    def value(self) -> int:
        """Return the time point; -1 for all frames together."""
        return -1 if self.together.isChecked() else int(self.point.value())

    def begin(self, movie: Layer, target: Layer) -> None:
        """Show what is refined of a movie, `target`, and hide what lies over it: its other time points."""
        self.busy = True
        if getattr(movie, "multiscale", False):  # shows itself below its levels
            return
        mine = _time_of(target)
        if mine is not None:
            movie.visible, target.visible = False, True
        for layer in self._points(movie):
            if _time_of(layer) != mine:
                movie.visible |= mine is None
                self._put_away(layer)

    def end(self, movie: Layer | None, target: Layer | None) -> None:
        """Show the movie again, at the time point that was refined, instead of a picture of that alone."""
        self.busy = False
        if movie is None or target is None or not {movie, target} <= set(self.viewer.layers):
            return
        mine = _time_of(target)
        if mine is not None:
            movie.visible, target.visible = True, False
            self._go(mine[1])

    def _points(self, movie: Layer) -> list[Layer]:
        """Return the layers that are time points of a movie."""
        return [x for x in self.viewer.layers if (time := _time_of(x)) is not None and time[0] == movie.unique_id]

    def _seen(self) -> int:
        """Return the time point in view."""
        assert self.movie is not None
        return round(float(to_data(self.viewer, self.movie, self.viewer.dims.point)[0]))

    def _choose(self, together: bool) -> None:
        self.point.setEnabled(not together)
        self.changed.emit()

    def _go(self, index: int) -> None:
        """Bring the time point that was entered into view."""
        if self.movie is not None and self.movie in self.viewer.layers and index != self._seen():
            dims, movie = self.viewer.dims, self.movie
            place = [index, *to_data(self.viewer, movie, dims.point)[1:]]
            dims.set_point(dims.ndim - movie.ndim, to_world(self.viewer, movie, place)[0])
        self.settled.start()

    def _follow(self, event: Any = None) -> None:
        """Go to the time point in view, and show the masks and objects of that one alone."""
        if self.movie is None or self.movie not in self.viewer.layers or self.busy:
            return
        here = self._seen()
        self.point.setValue(here)
        for layer in self._points(self.movie):
            if _time_of(layer)[1] != here:  # type: ignore[index]
                self._put_away(layer)
            elif layer in self.away:
                self.away.remove(layer)
                layer.visible = True

    def _put_away(self, layer: Layer) -> None:
        if layer.visible:
            layer.visible = False
            self.away.append(layer)


def note_time(layer: Layer, movie: Layer, index: int) -> None:
    """Note that a layer is a time point of a movie."""
    layer.metadata[TIME_OF] = [movie.unique_id, index]


def of_same_time(layer: Layer, other: Layer) -> None:
    """Note that a layer is of the time point that another one is of, if it is one."""
    if TIME_OF in other.metadata:
        layer.metadata[TIME_OF] = other.metadata[TIME_OF]


def _time_of(layer: Layer) -> list[Any] | None:
    found: list[Any] | None = layer.metadata.get(TIME_OF)
    return found
