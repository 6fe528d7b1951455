"""Where to look in a refinement: hide the mask, uncertainty overlay, next uncertain place, biggest disagreement."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_medseg._napari.layers import image_from_layer
from napari_medseg._napari.refine.jobs import call
from napari_medseg._napari.refine.layers import RefineLayers
from napari_medseg._napari.refine.steps import LOOK, Steps
from napari_medseg.refinement import Place, RefinementSession
from napari_medseg.refinement.state import elements


class Looks:
    """Looking does not change the session; it runs between its steps."""

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
        if place is None:
            self.panel.say("There is no such place: everything is decided, or equal to the reference.")
            return
        self.look_at(place.position)
        size = f"{place.voxels:,} {elements(len(place.position))}"
        self.panel.say(f"In the middle of the view: {place.why}, about {size}.")

    def look_at(self, position: tuple[int, ...]) -> None:
        """Bring a voxel into view: slices and camera, whatever the order of the axes."""
        viewer, image = self.layers.viewer, self.layers.image
        dims, world = viewer.dims, np.asarray(image.data_to_world(position))
        point = [*dims.point[: dims.ndim - len(world)], *world]
        dims.set_point(range(dims.ndim), point)
        viewer.camera.center = tuple(point[axis] for axis in dims.displayed)
