"""Make every picture of the documentation: ``python scripts/make_pictures.py [NAME ...]``.

Each function of `PICTURES` drives the real window on generated data and saves what it shows in ``docs/images``. Without
a display the script runs itself under Xvfb.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

OUT = Path(__file__).parents[1] / "docs" / "images"
WINDOW = (1280, 800)
COLOURS = 256
FILM_WINDOW, FILM_WIDTH, FILM_DOCK = (1000, 640), 640, 390
FILM_SEED, FILM_SIZE, FILM_STROKES, FILM_REACH = 32, (224, 224), 3, 14
SCREEN = "-screen 0 1400x1000x24"


# ---- the window
@contextmanager
def window(size: tuple[int, int] = WINDOW) -> Iterator[Any]:
    """Open a viewer and close it."""
    import napari

    viewer = napari.Viewer(title="napari")
    viewer.window.resize(*size)
    yield viewer
    viewer.close()


def dock(viewer: Any, name: str, **options: Any) -> Any:
    """Open a dock of the plugin and return its widget."""
    from napari_medseg._napari.demo import PLUGIN

    return viewer.window.add_plugin_dock_widget(PLUGIN, name, **options)[1]


def find(viewer: Any, kind: str) -> Any:
    """Return the open dock of a class."""
    from napari_medseg._napari.widgets.dock import Dock

    return next(w for w in viewer.window._qt_window.findChildren(Dock) if type(w).__name__ == kind)


def wait(condition: Callable[[], bool], seconds: float = 600) -> None:
    """Let the window work until `condition` holds; raises `TimeoutError`."""
    from napari_medseg._napari.demo import wait_for

    if not wait_for(condition, seconds):
        raise TimeoutError("the window did not come to an end")


def finish(bar: Any) -> None:
    """Press Run and wait for the end."""
    bar.start()
    wait(lambda: bar.current is None)
    if bar.failed:
        raise RuntimeError(bar.message.text())


def settle(seconds: float = 0.6) -> None:
    """Let the window draw."""
    from napari_medseg._napari.demo import wait_for

    wait_for(lambda: False, seconds)


def scroll(widget: Any, share: float = 1.0) -> None:
    """Scroll a dock, 0 to its top, 1 to its bottom."""
    from qtpy.QtWidgets import QScrollArea

    settle(0.2)
    bar = widget.findChild(QScrollArea).verticalScrollBar()
    bar.setValue(round(share * bar.maximum()))


def begin_with(widget: Any, part: Any) -> None:
    """Scroll a dock until `part` of it is at its top."""
    from qtpy.QtCore import QPoint

    settle(0.2)
    widget.area.verticalScrollBar().setValue(part.mapTo(widget.area.widget(), QPoint(0, 0)).y())


def shoot(viewer: Any, name: str) -> None:
    """Save the whole window with 256 colours."""
    settle()
    save(Picture.fromarray(viewer.screenshot(canvas_only=False, flash=False)), name)


def save(picture: Picture.Image, name: str) -> None:
    """Save a picture as ``NAME.png`` with 256 colours."""
    OUT.mkdir(parents=True, exist_ok=True)
    small = picture.convert("RGB").quantize(COLOURS, dither=Picture.Dither.NONE)
    small.save(OUT / f"{name}.png", optimize=True)
    print(f"{name}.png {(OUT / f'{name}.png').stat().st_size / 1000:.0f} kB", flush=True)


# ---- the pictures
def menu(work: Path) -> None:
    """Show where the plugin is in napari's menus: menu.png."""
    from qtpy.QtCore import QPoint

    with window((900, 520)) as viewer:
        main = viewer.window._qt_window
        plugins = viewer.window.plugins_menu
        action = next(a for a in plugins.actions() if "Medical" in a.text())
        for other in plugins.actions():
            other.setVisible(other is action)
        settle()
        bar = main.menuBar()
        corner = bar.mapTo(main, bar.actionGeometry(plugins.menuAction()).bottomLeft())
        sheet = grab(main)
        plugins.popup(main.mapToGlobal(corner))
        plugins.setActiveAction(action)
        settle(0.2)
        sheet.paste(grab(plugins), (corner.x(), corner.y()))
        below = action.menu()
        place = corner + QPoint(plugins.width() - 2, plugins.actionGeometry(action).top())
        below.popup(main.mapToGlobal(place))
        settle(0.2)
        sheet.paste(grab(below), (place.x(), place.y()))
        below.hide()
        plugins.hide()
        save(sheet, "menu")


