"""Open napari on a demo's results: ``python -m napari_medseg._napari.demo FOLDER [--kind K] [--screenshots]``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from qtpy.QtWidgets import QApplication

from napari_medseg._napari import PLUGIN
from napari_medseg._napari.docks.model_chooser import ModelChooser
from napari_medseg._napari.layers import layer_data
from napari_medseg._napari.planes import show_plane
from napari_medseg._napari.readers import read_layers
from napari_medseg._napari.refine import saves as refine_saves
from napari_medseg._napari.refine.setup import DEEPIGEOS, PROPOSAL
from napari_medseg.models.checkpoint import bundled
from napari_medseg.refinement.guidance import disagreement
from napari_medseg.samples.afm import afm_scan
from napari_medseg.samples.demo import SCAN_SEED, SCAN_SIZE
from napari_medseg.samples.mri import brain_volume

WINDOW = (1380, 960)
# the axis that is sliced first, then the two that are shown
PLANES = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
SHAPE, SPACING, SEED = (72, 112, 96), (1.5, 1.0, 1.0), 3
LENGTH, BRUSH, STROKES = 9, 2, 3
FOREGROUND, BACKGROUND = 2, 1
MRI_WINDOW, ZOOM = (1280, 860), 0.82
GAP, BAND, COLOURS = 8, 34, 256


# ---- the window
def wait_for(condition: Callable[[], bool], seconds: float = 120) -> bool:
    """Let the window work until `condition` holds; return whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        QApplication.processEvents()
        time.sleep(0.01)
    return condition()


def picture(viewer: Any, path: Path) -> None:
    """Save what the whole window shows."""
    for _ in range(20):
        QApplication.processEvents()
        time.sleep(0.02)
    path.parent.mkdir(parents=True, exist_ok=True)
    viewer.screenshot(str(path), canvas_only=False, flash=False)


# ---- scans of cells
def show_afm(viewer: Any, folder: Path) -> Any:
    """Segment the demo's scan in the window with the model the demo trained, then measure it."""
    for layer in read_layers(str(folder / "scan.tif")):
        viewer.add_layer(napari.layers.Layer.create(*layer))
    scan = viewer.layers[-1]
    scan.colormap = "gray"
    ModelChooser.session.insert(0, folder / "run" / "best.pt")
    _, segment = viewer.window.add_plugin_dock_widget(PLUGIN, "Segment")
    segment.models.refresh(folder / "run" / "best.pt")
    segment.input.choose(scan)
    segment.run_bar.start()
    wait_for(lambda: segment.run_bar.current is None)
    _, measure = viewer.window.add_plugin_dock_widget(PLUGIN, "Measure", tabify=True)
    measure.image.choose(scan)
    measure.run_bar.start()
    wait_for(lambda: measure.run_bar.current is None)
    viewer.reset_view()
    return segment


def show_evaluate(viewer: Any) -> Any:
    """Compare the mask with the cells that the scan was generated from; return the dock."""
    data, kwargs, _ = layer_data(afm_scan(seed=SCAN_SEED, size=SCAN_SIZE)[1])
    viewer.add_labels(data, **{**kwargs, "name": "reference"})
    _, compared = viewer.window.add_plugin_dock_widget(PLUGIN, "Evaluate", tabify=True)
    compared.result.choose(next(layer for layer in viewer.layers if "afm-unet" in layer.name))
    compared.reference.choose(viewer.layers["reference"])
    compared.run_bar.start()
    wait_for(lambda: compared.run_bar.current is None)
    viewer.reset_view()
    return compared


def show_train(viewer: Any, folder: Path) -> None:
    """Train a two-level net for a few epochs in the window, for its picture."""
    _, train = viewer.window.add_plugin_dock_widget(PLUGIN, "Train", tabify=True)
    train.data.value, train.run_folder.value = folder / "afm", folder / "window-run"
    train.resume.setChecked(True)
    train.check_bar.start()
    wait_for(lambda: train.check_bar.current is None)
    train.method_form.value = train.method_form.value.updated(architecture="unet2", level=True, dropout=0.0)
    schedule = {"epochs": 8, "batch_size": 4, "steps_per_epoch": 4, "learning_rate": 0.01}
    train.training_form.value = train.training_form.value.updated(**schedule)
    train.run_bar.start()
    wait_for(lambda: train.run_bar.current is None)


