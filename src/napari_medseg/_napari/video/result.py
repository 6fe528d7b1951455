"""What a run over a movie makes: the job, its result folder read back, the masks as a layer over the movie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.notifications import show_info
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from napari_medseg import __version__
from napari_medseg._napari.layers import DERIVED, like
from napari_medseg._napari.widgets.listening import listen
from napari_medseg._napari.world import to_data
from napari_medseg.errors import MedSegError
from napari_medseg.image import Image
from napari_medseg.io.movies.reader import read_movie
from napari_medseg.jobs import Job, Progress
from napari_medseg.models.catalog import load_model
from napari_medseg.video import VideoResult, segment_video
from napari_medseg.video.edits import (
    EDITED,
    discard_edits,
    frame_names,
    keep_outline,
    outline_path,
    read_mask,
    read_run,
    read_table,
)
from napari_medseg.video.render import apply_edits
from napari_medseg.video.settings import COLOURS, VideoSettings


@dataclass(frozen=True)
class Found:
    """What a result folder holds, by the corrected intervals where there are some.

    `masks` are read frame by frame when they are looked at; frames outside the corrected intervals have none.
    """

    folder: Path
    frames: pd.DataFrame
    summary: dict[str, Any]
    masks: Image | None

    @property
    def nerve_class(self) -> str:
        """Name of the class whose frames are segmented."""
        return str(self.summary["run"]["settings"]["nerve_class"])

    @property
    def numbers(self) -> dict[str, Any]:
        """The movie's numbers: by the corrected intervals, else by the run."""
        return {**self.summary, **self.summary.get("edited", {})}

    @property
    def message(self) -> str:
        """What was found, in a line."""
        done = "" if self.summary.get("finished") else "Not finished: Run goes on from here. "
        numbers, n = self.numbers, len(self.frames)
        intervals = len(numbers.get("nerve_intervals", []))
        text = f"Nerve in {numbers.get('nerve_frames', 0)} of {n} frames, {intervals} interval{'s' * (intervals != 1)}"
        if "edited" in self.summary:
            text += f", {numbers['frames_changed']} frames changed by hand"
        if numbers.get("nerve_frames_without_mask"):
            text += f" ({numbers['nerve_frames_without_mask']} of them without a mask)"
        return f"{done}{text}; files in {self.folder}"


def video_job(
    movie: Path | Image, classifier: Path | None, segmenter: Path, folder: Path, settings: VideoSettings
) -> Job[VideoResult]:
    """Load the models and segment the movie."""
    yield Progress(0, 0, "loading the models")
    first = None if classifier is None else load_model(classifier)
    return (yield from segment_video(movie, first, load_model(segmenter), folder, settings))


def load_job(folder: Path) -> Job[Found]:
    """Read the result folder of a finished or stopped run."""
    yield Progress(0, 1, f"reading {folder}")
    frames, summary = read_run(folder)
    edited = folder / EDITED
    if edited.is_file() and "edited" in summary:
        frames = read_table(edited)
    masks = None
    if len(frames) and any((folder / "masks").glob("*.png")):
        image = read_movie(folder / "masks")
        masks = image.replace(
            data=image.data.mapped(_corrected(folder, frames, summary), "uint8", len(frames)), kind="labels"
        )
    return Found(folder, frames, summary, masks)


def _corrected(folder: Path, frames: pd.DataFrame, summary: dict[str, Any]) -> Callable[[int, Any], Any]:
    """Return what makes of a frame's mask the corrected one: drawn anew, or none where the frame is no longer nerve."""
    nerve = (frames["label"].str.lower() == str(summary["run"]["settings"]["nerve_class"]).lower()).to_numpy()
    off = frames["edited"].to_numpy() & ~nerve if "edited" in frames else ~nerve & False
    own = {k: path for k, name in enumerate(frame_names(frames)) if (path := outline_path(folder, name)).is_file()}

    def corrected(k: int, mask: Any) -> Any:
        return (read_mask(own[k]) if k in own else mask > 0) & (not off[k])

    return corrected


def edit_job(
    movie: Path | Image, folder: Path, intervals: list[tuple[float, float]] | None, segmenter: Path | None = None
) -> Job[Found]:
    """Apply corrected intervals and outlines to a result (``None``: forget the corrections) and read it again."""
    if intervals is None:
        discard_edits(folder)
    else:
        yield Progress(0, 0, "loading the model")
        yield from apply_edits(movie, folder, intervals, None if segmenter is None else load_model(segmenter))
    return (yield from load_job(folder))