def grab(widget: Any) -> Picture.Image:
    """Return what a widget shows."""
    from qtpy.QtGui import QImage

    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)  # blue, green, red, unused
    data = np.frombuffer(image.constBits().asstring(image.sizeInBytes()), np.uint8)
    pixels = data.reshape(image.height(), image.bytesPerLine() // 4, 4)[:, : image.width(), 2::-1]
    return Picture.fromarray(np.ascontiguousarray(pixels))


def trained(work: Path) -> Path:
    """Return the folder of the demo, which trains a small net on generated scans; made once."""
    from napari_medseg.jobs import run
    from napari_medseg.samples.demo import demo

    if not (work / "demo" / "measurements.csv").exists():
        run(demo(work / "demo"))
    return work / "demo"


def afm(work: Path) -> None:
    """Segment and measure a scan: segment.png, measure.png."""
    from napari_medseg._napari.demo import show_afm

    with window() as viewer:
        segment = show_afm(viewer, trained(work))
        measure = find(viewer, "MeasureDock")
        begin_with(measure, measure.summary)
        shoot(viewer, "measure")
        segment.parentWidget().raise_()
        shoot(viewer, "segment")


def train(work: Path) -> None:
    """Train on generated scans: train.png."""
    from napari_medseg._napari.demo import PLUGIN, show_train

    with window() as viewer:
        viewer.open_sample(PLUGIN, "afm")
        show_train(viewer, trained(work))
        viewer.reset_view()
        scroll(find(viewer, "TrainDock"))
        shoot(viewer, "train")


def evaluate(work: Path) -> None:
    """Compare a result with its reference: evaluate.png."""
    from napari_medseg._napari.demo import show_afm, show_evaluate

    with window() as viewer:
        show_afm(viewer, trained(work))
        scroll(show_evaluate(viewer))
        shoot(viewer, "evaluate")


def batch(work: Path) -> None:
    """Segment a folder and review it: batch.png."""
    with window() as viewer:
        folder = dock(viewer, "Batch")
        folder.folder.value, folder.out.value = trained(work) / "afm" / "images", work / "results"
        folder.models.add(work / "demo" / "run" / "best.pt")
        finish(folder.run_bar)
        folder.start_review()
        wait(lambda: folder.review.worker is None)
        scroll(folder)
        shoot(viewer, "batch")


def nerves(work: Path) -> None:
    """Show nerves as editable paths beside their table: nerves.png."""
    from napari_medseg._napari.demo import PLUGIN

    with window() as viewer:
        viewer.open_sample(PLUGIN, "ccm")
        measure = dock(viewer, "Measure")
        measure.kind.setCurrentIndex(measure.kind.findData("nerve"))
        measure.paths.show_button.click()
        wait(lambda: len(measure.table.frame) > 0 and measure.paths.worker is None)
        measure.labels.layer.opacity = 0.15
        viewer.reset_view()
        begin_with(measure, measure.paths)
        shoot(viewer, "nerves")


def histology(work: Path) -> None:
    """Find nuclei with the bundled model; prepare a training folder: histology.png, prepare.png."""
    from napari_medseg._napari.demo import PLUGIN
    from napari_medseg.models.checkpoint import bundled

    with window() as viewer:
        viewer.open_sample(PLUGIN, "histology")
        tissue, truth = viewer.layers
        truth.visible = False
        segment = dock(viewer, "Segment")
        segment.input.choose(tissue)
        segment.models.refresh(bundled("nuclei_dsb2018"))
        finish(segment.run_bar)
        measure = dock(viewer, "Measure", tabify=True)
        measure.labels.choose(viewer.layers[-1])
        measure.image.choose(tissue)
        finish(measure.run_bar)
        viewer.reset_view()
        begin_with(measure, measure.summary)
        shoot(viewer, "histology")
    with window() as viewer:
        viewer.open_sample(PLUGIN, "histology")
        prepare = dock(viewer, "Prepare training data")
        prepare.make_sample(str(work / "raw"))
        prepare.destination.value = work / "prepared"
        finish(prepare.check_bar)
        finish(prepare.run_bar)
        viewer.reset_view()
        shoot(viewer, "prepare")


def video(work: Path) -> None:
    """Find the nerve in a generated film: video.png."""
    from napari_medseg._napari.demo import PLUGIN
    from napari_medseg.models.checkpoint import bundled

    with window() as viewer:
        viewer.open_sample(PLUGIN, "video")
        viewer.layers[-1].visible = False
        movie = dock(viewer, "Nerve movie")
        movie.classifier.refresh(bundled("demo_frame_classifier"))
        movie.segmenter.refresh(bundled("demo_double_unet"))
        movie.folder.value = work / "video"
        finish(movie.run_bar)
        wait(lambda: movie.loader is None and len(movie.timeline.rows) > 0)
        nerve = [row["frame"] for row in movie.timeline.rows if row["probability"] > 0.5]
        movie.timeline.show_frame(int(nerve[len(nerve) // 2]))
        viewer.reset_view()
        shoot(viewer, "video")


def refine(work: Path) -> None:
    """Show scribbles before and after in three planes: refine-axial.png and the others."""
    from napari_medseg._napari.demo import refine_pictures

    for name, (before, after) in refine_pictures(work / "refine").items():
        print(f"{name}: Dice {before:.2f} before, {after:.2f} after the strokes")
        save(Picture.open(work / "refine" / f"refine-{name}.png"), f"refine-{name}")


# ---- the film of scribbling
class Film:
    """Frames of the window, and how long each is shown."""

    def __init__(self, viewer: Any, width: int) -> None:
        self.viewer, self.width = viewer, width
        self.frames: list[Picture.Image] = []
        self.times: list[int] = []

    def add(self, milliseconds: int) -> None:
        """Take a frame."""
        settle(0.05)
        whole = Picture.fromarray(self.viewer.screenshot(canvas_only=False, flash=False)).convert("RGB")
        height = round(whole.height * self.width / whole.width)
        self.frames.append(whole.resize((self.width, height), Picture.Resampling.LANCZOS))
        self.times.append(milliseconds)

    def save(self, name: str) -> None:
        """Save the frames as ``NAME.gif`` under one palette."""
        few = self.frames[:: max(1, len(self.frames) // 4)]
        together = np.concatenate([np.asarray(frame) for frame in (*few, self.frames[-1])])
        palette = Picture.fromarray(together).quantize(256, kmeans=2, dither=Picture.Dither.NONE)
        first, *rest = [f.quantize(palette=palette, dither=Picture.Dither.NONE) for f in self.frames]
        path = OUT / f"{name}.gif"
        first.save(path, save_all=True, append_images=rest, duration=self.times, loop=0, optimize=True)
        print(f"{name}.gif {path.stat().st_size / 1000:.0f} kB, {len(self.frames)} frames", flush=True)


def scribbling(work: Path) -> None:
    """Scribble on a generated slice: scribbling.gif."""
    from napari_medseg._napari.layers import layer_data
    from napari_medseg._napari.refine import saves as refine_saves
    from napari_medseg.samples.mri import slice_2d

    refine_saves.SESSIONS = work / "sessions"
    with window(FILM_WINDOW) as viewer:
        image, truth = slice_2d(FILM_SEED, FILM_SIZE)
        data, kwargs, _ = layer_data(image)
        brightest = 1.3 * float(data.max())  # so that the mask shows on the bright lesion
        viewer.add_image(data, **{**kwargs, "name": "slice", "contrast_limits": (0, brightest)})
        for part in (viewer.window._qt_viewer.dockLayerList, viewer.window._qt_viewer.dockLayerControls):
            part.hide()
        refine = dock(viewer, "Refine with scribbles")
        refine.setFixedWidth(FILM_DOCK)
        refine.run_bar.start()
        wait(lambda: refine.live is not None)
        viewer.reset_view()
        refine.live.layers.scribbles.brush_size = 3  # it follows the zoom
        settle()
        film = Film(viewer, FILM_WIDTH)
        film.add(900)
        for _ in range(FILM_STROKES):
            scribble(film, refine.live, np.asarray(truth.data))
            film.add(1300)
        film.times[-1] = 3000
        refine.live.finish()
        film.save("scribbling")


def scribble(film: Film, live: Any, truth: np.ndarray) -> None:
    """Paint a stroke where the mask is most wrong, a few pixels per frame, and wait for the new mask."""
    from napari_medseg.refinement.guidance import disagreement

    mask = np.asarray(live.layers.mask.data)
    place = disagreement(mask, truth.astype(mask.dtype))
    if place is None:
        return
    wrong, (row, column) = (mask > 0) != (truth > 0), place.position
    line = [(row + round(0.4 * step), column + step) for step in range(-FILM_REACH, FILM_REACH + 1)]
    inside = [p for p in line if all(0 <= x < n for x, n in zip(p, mask.shape, strict=True)) and wrong[p]]
    layer, before = live.layers.scribbles, live.session.state.index
    live.layers.paint_with(2 if place.why == "missing" else 1)
    with layer.block_history():
        for step, position in enumerate(inside):
            layer.paint(position, layer.selected_label)
            if step % 3 == 2:
                film.add(70)
    wait(lambda: live.steps.idle and live.session.state.index > before)


PICTURES: dict[str, Callable[[Path], None]] = {
    function.__name__: function
    for function in (menu, afm, train, evaluate, batch, nerves, histology, video, refine, scribbling)
}


def main() -> int:
    """Make the pictures asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*PICTURES, []], metavar="NAME", help=", ".join(PICTURES))
    parser.add_argument("--work", type=Path, help="folder to work in and to keep, seen in some pictures; default: none")
    arguments = parser.parse_args()
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.execvp("xvfb-run", ["xvfb-run", "-a", "-s", SCREEN, sys.executable, *sys.argv])
    work = arguments.work or Path(tempfile.mkdtemp(prefix="study-"))
    work.mkdir(parents=True, exist_ok=True)
    os.environ["HOME"] = str(work)  # no models, sessions or settings of the person who runs this
    for name in arguments.names or PICTURES:
        PICTURES[name](work)
    if arguments.work is None:
        shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
