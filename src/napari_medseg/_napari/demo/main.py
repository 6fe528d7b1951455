"""Open napari on a demo's results: ``python -m napari_medseg._napari.demo.main FOLDER [--kind K] [--screenshots]``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import napari

from napari_medseg._napari.demo.window import PLUGIN, WINDOW, picture, wait_for
from napari_medseg._napari.docks.model_chooser import ModelChooser
from napari_medseg._napari.layers import layer_data
from napari_medseg._napari.readers import read_layers
from napari_medseg.samples.afm import afm_scan
from napari_medseg.samples.demo import SCAN_SEED, SCAN_SIZE


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


def lesion(folder: Path) -> Any:
    """Mend a lesion in all three planes; return the scene, whose window stays open."""
    from napari_medseg._napari.demo.refine import PLANES, Scene

    scene = Scene()
    for name, order in PLANES.items():
        before, after = scene.mend(order, folder / f"refine-{name}.png")
        print(f"{name}: Dice {before:.2f} before, {after:.2f} after the strokes")
    return scene


def main() -> None:
    """Show the demo."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", default="story")
    parser.add_argument("--screenshots", action="store_true")
    arguments = parser.parse_args()
    from napari_medseg._napari.demo import video as demo_video

    folder, screenshots, kind = arguments.folder, arguments.screenshots, arguments.kind
    scene = lesion(folder) if kind in ("story", "mri") else None
    viewers = [cells(folder, screenshots)] if kind in ("story", "afm") else []
    viewers += [demo_video.show(folder, screenshots)] if kind == "video" else []
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
