"""The layers of one refinement: strokes to paint on, the mask, accepted objects, and how undecided each voxel is.

Mask and objects belong to the session: they cannot be painted, so they have no undo history that could become stale.
Only changed boxes are written, in place. Strokes that a round takes back or brings back go through napari's own
history, so that Ctrl+Z always starts from what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from napari.layers import Labels, Layer

from napari_medseg._napari.layers import DERIVED, like
from napari_medseg._napari.refine.swatches import mask_colours, object_colours, stroke_colours
from napari_medseg._napari.refine.times import TIME_OF, of_same_time
from napari_medseg._napari.world import in_units_of, put_onto, to_data, unit_factors, world_of
from napari_medseg.refinement import RefinementState
from napari_medseg.refinement.boxes import Box, box_of, changed_box, common, union, whole
from napari_medseg.refinement.history import BEGINNINGS

MASK_OPACITY, OUTLINE_OPACITY, OUTLINE = 0.45, 0.9, 2
BRUSH_SHARE, BRUSH_RANGE = 64, (2, 12)
MOST_BRUSH = 200  # pixels of the image
OBJECTS_OF, WHOLE, REFINED_OF = "medseg_objects_of", "medseg_whole", "medseg_refined_of"
DRAWING = ("paint", "fill", "polygon")
BRUSH = "_brush_circle"  # napari's overlay
CHUNK = 2**22  # voxels that are compared at a time


class RefineLayers:
    """Layers on the grid of `image`, filled from `state`.

    Objects whose numbers lie in `others` (from the first up to the second one) are locked but shown by another layer.
    """

    def __init__(
        self, viewer: Any, image: Layer, state: RefinementState, classes: int, provenance: dict, picture: str = "",
        others: tuple[int, int] = (0, 0),
    ) -> None:  # fmt: skip
        self.viewer, self.image, self.classes = viewer, image, classes
        place = like(image)
        place["metadata"] = {**place["metadata"], "medseg": provenance}
        objects = self.find(viewer, image)
        self.others = _between(state.result, others) if others[0] < others[1] else None
        result = self._own(state.result, whole(state.result.shape))
        if objects is not None and _can_take(objects.data, result):
            self.objects = objects
            self.objects.data[...] = result
            self.objects.refresh()
        else:
            self.objects = viewer.add_labels(
                result.copy(), name=f"{image.name} · objects", opacity=0.6, colormap=object_colours(classes), **place
            )
        self.objects.metadata.update({OBJECTS_OF: image.unique_id, WHOLE: picture})
        image.events.data.connect(_left_by(image, self.objects))
        self.mask = viewer.add_labels(
            state.mask.copy(), name=f"{image.name} · refined", opacity=MASK_OPACITY, colormap=mask_colours(classes),
            **place,
        )  # fmt: skip
        self.scribbles = viewer.add_labels(
            state.scribbles.copy(), name=f"{image.name} · scribbles", opacity=0.9, colormap=stroke_colours(classes),
            **{**place, "metadata": {**like(image)["metadata"], **DERIVED}},
        )  # fmt: skip
        self.scribbles.paint_polygon = self._in_slice(self.scribbles.paint_polygon)
        self.mask.editable = self.objects.editable = False
        for layer in (self.objects, self.mask, self.scribbles):
            of_same_time(layer, image)
        _without_box(viewer)
        self.overlay: Layer | None = None
        self.sent, self.writing = state.scribbles.copy(), False
        first = box_of(state.scribbles > 0)
        self.boxes: list[Box] = [] if first is None else [first]  # apart, where strokes are or have been
        self.waiting: Box | None = None  # what was sent and no round has answered yet
        size = min(self.scribbles.data.shape[-2:]) // BRUSH_SHARE
        self.scribbles.brush_size = int(np.clip(size, *BRUSH_RANGE))
        self.following, self.on_screen = False, self.scribbles.brush_size * self._screen_pixels
        self.paint_with(2)

    @staticmethod
    def find(viewer: Any, image: Layer) -> Any:
        """Return the layer of objects accepted earlier on `image`, or ``None``; it may have got another name."""
        newest = list(reversed(viewer.layers))
        own = (layer for layer in newest if layer.metadata.get(OBJECTS_OF) == image.unique_id)
        others = [layer for layer in newest if layer.metadata.get(OBJECTS_OF, "") is not None]
        named = (layer for layer in others if layer.name == f"{image.name} · objects")
        return next(own, next(named, None))

    @staticmethod
    def elsewhere(viewer: Any, picture: str, own: Any) -> list[Any]:
        """Return the layers of objects accepted on other parts of a picture than that of the layer `own`."""
        found = (layer for layer in viewer.layers if layer.metadata.get(WHOLE) == picture)
        return [layer for layer in found if layer is not own and isinstance(layer, Labels)]

    @property
    def own(self) -> tuple[Layer, ...]:
        """The layers without which the refinement ends."""
        return self.image, self.mask, self.objects, self.scribbles

    @property
    def result(self) -> Layer:
        """The layer that holds what was made: the accepted objects, or the mask while there are none."""
        return self.objects if self.objects.data.any() else self.mask

    @property
    def left_out(self) -> str:
        """What to say of a mask that is not part of the result; empty when there is none."""
        there = self.mask in self.viewer.layers
        waits = there and self.result is self.objects and bool(self.mask.data.any())
        return f"The mask in {self.mask.name} is not accepted and not part of it." if waits else ""

    def object_at(self, position: Sequence[float]) -> int:
        """Return the number of the accepted object at a place of the viewer's world; 0 where there is none."""
        return int(self.objects.get_value(in_units_of(self.viewer, self.objects, position), world=True) or 0)

    def is_elsewhere(self, position: Sequence[float]) -> bool:
        """Whether an object that was accepted on another part lies at a place of the viewer's world."""
        if self.others is None:
            return False
        at = np.rint(to_data(self.viewer, self.objects, position)).astype(int)
        return bool(((at >= 0) & (at < self.others.shape)).all() and self.others[tuple(at)])

    def _own(self, result: np.ndarray, box: Box) -> np.ndarray:
        """Return a box of the accepted objects without those of other parts."""
        part = result[box]
        return part if self.others is None else np.where(self.others[box], 0, part)

    # ---- painting
    def _in_slice(self, paint: Callable[..., None]) -> Callable[..., None]:
        """Return napari's `paint` of polygons for the slice in view: it takes 14 for a place at 14.9999."""

        def painted(points: Any, *arguments: Any) -> None:
            dims, places = self.viewer.dims, np.array(points, float)
            hidden = [axis - dims.ndim for axis in dims.not_displayed if axis >= dims.ndim - places.shape[1]]
            places[:, hidden] = np.rint(places[:, hidden])
            paint(places, *arguments)

        return painted

    @property
    def _screen_pixels(self) -> float:
        """How many pixels of the screen a pixel of the image covers, along its finest axis in view."""
        shown = [axis - self.viewer.dims.ndim for axis in self.viewer.dims.displayed]
        steps = np.linalg.norm(world_of(self.scribbles)[:-1, :-1], axis=0)
        steps = steps * unit_factors(self.scribbles.units, getattr(self.viewer.dims, "units", None))
        return float(self.viewer.camera.zoom * min(steps[axis] for axis in shown if axis >= -len(steps)))

    def follow_zoom(self, event: Any = None) -> None:
        """Keep the brush as large on the screen as it is, whatever the zoom and the size of the image's pixels."""
        self.following = True
        self.scribbles.brush_size = int(np.clip(round(self.on_screen / self._screen_pixels), 1, MOST_BRUSH))
        self.following = False

    def note_brush(self, event: Any = None) -> None:
        """Remember the size that the user gave to the brush."""
        if not self.following:
            self.on_screen = self.scribbles.brush_size * self._screen_pixels

    def note(self, atoms: Sequence[Any] | None) -> None:
        """Remember where napari's brush, fill, lasso or another plugin has just painted, as its paint event tells."""
        shape = self.scribbles.data.shape
        for atom in atoms or ():
            key = getattr(atom, "slice_key", None)  # a box; versions of napari before it tell the places
            if key is None:
                key = tuple(slice(int(np.min(i)), int(np.max(i)) + 1) for i in atom[0] if np.size(i))
            if len(key) == len(shape):
                self._note(tuple(slice(*part.indices(n)[:2]) for part, n in zip(key, shape, strict=True)))

    def _note(self, box: Box) -> None:
        near = [other for other in self.boxes if common(other, box)]
        while near:
            self.boxes = [other for other in self.boxes if other not in near]
            for other in near:
                box = union(box, other) or box
            near = [other for other in self.boxes if common(other, box)]
        self.boxes.append(box)

    def look(self) -> None:
        """Look for strokes everywhere: a script may have written them without telling."""
        data, sent = self.scribbles.data, self.sent
        rows = max(1, CHUNK * len(data) // data.size)
        for at in range(0, len(data), rows):
            found = changed_box(data, sent, (slice(at, min(at + rows, len(data))), *whole(data.shape)[1:]))
            if found is not None:
                self._note(found)

    def add_strokes(self, new: np.ndarray) -> None:
        """Paint where `new` (uint8, *spatial) is not 0, as one step of napari's own undo."""
        box = box_of(new > 0)
        if box is not None:
            self._write(box, np.where(new[box] > 0, new[box], self.scribbles.data[box]))

    def paint_with(self, value: int) -> None:
        """Select the scribbles layer and class value `value`, with the brush unless another drawing tool is out."""
        self.viewer.layers.selection.active = self.scribbles
        if not self.scribbles.visible:  # napari changes the tool even where nothing changes
            self.scribbles.visible = True
        if self.scribbles.mode not in DRAWING:
            self.scribbles.mode = "paint"
        self.scribbles.selected_label = value

    @property
    def painting(self) -> int:
        """The class value that is painted now; 0 with the eraser."""
        return 0 if self.scribbles.mode == "erase" else int(self.scribbles.selected_label)

    def next_class(self) -> None:
        """Paint with the next class; after the eraser with the class from before."""
        before = int(self.scribbles.selected_label)
        self.paint_with(before if before and not self.painting else before % (self.classes + 1) + 1)

    def strokes(self) -> tuple[np.ndarray, Box]:
        """Return a copy of the strokes in a box that holds all that no round knows yet, and the box; they are sent."""
        for box in self.boxes:
            self.waiting = union(self.waiting, changed_box(self.scribbles.data, self.sent, box))
        box = self.waiting or (slice(0, 0),) * self.scribbles.data.ndim
        part = np.asarray(self.scribbles.data[box]).copy()
        self.sent[box] = part
        return part, box

    def changed(self) -> bool:
        """Whether strokes differ from those sent last, where strokes have been noted."""
        return any(not np.array_equal(self.scribbles.data[box], self.sent[box]) for box in self.boxes)

    def differ(self, scribbles: np.ndarray, result: np.ndarray) -> bool:
        """Whether strokes beside accepted objects differ from `scribbles`, where strokes have been noted."""
        data = self.scribbles.data
        return any(bool(((data[box] != scribbles[box]) & (result[box] == 0)).any()) for box in self.boxes)

    # ---- showing
    def hide_others(self, source: Layer, given: Layer | None) -> list[Layer]:
        """Hide what would be taken for the mask or the strokes: those of earlier refinements of `source`, and `given`.

        Returns
        -------
        list
            The layers that were in view.
        """
        earlier = [one for one in self.viewer.layers if one.metadata.get(REFINED_OF) == source.unique_id]
        now = [one for one in earlier if one.metadata.get(TIME_OF) == self.image.metadata.get(TIME_OF)]
        found = dict.fromkeys((*now, given))
        others = [one for one in found if one is not None and one.visible and one not in self.own]
        for layer in others:
            layer.visible = False
        for layer in (self.mask, self.scribbles):
            layer.metadata[REFINED_OF] = source.unique_id
        return others

    def follow_image(self) -> bool:
        """Put the layers onto the image where it is now; return whether any lay elsewhere."""
        place, moved = like(self.image), False
        for layer in (*self.own[1:], *([] if self.overlay is None else [self.overlay])):
            if layer.units != self.image.units or not np.allclose(world_of(layer), world_of(self.image)):
                put_onto(layer, self.image)
                layer.metadata = {**layer.metadata, **place["metadata"]}
                moved = True
        if moved:
            self.follow_zoom()
        return moved

    def show(self, state: RefinementState) -> None:
        """Bring the layers to `state` by writing the boxes that changed."""
        if state.box is not None:
            self.mask.data[state.box] = state.mask[state.box]
            self.mask.refresh(extent=False, thumbnail=False)
        if state.result_box is not None:
            new = self._own(state.result, state.result_box)
            if new.max(initial=0) > np.iinfo(self.objects.data.dtype).max:  # somebody converted the layer
                self.objects.data = self._own(state.result, whole(state.result.shape)).copy()
            self.objects.data[state.result_box] = new
            self.objects.refresh(extent=False)
        self.waiting = None
        if state.stroke_box is not None:
            self._note(state.stroke_box)
        if state.kind in BEGINNINGS:
            self._clear()
        elif state.kind != "refine":
            self.restore(state.scribbles)

    def restore(self, strokes: np.ndarray) -> None:
        """Show `strokes`, as one step of napari's own undo."""
        changed: Box | None = None
        for box in self.boxes:
            changed = union(changed, changed_box(self.scribbles.data, strokes, box))
            self.sent[box] = strokes[box]
        self.waiting = None
        if changed is not None:
            self._write(changed, strokes[changed])

    def _write(self, box: Box, strokes: np.ndarray) -> None:
        """Write strokes, (*box), into a box."""
        inside = np.nonzero(self.scribbles.data[box] != strokes)
        self.writing = True
        try:
            if len(inside[0]):
                self._note(box)
                places = tuple(i + s.start for i, s in zip(inside, box, strict=True))
                self.scribbles.data_setitem(places, strokes[inside], refresh=False)
                self.scribbles.refresh(extent=False)
        finally:
            self.writing = False

    def _clear(self) -> None:
        """Remove all strokes with their undo history, which belongs to the accepted object."""
        layer, mode = self.scribbles, self.scribbles.mode
        layer.data[...] = 0
        layer.editable = False  # napari forgets the layer's undo history here
        layer.editable, layer.mode = True, mode
        layer.refresh(extent=False)
        self.sent[...] = 0
        self.boxes = []

    def outline(self, outline: bool) -> None:
        """Show the mask as an outline or as a tint."""
        self.mask.contour = OUTLINE if outline else 0
        self.mask.opacity = OUTLINE_OPACITY if outline else MASK_OPACITY

    def show_uncertainty(self, values: np.ndarray | None) -> None:
        """Show how undecided each voxel is, or nothing."""
        if values is None:
            if self.overlay is not None and self.overlay in self.viewer.layers:
                self.viewer.layers.remove(self.overlay)
            self.overlay = None
        elif self.overlay is None:
            active, place = self.viewer.layers.selection.active, like(self.image)
            place["metadata"] = {**place["metadata"], **DERIVED}
            self.overlay = self.viewer.add_image(
                values.copy(), name=f"{self.image.name} · uncertainty", colormap="magma", blending="additive",
                contrast_limits=(0, 1), opacity=0.7, **place,
            )  # fmt: skip
            self.viewer.layers.move(len(self.viewer.layers) - 1, self.viewer.layers.index(self.mask))
            self.viewer.layers.selection.active = active
        else:
            self.overlay.data[...] = values
            self.overlay.refresh(extent=False, thumbnail=False)

    def release(self) -> None:
        """Leave the layers as ordinary layers and put the brush away."""
        self.scribbles.mode = "pan_zoom"
        self.scribbles.bounding_box.visible = False
        self.mask.editable = self.objects.editable = True


def _without_box(viewer: Any) -> None:
    """Keep napari 0.9 from filling the circle of the brush with a dark square when a layer is added meanwhile."""
    overlays = getattr(getattr(viewer, "canvas", None), "overlays", {})
    if BRUSH in overlays:
        overlays[BRUSH].box = False


def _left_by(image: Layer, objects: Layer) -> Callable[..., None]:
    """Return what to call when the picture in `image` is replaced, so that it takes over none of the objects."""

    def left(event: Any = None) -> None:
        if objects.metadata.get(OBJECTS_OF) == image.unique_id:
            objects.metadata.update({OBJECTS_OF: None, WHOLE: None})

    return left


def _between(result: np.ndarray, numbers: tuple[int, int]) -> np.ndarray:
    """Return where labels have a number from the first up to the second one, bool."""
    return np.asarray((result >= numbers[0]) & (result < numbers[1]))


def _can_take(there: np.ndarray, result: np.ndarray) -> bool:
    """Whether an array of objects can take `result` without losing one that it holds."""
    same = there.shape == result.shape and there.dtype == result.dtype
    return same and not ((there > 0) & (there != result)).any()
