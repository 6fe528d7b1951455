"""Axial, coronal and sagittal views of a volume, upright in radiological convention, with marks of the body's sides."""

from __future__ import annotations

import weakref
from typing import Any, Literal, get_args

import numpy as np
from napari.layers import Layer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from napari_medseg._napari.layers import world_of
from napari_medseg.io.volumes.space import MILLIMETER

Plane = Literal["axial", "coronal", "sagittal"]
# the world of volumes is (superior, posterior, left): the axis that is sliced, then what runs down and to the right
SHOWN: dict[Plane, tuple[int, int, int]] = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
ENDS = (("I", "S"), ("A", "P"), ("R", "L"))
UP = 0  # superior is shown at the top, posterior at the bottom and left of the body at the right
SIDES = ("top_center", "bottom_center", "middle_left", "middle_right")
MARK, SIZE = "medseg_{}", 16


def body_axes(layer: Layer | None) -> tuple[list[int], list[bool]] | None:
    """Return for each axis of space of a volume which of the body's axes it follows, and whether it runs with it.

    ``None`` for what is no volume, or whose file does not say how it lies in the body.
    """
    kept = {} if layer is None else layer.metadata.get("medseg_image", {})
    stated = kept.get("affine")
    if layer is None or stated is None or "Z" not in kept.get("axes", "") or layer.ndim < 3:
        return None
    if kept.get("units", ("",))[-1] != MILLIMETER or len(stated) < 4:
        return None
    body, shown = np.asarray(stated, float)[-4:-1, -4:-1], world_of(layer)[-4:-1, -4:-1]
    directions = (body / np.linalg.norm(body, axis=0)) @ np.linalg.inv(shown / np.linalg.norm(shown, axis=0))
    main = np.abs(directions).argmax(0)
    if sorted(main) != [0, 1, 2]:
        return None
    return main.tolist(), (directions[main, range(3)] > 0).tolist()


def show_plane(viewer: Any, layer: Layer, plane: Plane) -> None:
    """Show a plane of a volume upright: the patient's right at the left, in sagittal views the face at the left."""
    known = body_axes(layer)
    if known is None:
        return
    main, along = known
    first = viewer.dims.ndim - 3
    axes = [main.index(body) for body in SHOWN[plane]]
    viewer.dims.ndisplay = 2
    viewer.dims.order = (*range(first), *(first + axis for axis in axes))
    vertical, horizontal = axes[1:]
    down = along[vertical] != (main[vertical] == UP)
    if hasattr(viewer.camera, "orientation2d"):  # napari up to 0.5 cannot turn its pictures
        viewer.camera.orientation2d = ("down" if down else "up", "right" if along[horizontal] else "left")
    viewer.reset_view()
    Marks.of(viewer).follow(layer)


def acquired(layer: Layer) -> Plane | None:
    """Return the plane that a volume's slices lie in."""
    known = body_axes(layer)
    return None if known is None else get_args(Plane)[known[0][0]]


class Marks:
    """Letters at the sides of the picture that say where the body's sides are, whatever is in view."""

    shown: dict[int, Marks] = {}

    def __init__(self, viewer: Any) -> None:
        self._viewer, self.layer = weakref.ref(viewer), None
        camera = getattr(viewer.camera.events, "orientation", None)
        for event in (viewer.dims.events.order, viewer.dims.events.ndisplay, viewer.layers.events.removed, camera):
            if event is not None:
                event.connect(self.draw)

    @classmethod
    def of(cls, viewer: Any) -> Marks:
        """Return the marks of a viewer."""
        viewer = getattr(viewer, "__wrapped__", viewer)  # docks see a viewer through a proxy
        marks = cls.shown.get(id(viewer))
        if marks is None or marks.viewer is not viewer:
            marks = cls.shown[id(viewer)] = cls(viewer)
        return marks

    @property
    def viewer(self) -> Any:
        """The viewer; ``None`` once it is gone."""
        return self._viewer()

    def follow(self, layer: Layer) -> None:
        """Mark the sides as they lie in `layer`."""
        self.layer = layer
        self.draw()

    def letters(self) -> tuple[str, str, str, str]:
        """Return the letters at the top, bottom, left and right of the picture; empty where nothing is known."""
        known = body_axes(self.layer)
        if known is None or self.viewer.dims.ndisplay != 2:
            return "", "", "", ""
        main, along = known
        first = self.viewer.dims.ndim - 3
        ends = []
        senses = getattr(self.viewer.camera, "orientation2d", ("down", "right"))
        for axis, sense in zip(self.viewer.dims.displayed[-2:], senses, strict=True):
            if axis < first:
                return "", "", "", ""
            low, high = ENDS[main[axis - first]]
            forwards = along[axis - first] == (str(sense) in ("down", "right"))
            ends += [low, high] if forwards else [high, low]
        return ends[0], ends[1], ends[2], ends[3]

    def draw(self, event: Any = None) -> None:
        """Write the letters into the picture."""
        if self.layer is not None and self.layer not in self.viewer.layers:
            self.layer = None
        letters = self.letters()
        if not hasattr(self.viewer, "canvas"):  # napari up to 0.8 has one text for all
            text = self.viewer.text_overlay
            text.text = "{} above, {} below, {} left, {} right".format(*letters) if any(letters) else ""
            text.visible = any(letters)
            return
        from napari.components.overlays import TextOverlay

        overlays = self.viewer.canvas.overlays
        for side, letter in zip(SIDES, letters, strict=True):
            name = MARK.format(side)
            if name not in overlays:
                overlays[name] = TextOverlay(position=side, font_size=SIZE, box=False)
            overlays[name].text, overlays[name].visible = letter, bool(letter)


class PlaneButtons(QWidget):
    """Three buttons that show a volume in its planes; hidden for everything else."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer, self.layer = viewer, None
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self.buttons: dict[Plane, QPushButton] = {}
        for plane in get_args(Plane):
            button = QPushButton(plane.capitalize())
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.setToolTip(f"Show the {plane} plane upright, as radiologists do; letters mark the sides")
            button.clicked.connect(lambda _=False, plane=plane: show_plane(self.viewer, self.layer, plane))
            self.buttons[plane] = button
            row.addWidget(button)
        self.hide()

    def suit(self, layer: Layer | None) -> None:
        """Act on `layer`."""
        self.layer = layer
        self.setVisible(body_axes(layer) is not None)
