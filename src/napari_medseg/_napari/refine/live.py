"""One refinement under way: what strokes, buttons and keys do, and what each round shows."""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from napari.layers import Layer, Shapes
from psygnal import EmitLoopError
from qtpy.compat import isalive
from qtpy.QtCore import QThreadPool

from napari_medseg._napari.layers import image_from_layer
from napari_medseg._napari.parts import Followed
from napari_medseg._napari.refine.jobs import Opened, call
from napari_medseg._napari.refine.keys import Keys
from napari_medseg._napari.refine.layers import RefineLayers
from napari_medseg._napari.refine.outlines import Outline, strokes_around
from napari_medseg._napari.refine.saves import Autosave, take_place
from napari_medseg._napari.refine.steps import LOOK, REFINE, ROUNDS, Steps, timer
from napari_medseg._napari.widgets.listening import PLACE
from napari_medseg._napari.world import to_data, to_world
from napari_medseg.jobs import Job
from napari_medseg.refinement import Place, RefinementSession, RefinementState
from napari_medseg.refinement.boxes import whole
from napari_medseg.refinement.state import elements


class Guidance:
    """Where to look next. Looking does not change the session; it runs between its steps."""

    def __init__(self, session: RefinementSession, layers: RefineLayers, steps: Steps, panel: Any) -> None:
        self.session, self.layers, self.steps, self.panel = session, layers, steps, panel
        self.seen: list[tuple[int, ...]] = []
        self.seen_in = -1

    def hide(self, hidden: bool) -> None:
        """Hide or show the mask."""
        self.layers.mask.visible = not hidden

    def uncertainty(self, shown: bool) -> None:
        """Show how undecided each voxel is, or stop showing it."""
        if shown:
            self.steps.do("overlay", lambda: call("uncertainty", self.session.uncertainty), self._overlay)
        else:
            self.layers.show_uncertainty(None)

    def _overlay(self, values: np.ndarray) -> None:
        if self.panel.overlay.isChecked():
            self.layers.show_uncertainty(values)

    def next_place(self) -> None:
        """Bring the least decided place into view that was not looked at since the last round."""
        self.steps.do(LOOK, lambda: call("looking for an undecided place", self._undecided), self._look)

    def _undecided(self) -> Place | None:
        if self.seen_in != self.session.state.index:
            self.seen, self.seen_in = [], self.session.state.index
        place = self.session.uncertain_place(self.seen)
        self.seen += [place.position] if place is not None else []
        return place

    def disagreement(self) -> None:
        """Bring the largest difference from the reference layer into view."""
        layer = self.panel.reference.layer
        if layer is None or layer in self.layers.own:
            self.panel.say("Choose a reference layer first.")
            return
        find = self.session.biggest_disagreement
        self.steps.do(LOOK, lambda: call("comparing", find, image_from_layer(layer)), self._look)

    def _look(self, place: Place | None) -> None:
        if place is None and not self.session.mask.any():
            self.panel.say("The mask is empty: paint a stroke in the object first.")
            return
        if place is None:
            self.panel.say("There is no such place: everything is decided, or equal to the reference.")
            return
        self.look_at(place.position)
        size = elements(place.voxels, len(place.position))
        self.panel.say(f"In the middle of the view: {place.why}, about {size}.")

    def look_at(self, position: tuple[int, ...]) -> None:
        """Bring a voxel into view: slices and camera, whatever the order of the axes."""
        viewer, image = self.layers.viewer, self.layers.image
        dims, world = viewer.dims, to_world(viewer, image, position)
        point = [*dims.point[: dims.ndim - len(world)], *world]
        dims.set_point(range(dims.ndim), point)
        viewer.camera.center = tuple(point[axis] for axis in dims.displayed)


FOLLOW_MS = 60
GONE = RuntimeError, EmitLoopError  # what layers raise whose window is gone
MOVED = "{} was moved or resized: strokes, mask and objects follow it."
IN_SLICES = "Strokes are painted in slices: Ctrl+Y leaves the 3D view."
ELSEWHERE = "That object was accepted on another part. Finish, and start again from the layer of objects that it is in."


