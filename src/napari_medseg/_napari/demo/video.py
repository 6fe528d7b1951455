"""The movie of the demo in the Nerve video dock: run live, then stand on a frame with nerve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import napari

from napari_medseg._napari.demo.window import PLUGIN, WINDOW, picture, wait_for
from napari_medseg.models.checkpoint import bundled


def show(folder: Path, screenshots: bool) -> Any:
    """Run the bundled models on the demo's movie in a window; return it, standing in the middle of the nerve."""
    viewer = napari.Viewer(title="Nerve video")
    viewer.window.resize(*WINDOW)
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Nerve video")
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
