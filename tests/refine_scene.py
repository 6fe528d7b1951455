"""A viewer with a picture and the dock Refine with scribbles, and hands to paint with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
from napari.utils.interactions import mouse_move_callbacks, mouse_press_callbacks, mouse_release_callbacks
from qtpy.QtWidgets import QApplication
from shorthand import Open, Wait

from napari_medseg._napari.layers import layer_data
from napari_medseg.image import Image
from napari_medseg.samples.mri import brain_volume, slice_2d

LESION, OUTSIDE = 2, 1


class Scene:
    """A viewer with a generated scan, the dock, and hands to paint with."""

    def __init__(self, open_dock: Open, wait: Wait, ndim: int = 2) -> None:
        self.viewer, self.dock = open_dock("Refine with scribbles")
        image, truth = slice_2d(3, (96, 96)) if ndim == 2 else brain_volume(3, (24, 40, 36))
        data, kwargs, _ = layer_data(image)
        self.scan, self.truth, self.pause = self.viewer.add_image(data, **kwargs), np.asarray(truth.data) > 0, wait
        self.centre = tuple(np.round(np.argwhere(self.truth).mean(0)).astype(int))

    def start(self) -> Scene:
        self.dock.setup.picture.input.choose(self.scan)
        self.dock.run_bar.run_button.click()
        self.pause(lambda: self.dock.run_bar.current is None)
        assert self.live is not None, self.dock.run_bar.message.text()
        return self

    @property
    def live(self) -> Any:
        return self.dock.live

    @property
    def scribbles(self) -> Any:
        return self.live.layers.scribbles

    @property
    def mask(self) -> np.ndarray:
        return np.asarray(self.live.layers.mask.data)

    @property
    def round(self) -> int:
        return int(self.live.session.state.index)

    def settle(self) -> None:
        live = self.live
        timers = (live.release, live.follow)
        self.pause(lambda: live.steps.idle and not any(timer.isActive() for timer in timers))

    def paint(self, place: tuple[int, ...], value: int) -> None:
        self.scribbles.paint(place, value)
        self.settle()

    def drag(self, *places: tuple[int, ...]) -> None:
        """Press at the first place, move through the others and release."""
        layer, dims = self.scribbles, self.viewer.dims
        for number, place in enumerate((*places, places[-1])):
            kind = "mouse_press" if not number else "mouse_move" if number < len(places) else "mouse_release"
            event = SimpleNamespace(
                type=kind, is_dragging=kind == "mouse_move", button=1, modifiers=(), pos=np.zeros(2),
                position=tuple(layer.data_to_world(place)), dims_displayed=list(dims.displayed),
                dims_point=dims.point, view_direction=None, up_direction=None, handled=False,
            )  # fmt: skip
            {"mouse_press": mouse_press_callbacks, "mouse_move": mouse_move_callbacks}.get(
                kind, mouse_release_callbacks
            )(layer, event)

    def press(self, key: str) -> None:
        function = self.viewer.keymap[next(k for k in self.viewer.keymap if str(k) == key)]
        held = function(self.viewer)
        if held is not None:
            next(held)
            self.held = held

    def accept(self, *places: tuple[int, ...]) -> Any:
        """Paint and accept one object at each place, or accept what there is; return the layer of objects."""
        for place in places or [None]:
            if place is not None:
                self.paint(place, LESION)
            self.press("A")
            self.settle()
        return self.live.layers.objects

    def dice(self) -> float:
        found = self.mask > 0
        return float(2 * (found & self.truth).sum() / max(found.sum() + self.truth.sum(), 1))


class Slide(Scene):
    """A viewer with a picture of three levels, of which the first cannot be read, and a disc in the middle of it."""

    size, steps = 8192, (1, 8, 16)  # pixels of 1/16 um

    def __init__(self, open_dock: Open, wait: Wait) -> None:
        self.viewer, self.dock = open_dock("Refine with scribbles")
        self.pause = wait
        n = self.size // 8
        far = np.hypot(*(axis - (n - 1) / 2 for axis in np.ogrid[:n, :n]))
        fine = np.where(far < 200, 90.0, 200.0) + np.random.default_rng(0).normal(0, 8, (n, n))
        means = [fine.astype(np.float32), fine.reshape(n // 2, 2, n // 2, 2).mean((1, 3)).astype(np.float32)]
        nothing = np.empty((0, 0), np.float32)
        unreadable = da.map_blocks(_refuse, chunks=((1024,) * 8,) * 2, dtype=np.float32, meta=nothing)
        known = {"levels": [unreadable, *means], "level_grids": [[[k, k], [(k - 1) / 2] * 2] for k in self.steps]}
        self.picture = Image(unreadable, "YX", (1 / 16,) * 2, ("micrometer",) * 2, name="slide", metadata=known)
        self.open()

    def open(self) -> None:
        data, kwargs, _ = layer_data(self.picture)
        self.scan = self.viewer.add_image(data, contrast_limits=(0, 255), **kwargs)
        self.look(0.5)

    def look(self, zoom: float, centre: tuple[float, float] = (256, 256)) -> None:
        """Show the place `centre` (um) with so many screen pixels to the um."""
        self.viewer.camera.zoom, self.viewer.camera.center = zoom, (0, *centre)
        QApplication.processEvents()

    def answer(self) -> str:
        self.dock.setup.picture.input.choose(self.scan)
        self.dock.run_bar.run_button.click()
        self.pause(lambda: self.dock.run_bar.current is None)
        return str(self.dock.run_bar.message.text())

    @property
    def part(self) -> dict[str, Any]:
        """Level and box that are refined."""
        part: dict[str, Any] = self.live.session.image.metadata["part"]
        return part


def _refuse(block_info: Any = None) -> np.ndarray:
    raise AssertionError("full resolution was read")
