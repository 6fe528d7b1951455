"""Scribbles before and after in all three planes: ``python -m napari_medseg._napari.demo.refine FOLDER``.

On a generated volume P-Net proposes a mask and R-Net refines it (the bundled models; without them the geodesic engine
starts from nothing). Each stroke goes where the mask is most wrong in the plane shown.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import napari
import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from napari_medseg._napari.demo.window import PLUGIN, wait_for
from napari_medseg._napari.layers import layer_data
from napari_medseg._napari.refine import saves as refine_saves
from napari_medseg._napari.refine.setup import DEEPIGEOS, PROPOSAL
from napari_medseg.models.checkpoint import bundled
from napari_medseg.refinement.places import disagreement
from napari_medseg.samples.mri import brain_volume

# the axis that is sliced first, then the two that are shown
PLANES = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
SHAPE, SPACING, SEED = (72, 112, 96), (1.5, 1.0, 1.0), 3
LENGTH, BRUSH, STROKES = 9, 2, 3
FOREGROUND, BACKGROUND = 2, 1
WINDOW, ZOOM = (1280, 860), 0.82
GAP, BAND, COLOURS = 8, 34, 256


class Scene:
    """A window with the generated volume, its lesion and the dock."""

    def __init__(self) -> None:
        image, truth = brain_volume(SEED, SHAPE, SPACING)
        self.truth = np.asarray(truth.data) > 0
        self.viewer = napari.Viewer(title="Refine with scribbles")
        self.viewer.window.resize(*WINDOW)
        data, kwargs, _ = layer_data(image)
        self.viewer.add_image(data, **{**kwargs, "name": "volume"})
        _, self.dock = self.viewer.window.add_plugin_dock_widget(PLUGIN, "Refine with scribbles")
        setup, proposer, refiner = self.dock.setup, bundled("demo_pnet_3d"), bundled("demo_rnet_3d")
        setup.input.choose(self.viewer.layers["volume"])
        if proposer.exists() and refiner.exists():
            setup.origin.setCurrentText(PROPOSAL)
            setup.engine.setCurrentText(DEEPIGEOS)
            setup.pnet.refresh(proposer)
            setup.rnet.refresh(refiner)
        self.dock.run_bar.start()
        wait_for(lambda: self.dock.live is not None)
        self.live = self.dock.live
        self.first = self.live.session.state.index
        self.live.layers.scribbles.brush_size = BRUSH

    def look(self, order: tuple[int, ...]) -> tuple[int, ...]:
        """Show the plane through the largest error of the mask and return the voxel in its middle."""
        place = self.live.session.biggest_disagreement(self.truth)
        middle: tuple[int, ...] = place.position if place is not None else tuple(n // 2 for n in SHAPE)
        self.viewer.dims.order = order
        self.viewer.reset_view()
        self.viewer.camera.zoom *= ZOOM
        centre = self.viewer.camera.center
        self.live.looks.look_at(middle)
        self.viewer.camera.center = centre
        return middle

    def stroke(self, order: tuple[int, ...], middle: tuple[int, ...]) -> None:
        """Paint a line where the mask is most wrong in the plane that is shown, and wait for the new mask."""
        mask, cut = np.asarray(self.live.layers.mask.data), (middle[order[0]], order[0])
        place = disagreement(np.take(mask, *cut), np.take(self.truth, *cut).astype(mask.dtype))
        if place is None:
            return
        value = FOREGROUND if place.why == "missing" else BACKGROUND
        wrong = (mask > 0) != self.truth
        row, column = place.position
        layer, before = self.live.layers.scribbles, self.live.session.state.index
        with layer.block_history():
            for step in range(-LENGTH // 2, LENGTH // 2 + 1):
                along = dict(zip(order, (middle[order[0]], row + step, column), strict=True))
                position = tuple(along[axis] for axis in range(3))
                if wrong[position]:
                    layer.paint(position, value)
        wait_for(lambda: self.live.steps.idle and self.live.session.state.index > before)

    def dice(self) -> float:
        """Return the overlap with the lesion."""
        mask = np.asarray(self.live.layers.mask.data) > 0
        return float(2 * (mask & self.truth).sum() / (mask.sum() + self.truth.sum()))

    def mend(self, order: tuple[int, ...], path: Path) -> tuple[float, float]:
        """Show one plane, paint strokes, and save before and after; return both Dice scores."""
        self.live.go_to(self.first)
        wait_for(lambda: self.live.steps.idle)
        middle = self.look(order)
        settle()
        before, first = self.viewer.screenshot(canvas_only=True, flash=False), self.dice()
        for _ in range(STROKES):
            self.stroke(order, middle)
        settle()
        after = self.viewer.screenshot(canvas_only=False, flash=False)
        titles = (f"Before: Dice {first:.2f}", f"After {STROKES} strokes: Dice {self.dice():.2f}")
        save(path, (before, after), titles)
        return first, self.dice()


def settle() -> None:
    """Let the window draw."""
    wait_for(lambda: False, 0.4)


def save(path: Path, pictures: tuple[np.ndarray, np.ndarray], titles: tuple[str, str]) -> None:
    """Save two pictures side by side under their titles, as PNG with 256 colours."""
    parts = [Picture.fromarray(p).convert("RGB") for p in pictures]
    height = BAND + max(part.height for part in parts)
    sheet = Picture.new("RGB", (sum(part.width for part in parts) + GAP, height), "#262930")
    font, left = ImageFont.load_default(18), 0
    for part, title in zip(parts, titles, strict=True):
        sheet.paste(part, (left, BAND))
        ImageDraw.Draw(sheet).text((left + 8, 6), title, "white", font)
        left += part.width + GAP
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(COLOURS, dither=Picture.Dither.NONE).save(path, optimize=True)


def refine_pictures(folder: Path) -> dict[str, Any]:
    """Save ``refine-<plane>.png`` for all three planes in `folder`; return the Dice scores before and after.

    The session, which ``medseg refine --replay`` repeats, goes to ``folder/sessions``.
    """
    refine_saves.SESSIONS = folder / "sessions"
    scene = Scene()
    scores = {name: scene.mend(order, folder / f"refine-{name}.png") for name, order in PLANES.items()}
    scene.live.finish()
    scene.viewer.close()
    return scores


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    refine_pictures(parser.parse_args().folder)


if __name__ == "__main__":
    main()