def cells(folder: Path, screenshots: bool) -> Any:
    """Show segmenting, measuring and training on scans; return the window."""
    viewer = napari.Viewer(title="napari-medseg demo")
    viewer.window.resize(*WINDOW)
    segment = show_afm(viewer, folder)
    if screenshots:
        picture(viewer, folder / "measure.png")
        segment.parentWidget().raise_()
        picture(viewer, folder / "segment.png")
    show_evaluate(viewer).parentWidget().raise_()
    if screenshots:
        picture(viewer, folder / "evaluate.png")
        show_train(viewer, folder)
        picture(viewer, folder / "train.png")
    return viewer


# ---- a lesion, refined
class Scene:
    """A window with the generated volume, its lesion and the dock."""

    def __init__(self) -> None:
        image, truth = brain_volume(SEED, SHAPE, SPACING)
        self.truth = np.asarray(truth.data) > 0
        self.viewer = napari.Viewer(title="Refine with scribbles")
        self.viewer.window.resize(*MRI_WINDOW)
        data, kwargs, _ = layer_data(image)
        self.viewer.add_image(data, **{**kwargs, "name": "volume"})
        _, self.dock = self.viewer.window.add_plugin_dock_widget(PLUGIN, "Refine with scribbles")
        setup, proposer, refiner = self.dock.setup, bundled("demo_pnet_3d"), bundled("demo_rnet_3d")
        setup.picture.input.choose(self.viewer.layers["volume"])
        if proposer.exists() and refiner.exists():
            setup.origin.setCurrentText(PROPOSAL)
            setup.engine.setCurrentText(DEEPIGEOS)
            setup.pnet.refresh(proposer)
            setup.rnet.refresh(refiner)
        self.dock.run_bar.start()
        wait_for(lambda: self.dock.live is not None, 600)
        self.live = self.dock.live
        self.first = self.live.session.state.index

    def look(self, order: tuple[int, ...]) -> tuple[int, ...]:
        """Show the plane through the largest error of the mask and return the voxel in its middle."""
        place = self.live.session.biggest_disagreement(self.truth)
        middle: tuple[int, ...] = place.position if place is not None else tuple(n // 2 for n in SHAPE)
        show_plane(self.viewer, self.live.layers.image, next(name for name, own in PLANES.items() if own == order))
        self.viewer.camera.zoom *= ZOOM
        centre = self.viewer.camera.center
        self.live.guidance.look_at(middle)
        self.viewer.camera.center = centre
        self.live.layers.scribbles.brush_size = BRUSH  # it follows the zoom
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


def lesion(folder: Path) -> Any:
    """Mend a lesion in all three planes; return the scene, whose window stays open."""
    scene = Scene()
    for name, order in PLANES.items():
        before, after = scene.mend(order, folder / f"refine-{name}.png")
        print(f"{name}: Dice {before:.2f} before, {after:.2f} after the strokes")
    return scene


# ---- a movie of nerves
def movie(folder: Path, screenshots: bool) -> Any:
    """Run the bundled models on the demo's movie in a window; return it, standing in the middle of the nerve."""
    viewer = napari.Viewer(title="Nerve movie")
    viewer.window.resize(*WINDOW)
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Nerve movie")
    dock.open_movie(str(folder / "movie.mkv"))
    dock.classifier.refresh(bundled("demo_frame_classifier"))
    dock.segmenter.refresh(bundled("demo_double_unet"))
    dock.folder.value = folder / "movie-window"
    dock.form.value = dock.form.value.updated(resume=False)
    dock.run_bar.start()
    if screenshots and wait_for(lambda: len(dock.timeline.rows) > len(viewer.layers[0].data) // 2):
        picture(viewer, folder / "video-running.png")
    wait_for(lambda: dock.run_bar.current is None and dock.loader is None)
    found = dock.timeline.intervals.value
    if len(found):
        dock.timeline.seek(found[["start_s", "stop_s"]].mean(axis=1).iloc[0])
    viewer.reset_view()
    if screenshots:
        picture(viewer, folder / "video.png")
    return viewer


def main() -> None:
    """Show the demo."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", default="story")
    parser.add_argument("--screenshots", action="store_true")
    arguments = parser.parse_args()
    folder, screenshots, kind = arguments.folder, arguments.screenshots, arguments.kind
    scene = lesion(folder) if kind in ("story", "mri") else None
    viewers = [cells(folder, screenshots)] if kind in ("story", "afm") else []
    viewers += [movie(folder, screenshots)] if kind == "video" else []
    if not screenshots:
        napari.run()
        return
    if scene is not None:
        scene.live.finish()
        viewers.insert(0, scene.viewer)
    for viewer in viewers:
        viewer.close()


if __name__ == "__main__":
    main()