class OutlineEditor(QWidget):
    """Corrects the outline of the frame in view by painting; `changed` when one was kept."""

    changed = Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer, self.found, self.movie, self.layer, self.position = viewer, None, None, None, -1
        self.button, self.line = QPushButton("Correct outlines"), QLabel("")
        self.button.setCheckable(True)
        self.button.setToolTip("Paint and erase on the frame in view; going to another frame keeps what was painted")
        self.button.toggled.connect(self.toggle)
        self.line.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.button)
        layout.addWidget(self.line)
        listen(viewer.dims.events.current_step, self._moved)
        self.show_result(None, None)

    def show_result(self, found: Found | None, movie: Any) -> None:
        """Take a result over its movie; without masks there is nothing to correct."""
        self.button.setChecked(False)
        self.found, self.movie = found, movie
        self.button.setEnabled(found is not None and found.masks is not None)

    def toggle(self, on: bool) -> None:
        """Begin with the frame in view, or keep what was painted and end."""
        for one in self._masks():
            one.visible = not on
        if on:
            self._load(self._here())
            return
        self._keep()
        if self.layer is not None and self.layer in self.viewer.layers:
            self.viewer.layers.remove(self.layer)
        self.layer, self.position = None, -1
        self.line.setText("")

    def _masks(self) -> list[Any]:
        folder = "" if self.found is None else str(self.found.folder)
        return [x for x in self.viewer.layers if folder and x.metadata.get("medseg", {}).get("folder") == folder]

    def _here(self) -> int:
        """Return the position in the table of the frame in view."""
        number = round(to_data(self.viewer, self.movie, self.viewer.dims.point)[0])
        return max(0, int((self.found.frames["frame"] <= number).sum()) - 1)

    def _moved(self, event: Any = None) -> None:
        if self.layer is not None and self.movie in self.viewer.layers and self._here() != self.position:
            self._keep()
            self._load(self._here())

    def _load(self, position: int) -> None:
        self.position = position
        self.before = np.array(self.found.masks.data[position], np.uint8)
        if self.layer is None or self.layer not in self.viewer.layers:
            place = {name: getattr(self.movie, name)[1:] for name in ("scale", "units", "axis_labels")}
            kept = {"opacity": 0.5, "metadata": dict(DERIVED)}
            self.layer = self.viewer.add_labels(self.before.copy(), name="outline", **place, **kept)
            self.layer.brush_size = max(3, min(self.before.shape) // 60)
            self.layer.mode = "paint"
        else:
            self.layer.data = self.before.copy()
        self.viewer.layers.selection.active = self.layer
        nerve = str(self.found.frames["label"].iloc[position]).lower() == self.found.nerve_class.lower()
        outside = "" if nerve else " It is outside of the intervals: add one, or the outline does not count."
        self.line.setText(f"Frame {self.found.frames['frame'].iloc[position]}: paint nerve, erase the rest.{outside}")

    def _keep(self) -> None:
        if self.layer is None or self.found is None or np.array_equal(self.layer.data, self.before):
            return
        try:
            keep_outline(self.found.folder, frame_names(self.found.frames)[self.position], self.layer.data)
            self.changed.emit()
        except MedSegError as error:
            show_info(str(error))


def add_masks(viewer: Any, movie: Any, found: Found) -> Any:
    """Show the masks over the movie and return their layer; one of the same result folder takes the new ones."""
    folder, run, numbers = str(found.folder), found.summary["run"], found.frames["frame"]
    for layer in viewer.layers:
        if layer.metadata.get("medseg", {}).get("folder") == folder:
            layer.data = found.masks.data
            return layer
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    provenance = {
        "method": run["segmenter"]["method"],
        "checkpoint_sha256": run["segmenter"]["sha256"],
        "classifier": run["classifier"],
        "settings": run["settings"],
        "version": __version__,
        "device": found.summary.get("device", ""),
        "source_layer": movie.name,
        "source_file": run["source"],
        "folder": folder,
    }
    placed = {**like(movie), "scale": (movie.scale[0] * step, *movie.scale[1:])}
    placed["metadata"] = {"medseg_image": {"axes": "TYX"}, "medseg": provenance}
    layer = viewer.add_labels(found.masks.data, name=f"{movie.name} · nerve", opacity=0.5, **placed)
    colour = tuple(value / 255 for value in COLOURS[run["settings"]["colour"]])
    layer.colormap = DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: (*colour, 1.0)})
    layer.editable = False
    return layer
