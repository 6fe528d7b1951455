"""What of the open layers is refined: an image with its channels, a time point, a level, or the part around a box."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from napari.layers import Shapes
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medseg._napari.layers import image_layers, level_from_layer
from napari_medseg._napari.parts import add_level, add_part, add_time_point
from napari_medseg._napari.refine.jobs import in_memory
from napari_medseg._napari.refine.outlines import Outline, closed_shapes, part_around
from napari_medseg._napari.refine.saves import Saved
from napari_medseg._napari.refine.times import TimeChooser, note_time
from napari_medseg._napari.view import view_box
from napari_medseg._napari.widgets.channels import ChannelChooser, combined
from napari_medseg._napari.widgets.layer_chooser import LayerChooser
from napari_medseg._napari.widgets.listening import listen
from napari_medseg._napari.widgets.named import Choices, push_button
from napari_medseg.errors import DataError
from napari_medseg.image import FRAMES, PIXEL, SHORT_UNITS, Image
from napari_medseg.io.geometry import PART, cut_out, in_picture
from napari_medseg.io.volumes.space import at_time
from napari_medseg.refinement.boxes import Box

WHOLE, VIEW = "whole image", "level in view"
CORNER = 256  # pixels along each axis
MOST = 16_000_000  # pixels of a level that are refined at once: of a larger one the part in view
MOST_STORED = 400_000_000  # voxels that are read from disk to be refined: about 6 GB with masks, strokes and objects


class Picture(QWidget):
    """Choosers of the image that is refined and of the part of it; `changed` tells of another one."""

    changed = Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.input = LayerChooser(viewer, image_layers, sample="mri", sizes=True, name="Image")
        self.channels = ChannelChooser(viewer)
        self.time = TimeChooser(viewer)
        self.where = Choices(
            "Part of the image",
            "Of a large image only the part around a box: what lies outside the box is background. Of a slide or "
            "another image of several resolutions the one in view at Start; of a large one what is in view",
        )
        self.box_button = push_button("Draw a box", "Refine only the part around a box that you drag in the picture")
        self.taken: Image | None = None  # the part of a layer of several resolutions that is refined
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (self.input, self.time, self.channels, self.where, self.box_button):
            column.addWidget(part)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            listen(event, self.list_boxes)
        self.box_button.clicked.connect(lambda: self.draw_box())
        self.input.changed.connect(self.update_input)
        for signal in (self.channels.changed, self.where.currentIndexChanged, self.time.changed):
            signal.connect(lambda *_: self.changed.emit())
        self.list_boxes()
        self.update_input()

    def update_input(self) -> None:
        """List the further channels that fit the image, offer its time points, and tell of it."""
        image = self.input.image
        self.time.suit(self.input.layer, image)
        self.box_button.setVisible(image is not None)
        self.list_boxes()
        self.channels.show_for(self.input.layer)
        self.changed.emit()

    @property
    def image(self) -> Image | None:
        """What is refined: the chosen image with its further channels, one time point of it, the part around a box."""
        layer = self.input.layer
        if layer is None:
            return None
        if self.pyramid:
            return self._level(lambda one: self._corner(one, int(layer.data_level)))
        image = combined([layer, *self.channels.chosen])
        if image.spatial_axes.startswith("T"):
            image = as_stack(image) if self.time.value() < 0 else at_time(image, self.time.value())
        box = self._box()
        image = image if box is None else cut_out(image, box)
        if not isinstance(image.data, np.ndarray) and math.prod(image.spatial_shape) > MOST_STORED:
            size = " x ".join(map(str, image.spatial_shape))
            raise DataError(
                f"{size} voxels of {layer.name} cannot be read from disk at once; at "
                f"most {MOST_STORED:,} can. Press Draw a box and drag it around the object."
            )
        return image

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

    @property
    def whole(self) -> str:
        """Which picture, and which time point of it, is refined or a part of it: the same for all its parts."""
        layer = self.input.layer
        return "" if layer is None else f"{layer.unique_id} {self.time.value() if self.time.isVisibleTo(self) else ''}"

    @property
    def pyramid(self) -> bool:
        """Whether the chosen layer has several resolutions."""
        return bool(getattr(self.input.layer, "multiscale", False))

    def _read(self, layer: Any, level: int, box: Box | None = None) -> Image:
        """Return a level of a layer, of a movie the chosen time point, or what is stored of that in `box`."""
        image = level_from_layer(layer, level)
        image = at_time(image, self.time.value()) if self._timed else image
        if box is None:
            return image
        return in_memory(cut_out(image, box), f"Level {level} of {layer.name}")

    def _corner(self, layer: Any, level: int) -> Image:
        """Return a small part of a level, by which models are judged before anything larger is read."""
        image = self._read(layer, level)
        return cut_out(image, [slice(0, min(n, CORNER)) for n in image.spatial_shape])

    def _level(self, read: Callable[[Any], Image]) -> Image:
        """Return what is refined of the chosen layers, each of which `read` reads."""
        image = combined([self.input.layer, *self.channels.chosen], read)
        return as_stack(image) if image.spatial_axes.startswith("T") else image

    def _part(self) -> tuple[int, Box]:
        """Return the level in view and what of it is refined, a slice per axis: all, or of a large one what is in view.

        Where a box is chosen, that is what lies around it.

        Raises
        ------
        DataError
            If nothing of the layer is in view, or too much.
        """
        layer, around, first = self.input.layer, self._box(), self._timed
        level = int(layer.data_level)
        shape = layer.data[level].shape[first : layer.ndim]
        box: Box = tuple(slice(0, n) for n in shape)
        flat = self.viewer.dims.ndisplay == 2
        in_view = view_box(self.viewer, layer, level) if flat else box[-2:]
        if around is not None:
            grid = in_picture(level_from_layer(layer, level))
            places = zip(around, np.diag(grid)[first:-1], grid[first:-1, -1], shape, strict=True)
            box = tuple(
                slice(max(int((s.start - at) / step), 0), min(math.ceil((s.stop - at) / step) + 1, n))
                for s, step, at, n in places
            )
        elif math.prod(shape) > MOST:
            box = (*box[:-2], *in_view)
        sizes = [s.stop - s.start for s in box]
        if math.prod(sizes) > MOST or min(sizes) < 1:
            raise DataError(
                f"{' x '.join(map(str, sizes))} pixels of {layer.name} (level {level}) cannot be refined at once; at "
                f"most {MOST:,} can. Zoom in, in 2D, or draw a box around what you want."
            )
        return level, box

    def target(self, saved: Saved | None = None) -> Any:
        """Return the layer that the refinement lies on: the chosen one, or one of its time point, level or part.

        Of a layer of several resolutions that is the part in view, or the one of a `saved` session.

        Raises
        ------
        DataError
            If nothing of the layer is in view, or too much.
        """
        chosen, self.taken = self.input.layer, None
        time, timed = self.time.value(), self._timed
        if self.pyramid:
            level, box = self._part() if saved is None or saved.part is None else saved.part
            cuts = {one: self._read(one, level, box) for one in (chosen, *self.channels.chosen)}
            layer = add_level(self.viewer, chosen, cuts[chosen])
            if timed:
                note_time(layer, chosen, time)
            self.input.choose(chosen)
            place = {"level": level, "box": [[s.start, s.stop] for s in box], "of": list(chosen.data[0].shape)}
            image = self._level(cuts.__getitem__)
            self.taken = image.replace(metadata={**image.metadata, PART: place})
            return layer
        box = self._box()
        layer = add_time_point(self.viewer, chosen, time) if timed else chosen
        layer = layer if box is None else add_part(self.viewer, layer, box)
        if timed:
            note_time(layer, chosen, time)
        self.input.choose(chosen)  # the list follows the layer that is added
        return layer

    def draw_box(self) -> None:
        """Let the user draw a box around what is to be refined."""
        layer = self.input.layer
        if layer is not None:
            self.drawn = Outline(self.viewer, layer, "box", self._drawn, lambda: self._undrawn(layer))
            self.input.choose(layer)

    def _undrawn(self, layer: Any) -> None:
        """Take a box away that was not drawn."""
        self.drawn.remove()
        if layer in self.viewer.layers:
            self.viewer.layers.selection.active = layer

    def note(self, image: Image) -> str:
        """Say which time point of a movie, or which part of a pyramid, is refined, and how to come to another one."""
        if self._timed and not self.pyramid:
            return (
                f"Time point {self.time.value()} of {self.input.layer.name} is refined, wherever the slider is. For "
                "another one: Finish, go there, Start again."
            )
        if not self.pyramid or PART not in image.metadata:
            return ""
        place, layer = image.metadata[PART], self.input.layer
        sizes = [b - a for a, b in place["box"]]
        whole = sizes == list(layer.data[place["level"]].shape[self._timed : layer.ndim])
        unit = SHORT_UNITS.get(image.units[-1], image.units[-1])
        finer = np.diag(in_picture(image))[-2]
        step = f"{image.scale[-1]:.3g} {unit}" if image.units[-1] != PIXEL else f"{finer:.3g} pixels of the full size"
        what = f"Level {place['level']} of {layer.name}" if whole else f"The framed part of level {place['level']}"
        again = (
            " Move and zoom as you like: strokes and mask keep these pixels. For finer borders or another place: "
            "Finish, go there, Start again; to correct what you have at another zoom, start from its Labels layer."
        )
        return f"{what} is refined, {' x '.join(map(str, sizes))} pixels of {step}.{again}"

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
        everything = VIEW if self.pyramid else WHOLE
        self.where.blockSignals(True)
        self.where.clear()
        self.where.addItems([everything, *names])
        self.where.setCurrentText(chosen if chosen in names else everything)
        self.where.blockSignals(False)
        self.where.setVisible(bool(names) or self.pyramid)


def as_stack(image: Image) -> Image:
    """Return the frames of a movie as planes as far apart as pixels are wide, which is no length: no volume."""
    scale, units = (image.scale[-1], *image.scale[1:]), (PIXEL, *image.units[1:])
    known = {**image.metadata, FRAMES: True}
    return image.replace(axes=image.axes.replace("T", "Z"), scale=scale, units=units, affine=None, metadata=known)