class Live:
    """A session with its layers and keys; `panel` shows what happens, `ended` is called with why it ended.

    `source` is the layer of which `image` is a part, whose moves it follows. Where that is a pyramid, the refinement
    ends with it too, and is framed.
    """

    def __init__(
        self, viewer: Any, image: Layer, opened: Opened, panel: Any, ended: Callable[[str], None],
        source: Layer | None = None,
    ) -> None:  # fmt: skip
        self.viewer, self.opened, self.session, self.panel, self.ended = viewer, opened, opened.session, panel, ended
        state, classes = self.session.state, self.session.settings.classes
        start = opened.start
        self.layers = RefineLayers(viewer, image, state, classes, start.provenance(), start.whole, opened.others)
        self.source = source if getattr(source, "multiscale", False) else image
        self.chosen = image if source is None else source
        self.followed = Followed(self.chosen)
        self.layers.scribbles.bounding_box.visible = self.source is not image
        take_place(viewer, (self.layers.mask, self.layers.scribbles), opened.folder)
        self.hidden = self.layers.hide_others(source or image, start.given)
        self.steps = Steps(panel.say, panel.busy)
        self.guidance = Guidance(self.session, self.layers, self.steps, panel)
        self.keys = Keys(viewer, self.actions())
        self.closed, self.going, self.shown = False, True, state.index
        self.drawn: Outline | None = None
        self.release, self.follow = timer(0, self.catch_up), timer(FOLLOW_MS, self._follow)
        self.settled = timer(0, self._follow_place)
        self.autosave = Autosave(opened.saving, self.steps)
        atexit.register(self._at_exit)
        strokes = self.layers.scribbles.events
        self.heard = [
            (strokes.paint, self._painted), (strokes.set_data, self._shown), (strokes.selected_label, self._selected),
            (strokes.mode, self._selected), (viewer.layers.events.removing, self._removing),
            (viewer.layers.events.removed, self._removed), (viewer.dims.events.ndisplay, self._displayed),
            (viewer.camera.events.zoom, self.layers.follow_zoom), (strokes.brush_size, self.layers.note_brush),
            (self.source.events.data, self._replaced),
        ]  # fmt: skip
        for layer in [image] if self.chosen is image else [image, self.chosen]:
            self.heard += [(getattr(layer.events, name), self._moved) for name in PLACE if hasattr(layer.events, name)]
        for emitter, listener in self.heard:
            emitter.connect(listener)
        panel.attach(self)
        self._selected()
        panel.show_state(state, self.session.rounds)
        said = " ".join(filter(None, (opened.note, IN_SLICES if viewer.dims.ndisplay == 3 else "")))
        if said:
            panel.say(said)
        if opened.start.box is not None:
            self.layers.add_strokes(strokes_around(opened.start.box, image, 2))
            opened.start.box.visible = False
            self.refine()

    def actions(self) -> dict[str, Callable[..., None]]:
        """Return what the keys do, by name."""
        guidance = self.guidance
        return {
            "next_class": self.next_class, "refine": self.refine, "undo": self.undo, "redo": self.redo,
            "accept": self.accept, "reopen": self.reopen, "join": self.join, "next_place": guidance.next_place,
            "disagreement": guidance.disagreement, "hide": guidance.hide,
        }  # fmt: skip

    # ---- strokes
    def _painted(self, event: Any = None) -> None:
        """Refine when a stroke is released: before it is drawn, but napari may tell before it is written."""
        if not self.layers.writing:
            self.layers.note(getattr(event, "value", None))
        if not self.layers.writing and self.panel.automatic:
            self.catch_up()
            self.release.start()

    def catch_up(self) -> None:
        """Refine if there are strokes that are not refined yet."""
        if not self.closed and self.layers.changed():
            self._refine()

    def _shown(self, event: Any = None) -> None:
        if not self.layers.writing and not self.closed:
            self.follow.start()

    def _follow(self) -> None:
        """Follow napari's own undo: go to the round that had these strokes, so that redo still reaches the others."""
        if not self.closed and self.panel.automatic and self.layers.changed():
            self.steps.do(REFINE, lambda: self.session.follow(*self.layers.strokes()), self._show)

    # ---- boxes and lassos
    def draw(self, kind: str) -> None:
        """Let the user draw a ``box`` or a ``lasso`` around the object."""
        self._put_away()
        self.drawn = Outline(self.viewer, self.layers.image, kind, self.take_outline, self._back_to_brush)
        self.panel.say(f"Drag a {kind} around the object. Escape or T goes back to the brush.")

    def take_outline(self, shapes: Shapes) -> None:
        """Turn an outline into strokes of the class that is painted, and refine."""
        value = max(self.layers.painting, 2)
        self.layers.add_strokes(strokes_around(shapes, self.layers.image, value))
        self.paint_with(value)
        self.refine()

    def paint_with(self, value: int) -> None:
        """Paint with a class; a box or lasso that is not drawn yet goes."""
        self._put_away()
        self.layers.paint_with(value)

    def _put_away(self) -> None:
        if self.drawn is not None:
            drawn, self.drawn = self.drawn, None
            drawn.remove()

    def _back_to_brush(self) -> None:
        if self.drawn is not None:
            self.paint_with(max(self.layers.painting, 2))
            self.panel.say("")

    def next_class(self) -> None:
        """Paint with the next class; from a box or lasso go back to the brush."""
        if self.drawn is not None:
            self._back_to_brush()
        else:
            self.layers.next_class()

    def _selected(self, event: Any = None) -> None:
        """Press the swatch of what is painted now; napari also offers numbers that no class has."""
        largest = self.layers.classes + 1
        if self.layers.painting > largest:
            self.layers.scribbles.selected_label = largest
            self.panel.say("There is no further class. Finish, set Settings > Classes, and start again.")
        self.panel.swatches.select(self.layers.painting)

    def _displayed(self, event: Any = None) -> None:
        if self.viewer.dims.ndisplay == 3:
            self.panel.say(IN_SLICES)

    def _removing(self, event: Any) -> None:
        """Put the brush away before a layer goes: napari may crash when the painted one goes under the brush."""
        if self.viewer.layers[event.index] in self.layers.own:
            self.layers.scribbles.mode = "pan_zoom"
            self.layers.scribbles.bounding_box.visible = False

    def _removed(self, event: Any) -> None:
        if event.value in (*self.layers.own, self.source):
            self.close(f"The layer {event.value.name} was removed. {self.kept}".strip())
        elif event.value == self.layers.overlay:
            self.layers.overlay = None
            self.panel.overlay.setChecked(False)

    def _replaced(self, event: Any = None) -> None:
        earlier = "The refinement of the earlier one is saved and can be continued when that is open again; "
        start = f"{earlier if self.session.rounds else ''}Start refines the new one."
        self.close(f"The picture in the layer {self.source.name} was replaced. {start}")

    def _moved(self, event: Any = None) -> None:
        self.settled.start()  # whoever resizes several layers is done by then

    def _follow_place(self) -> None:
        """Keep strokes, mask and objects on the image when it, or what it is a part of, is moved or resized."""
        if self.closed:
            return
        if self.chosen is not self.layers.image:
            self.followed.lead(self.layers.image)
        if self.layers.follow_image():
            self.panel.say(f"{MOVED.format(self.chosen.name)} Sizes said here are those of the earlier pixels.")

    # ---- rounds
    def refine(self) -> None:
        """Bring the mask to the strokes; a newer call cancels an older one; without a new stroke say so."""
        self.layers.look()
        if self.steps.idle and self.layers.waiting is None and not self.layers.changed() and self.session.is_refined:
            self.panel.say("There is no new stroke. Paint where the mask is wrong, then refine.")
            return
        self._refine()

    def _refine(self) -> None:
        self.steps.do(REFINE, lambda: self.session.refine(*self.layers.strokes()), self._show)

    def undo(self) -> None:
        """Take back strokes that are not refined yet, else the last round."""
        self.steps.do(ROUNDS, self._undo, self._show)

    def _undo(self) -> Job[RefinementState] | None:
        self.layers.look()
        if self.layers.differ(self.session.scribbles, self.session.result):
            self.layers.restore(self.session.scribbles)
            self.panel.say("Strokes that were not refined yet are taken back; Ctrl+Z brings them back.")
            return None
        return call("undo", self.session.undo)

    def redo(self) -> None:
        """Bring back the next round."""
        self.steps.do(ROUNDS, lambda: call("redo", self.session.redo), self._show)

    def go_to(self, index: int) -> None:
        """Go to a round."""
        self.steps.do(ROUNDS, lambda: call("going there", self.session.go_to, index), self._show)

    def accept(self) -> None:
        """Write the mask into the layer of objects, lock it there and clear the strokes."""
        if self._all_refined():
            self.steps.do("accept", lambda: call("accepting", self.session.accept_object), self._show)

    def reopen(self) -> None:
        """Take the accepted object under the mouse back into the mask, to be corrected."""
        label = self._pointed("O")
        if label and self._all_refined():
            self.steps.do("accept", lambda: call("opening", self.session.reopen_object, label), self._show)

    def _pointed(self, key: str) -> int:
        """Return the accepted object under the mouse; 0 where there is none, which is said."""
        position = self.viewer.cursor.position
        label = self.layers.object_at(position)
        if not label and self.layers.is_elsewhere(position):
            self.panel.say(ELSEWHERE)
        elif not label:
            self.panel.say(f"Point at an accepted object in a slice, then press {key}.")
        return label

    def accept_pieces(self) -> None:
        """Accept each connected piece of the mask as an object of its own."""
        if self._all_refined():
            self.steps.do("accept", lambda: call("accepting", self.session.accept_pieces), self._show)

    def join(self) -> None:
        """Take the accepted object under the mouse into the open one."""
        label = self._pointed("J")
        if label and self._all_refined():
            self.steps.do("accept", lambda: call("joining", self.session.join_object, label), self._show)

    # ---- slices
    @property
    def axis(self) -> int:
        """Axis of the image along which the slices in view follow."""
        dims, n = self.viewer.dims, self.layers.mask.ndim
        return next(axis for axis in dims.order if axis >= dims.ndim - n) - (dims.ndim - n)

    def fill(self) -> None:
        """Fill the slices between those that the mask is on."""
        if self._all_drawn():
            self.steps.do(
                "slices", lambda: call("filling between slices", self.session.fill_between, self.axis), self._show
            )

    def propagate(self, forwards: bool) -> None:
        """Carry the mask of the slice in view on to as many slices as the dock says; `stop` ends it early."""
        if not self._all_drawn():
            return
        axis, mask = self.axis, self.layers.mask
        here = round(float(to_data(self.viewer, mask, self.viewer.dims.point)[axis]))
        count, depth = self.panel.slices.value(), mask.data.shape[axis]
        to = min(max(here + (count or depth) * (1 if forwards else -1), 0), depth - 1)
        self.going = True
        self.steps.do(
            "slices", lambda: self.session.propagate(here, to, axis, lambda: self.going),
            lambda state: self._carried(state, axis),
        )  # fmt: skip

    def stop(self) -> None:
        """End what is carried on; the slices that are done stay."""
        self.going = False

    def _carried(self, state: RefinementState, axis: int) -> None:
        self._show(state)
        dims, mask = self.viewer.dims, self.layers.mask
        at = [float(x) for x in to_data(self.viewer, mask, dims.point)]
        at[axis] = self.session.rounds[-1]["slice"]
        dims.set_point(range(dims.ndim), [*dims.point[: -mask.ndim], *to_world(self.viewer, mask, at)])

    def _all_drawn(self) -> bool:
        """Whether no stroke waits; while strokes do not refine, those that wait are the object as it is drawn."""
        if self.panel.automatic:
            return self._all_refined()
        self.layers.look()
        if self.layers.changed():
            self.steps.do("slices", lambda: call("drawing", self.session.draw, *self.layers.strokes()), self._show)
        return True

    def _all_refined(self) -> bool:
        """Whether no stroke waits; otherwise say what to do with it."""
        self.layers.look()
        waiting = self.layers.changed()
        if waiting:
            self.panel.say("Some strokes are not refined yet. Press S to refine or U to take them back first.")
        return not waiting

    def _show(self, state: RefinementState) -> None:
        self.layers.show(state)
        self.shown = state.index
        self.panel.show_state(state, self.session.rounds)
        if state.kind == "accept":
            self.layers.paint_with(2)
        self.autosave.note()
        if self.panel.overlay.isChecked():
            self.guidance.uncertainty(True)

    # ---- ending
    def finish(self) -> None:
        """End at the user's wish: the overlay goes, mask, objects and strokes stay."""
        self.guidance.uncertainty(False)
        layers, own = self.viewer.layers, self.layers
        touched = self.session.rounds or not self.steps.idle or own.boxes or own.scribbles.data.any()
        self.close(self.kept)
        for layer in () if touched else (own.scribbles, own.mask, own.objects):
            copy = layer is own.mask and self.opened.start.given is not None
            if layer in layers and (copy or not layer.data.any()):
                layers.remove(layer)
        layers.selection.active = own.result if own.result in layers else own.image

    @property
    def below(self) -> str:
        """What to say of the labels that were corrected; empty where they are in view, or there are none."""
        given = self.opened.start.given
        return f"{given.name}, which it started from, is hidden." if given in self.hidden and not given.visible else ""

    @property
    def kept(self) -> str:
        """What is there of the refinement after its end, in a sentence."""
        return "The refinement is saved and can be continued." if self.session.rounds else ""

    def close(self, reason: str = "") -> None:
        """End: unbind the keys, leave the layers, let the last stroke's round end, save."""
        if self.closed:
            return
        self.closed, self.going = True, False
        for waiting in filter(isalive, (self.release, self.follow, self.settled)):
            waiting.stop()
        for emitter, listener in self.heard:
            emitter.disconnect(listener)
        self.keys.unbind()
        with contextlib.suppress(*GONE):
            self._put_away()
            self.layers.release()
            for layer in () if self.session.rounds else self.hidden:
                layer.visible = True
        self.steps.close(self._last)
        self.ended(reason)

    def _last(self) -> None:
        """Show and save what came after the last save."""
        atexit.unregister(self._at_exit)
        state = self.session.state
        if state.index != self.shown:
            self.autosave.dirty = True
            with contextlib.suppress(*GONE):  # nobody told which boxes changed
                everything = whole(state.mask.shape)
                self.layers.show(replace(state, box=everything, result_box=everything))
        self.autosave.last()

    def _at_exit(self) -> None:
        """Save what Python's end finds unsaved: nobody tells of the round that runs then."""
        QThreadPool.globalInstance().waitForDone()
        self.autosave.dirty |= self.session.state.index != self.shown
        self.autosave.now()
