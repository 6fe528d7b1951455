"""Axial, coronal and sagittal views of a volume, upright in radiological convention, with marks of the body's sides."""

from __future__ import annotations

import weakref
from collections.abc import Generator
from typing import Any, Literal, get_args

import numpy as np
from napari.layers import Layer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from napari_medseg._napari.colours import YELLOW
from napari_medseg._napari.layers import DERIVED, like
from napari_medseg._napari.widgets.listening import PLACE
from napari_medseg._napari.world import put_onto, to_data, world_of
from napari_medseg.io.volumes.space import MILLIMETER

Plane = Literal["axial", "coronal", "sagittal"]
# the world of volumes is (superior, posterior, left): the axis that is sliced, then what runs down and to the right
SHOWN: dict[Plane, tuple[int, int, int]] = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
ENDS = (("I", "S"), ("A", "P"), ("R", "L"))
UP = 0  # superior is shown at the top, posterior at the bottom and left of the body at the right
SIDES = ("top_center", "bottom_center", "middle_left", "middle_right")
MARK, SIZE = "medseg_{}", 16
POINT, WIDTH = "point of the planes", 0.2  # name of the layer, width of its lines in voxels
STILL = 3  # pixels that a click may move


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


class _OfViewer:
    """One for each viewer."""

    made: dict[int, Any] = {}

    def __init_subclass__(cls) -> None:
        cls.made = {}

    @classmethod
    def of(cls, viewer: Any) -> Any:
        """Return that of a viewer."""
        viewer = getattr(viewer, "__wrapped__", viewer)  # docks see a viewer through a proxy
        own = cls.made.get(id(viewer))
        if own is None or own.viewer is not viewer:
            own = cls.made[id(viewer)] = cls(viewer)  # type: ignore[call-arg]
        return own


class Marks(_OfViewer):
    """Letters at the sides of the picture that say where the body's sides are, whatever is in view."""

    def __init__(self, viewer: Any) -> None:
        self._viewer, self.layer = weakref.ref(viewer), None
        camera = getattr(viewer.camera.events, "orientation", None)
        for event in (viewer.dims.events.order, viewer.dims.events.ndisplay, viewer.layers.events.removed, camera):
            if event is not None:
                event.connect(self.draw)

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
                overlays[name] = TextOverlay(position=side, font_size=SIZE, box=True)  # read on any picture
            overlays[name].text, overlays[name].visible = letter, bool(letter)


class Cross(_OfViewer):
    """The point that the planes go through: a cross marks it, a click moves it, sliders take it along."""

    def __init__(self, viewer: Any) -> None:
        self._viewer, self.layer, self.mark = weakref.ref(viewer), None, None
        viewer.dims.events.current_step.connect(self.draw)
        viewer.mouse_drag_callbacks.append(self.press)

    @property
    def viewer(self) -> Any:
        """The viewer; ``None`` once it is gone."""
        return self._viewer()

    def show(self, layer: Layer) -> None:
        """Mark the point in `layer`; a cross that was hidden stays so."""
        for name in PLACE if layer is not self.layer else ():
            if self.layer is not None:
                getattr(self.layer.events, name).disconnect(self.follow)
            getattr(layer.events, name).connect(self.follow)
        self.layer = layer
        if self.mark is None or self.mark not in self.viewer.layers:
            active = self.viewer.layers.selection.active
            placed = {**like(layer), "metadata": dict(DERIVED)}
            look = {"edge_color": YELLOW, "edge_width": WIDTH, "vector_style": "line", "opacity": 0.6}
            self.mark = self.viewer.add_vectors(self._lines(), name=POINT, **look, **placed)
            self.viewer.layers.selection.active = active
        self.follow()

    @property
    def shown(self) -> bool:
        """Whether the cross is there."""
        both = (self.mark, self.layer)
        return all(one is not None and one in self.viewer.layers for one in both) and self.mark.visible

    def draw(self, event: Any = None) -> None:
        """Put the cross where the planes of the sliders meet."""
        if self.shown:
            self.mark.data = self._lines()

    def follow(self, event: Any = None) -> None:
        """Put the cross onto its layer, which was moved or is another one."""
        if self.shown:
            put_onto(self.mark, self.layer)
        self.draw()

    def _lines(self) -> np.ndarray:
        """Return lines through the point along the axes of space, (3, 2, ndim): where each begins and how far it goes.

        Of each, a slice shows what begins in it: the two lines that lie in the plane.
        """
        ndim, shape = self.layer.ndim, self.layer.data.shape
        point = np.round(to_data(self.viewer, self.layer, self.viewer.dims.point))
        lines = np.zeros((3, 2, ndim))
        lines[:, 0] = point
        for line, axis in zip(lines, range(ndim - 3, ndim), strict=True):
            line[0, axis], line[1, axis] = 0, shape[axis] - 1  # no farther, or the sliders would stop between slices
        return lines

    def press(self, viewer: Any, event: Any) -> Generator[None, None, None]:
        """Move the point to a click; a drag moves the picture as always."""
        start = np.array(event.pos)
        yield
        while event.type == "mouse_move":
            yield
        active = viewer.layers.selection.active
        flat = viewer.dims.ndisplay == 2 and (active is None or active.mode == "pan_zoom")
        if self.shown and flat and np.abs(np.array(event.pos) - start).max() <= STILL:
            viewer.dims.set_point(range(viewer.dims.ndim), event.position)


class PlaneButtons(QWidget):
    """Three buttons that show a volume in its planes through one point; hidden for everything else."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer, self.layer = viewer, None
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self.buttons: dict[Plane, QPushButton] = {}
        for plane in get_args(Plane):
            button = QPushButton(plane.capitalize())
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.setToolTip(
                f"Show the {plane} plane through the cross, upright, as radiologists do; letters mark the sides. "
                "A click in the picture moves the cross"
            )
            button.clicked.connect(lambda _=False, plane=plane: self.show_plane(plane))
            self.buttons[plane] = button
            row.addWidget(button)
        self.hide()

    def suit(self, layer: Layer | None) -> None:
        """Act on `layer`."""
        self.layer = layer
        self.setVisible(body_axes(layer) is not None)

    def show_plane(self, plane: Plane) -> None:
        """Show a plane through the point, and mark the point."""
        show_plane(self.viewer, self.layer, plane)
        Cross.of(self.viewer).show(self.layer)
