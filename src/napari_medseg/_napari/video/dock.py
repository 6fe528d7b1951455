"""The Movie dock: a movie, two models, Run; the timeline below, the masks over the movie."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QCheckBox, QFileDialog

from napari_medseg._napari import PLUGIN
from napari_medseg._napari.docks.model_chooser import ModelChooser
from napari_medseg._napari.layers import DERIVED, image_from_layer, image_layers
from napari_medseg._napari.preferences import compute
from napari_medseg._napari.video.result import Found, OutlineEditor, add_masks, edit_job, load_job, video_job
from napari_medseg._napari.video.timeline import Timeline
from napari_medseg._napari.widgets.dock import Dock, FoldedSettings, path_in, show_device
from napari_medseg._napari.widgets.form import SettingsForm
from napari_medseg._napari.widgets.layer_chooser import LayerChooser
from napari_medseg._napari.widgets.named import folder_edit, push_button
from napari_medseg._napari.widgets.run_bar import RunBar
from napari_medseg._napari.worker import JobWorker
from napari_medseg._napari.world import to_world
from napari_medseg.errors import DataError
from napari_medseg.image import PIXEL, SECOND, Image, seconds_per
from napari_medseg.io.files import file_stem
from napari_medseg.jobs import Job, Progress
from napari_medseg.settings import as_flags
from napari_medseg.video.settings import VideoSettings

LIVE_MS = 100
NO_NAME = r"[^\w.-]+"  # what a folder's name should not hold
WITHOUT = (
    "Without a classifier every frame is taken to show nerve. Browse for one, or train one: dock Train, on frames "
    "sorted into a folder for each class."
)
RUN = "Judge every frame, outline the nerve where there is one"
KEPT = "Finished frames are kept; Run goes on from there."


class MovieChooser(LayerChooser):
    """Choose among the layers that are movies."""

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer, movie_layers, sample="video", sizes=True)

    def _chosen(self, index: int = 0) -> None:
        super()._chosen(index)
        if self.layer is not None:
            frames, height, width = self.layer.data.shape[:3]
            step = float(self.layer.scale[0])
            rate = f"{1 / step:.4g} frames/s, {frames * step:.1f} s" if _timed(self.layer) else "frame rate not known"
            self.line.setText(f"{frames} frames of {width}x{height} pixels, {rate}")


class PausableBar(RunBar):
    """A run bar with Pause / Resume; emits `ended` when nothing runs any more and all files are closed."""

    ended = Signal()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.pause_button = push_button("Pause", "Hold after the frame under way; press again to go on")
        self.pause_button.setEnabled(False)
        self.pause_button.clicked.connect(self.toggle)
        self.layout().itemAt(0).layout().insertWidget(1, self.pause_button)
        self.setTabOrder(self.run_button, self.pause_button)
        self.setTabOrder(self.pause_button, self.stop_button)
        self.layout().setContentsMargins(9, 4, 9, 6)

    def begin(self, job: Job[Any], done: Callable[[Any], None]) -> None:
        """Run a job, which can be paused."""
        super().begin(job, done)
        if self.current is not None:
            self.current.worker.paused.connect(lambda: self._show("Resume", "Paused; what was finished is kept."))
            self.current.worker.resumed.connect(lambda: self._show("Pause", "Going on ..."))
            self.pause_button.setEnabled(True)

    def toggle(self) -> None:
        """Pause after this frame, or go on."""
        if self.current is not None:
            self.pause_button.setEnabled(False)
            self.current.worker.toggle_pause()

    def _show(self, button: str, message: str) -> None:
        self.pause_button.setText(button)
        self.pause_button.setEnabled(True)
        self.say(message)

    def _end(self) -> None:
        super()._end()
        self.pause_button.setText("Pause")
        self.pause_button.setEnabled(False)
        self.ended.emit()


class LivePicture:
    """The frame being computed, painted, over its movie; drawn at most ten times a second, removed at the end."""

    def __init__(self, viewer: Any) -> None:
        self.viewer, self.layer, self.movie = viewer, None, None
        self.latest: tuple[int, Any] | None = None
        self.moved = False  # the picture, in the last run
        self.timer = QTimer()
        self.timer.setSingleShot(True)
        self.timer.timeout.connect(self.draw)

    def open(self, movie: Any) -> None:
        """Begin with a movie layer."""
        self.close()
        self.movie, self.moved = movie, False

    def show(self, progress: Progress) -> None:
        """Take a frame's overlay; the picture follows a little later."""
        if progress.preview is not None and self.movie is not None:
            self.latest = int(progress.metrics["frame"]), progress.preview.data
            if not self.timer.isActive():
                self.timer.start(LIVE_MS)

    def draw(self) -> None:
        """Show the latest overlay and go to its frame."""
        if self.latest is None or self.movie not in self.viewer.layers:
            return
        number, picture = self.latest
        if self.layer is None or self.layer not in self.viewer.layers:
            place = {name: getattr(self.movie, name)[1:] for name in ("scale", "units", "axis_labels")}
            kept = {"rgb": True, "metadata": dict(DERIVED)}
            self.layer = self.viewer.add_image(picture, name="running", **place, **kept)
        else:
            self.layer.data = picture
        dims = self.viewer.dims
        dims.set_point(dims.ndim - self.movie.ndim, to_world(self.viewer, self.movie, (number, 0, 0))[0])
        self.moved = True

    def close(self) -> None:
        """Remove the picture."""
        self.timer.stop()
        if self.layer is not None and self.layer in self.viewer.layers:
            self.viewer.layers.remove(self.layer)
        self.layer = self.latest = None


def movie_layers(viewer: Any) -> list[Any]:
    """Return the layers with a time axis, and colour stacks."""
    return [
        layer
        for layer in image_layers(viewer)
        if layer.ndim == 3 and (layer.rgb or layer.metadata.get("medseg_image", {}).get("axes", "").startswith("T"))
    ]


def movie_of(layer: Any) -> Path | Image:
    """Return the file of a movie layer (it knows its frame times), or the layer's own frames."""
    image = image_from_layer(layer)
    path = Path(image.metadata["source_file"] or "/missing")
    if path.exists():
        return path
    units = (SECOND if image.units[0] == SECOND else PIXEL, PIXEL, PIXEL)
    return image.replace(axes="T" + image.axes[1:], scale=(image.scale[0], 1.0, 1.0), units=units, affine=None)


def result_folder(layer: Any) -> Path:
    """Return where results of a movie go unless another folder is chosen: beside its file, else in the home folder."""
    source = movie_of(layer)
    there = source.parent if isinstance(source, Path) and os.access(source.parent, os.W_OK) else Path.home()
    name = file_stem(source) if isinstance(source, Path) else layer.name
    return there / f"{re.sub(NO_NAME, '_', name)}_nerve"


def _timed(layer: Any) -> bool:
    return seconds_per(layer.units[0]) is not None


class VideoDock(Dock):
    """Find the frames of a movie that show nerve, and outline it."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self.movie = MovieChooser(napari_viewer)
        self.classifier = ModelChooser("classify", none="none: every frame is segmented", without=WITHOUT)
        self.segmenter = ModelChooser("segment", movies=True)
        self.folder = folder_edit("Result folder", "Where tables, masks and the overlaid movie go")
        preferred = {name: value for name, value in compute().items() if name in ("device", "precision")}
        self.form = SettingsForm(VideoSettings().updated(**preferred))
        self.run_bar = PausableBar(self.make_job, lambda _: None, self.show_progress, kept=KEPT, tip=RUN)
        self.timeline, self.loader, self.shown = Timeline(napari_viewer), None, None
        self.live, self.follow = LivePicture(napari_viewer), QCheckBox("Show frames as they are computed", checked=True)
        self.outlines, self.editing = OutlineEditor(napari_viewer), False
        self.proposed: Path | None = None  # result folder
        self.outlines.changed.connect(lambda: self.timeline.intervals.show_state(changed=True, edited=True))
        self.timeline.intervals.applied.connect(lambda: self.edit(True))
        self.timeline.intervals.reset.connect(lambda: self.edit(False))
        self.follow.setToolTip("Follow the run in the picture; off, it stays where it is")
        opening = push_button("Open movie ...", "Open a movie file or a stack")
        earlier = push_button("Show an earlier result ...", "Read a result folder over the chosen movie")
        opening.clicked.connect(lambda: self.open_movie())
        earlier.clicked.connect(lambda: self.open_result())
        self.section("Movie", self.movie, opening)
        self.section("Classifier (which frames show nerve)", self.classifier)
        self.section("Segmenter (where the nerve is)", self.segmenter, FoldedSettings(self.form, self.command))
        self.section("Result folder", self.folder.native, earlier, self.follow, self.outlines)
        show_device(self.run_bar, self.form, here=True)
        self.layout().addWidget(self.run_bar)  # below the scrolling part: Pause and Stop stay in reach
        for changed in (self.movie.changed, self.classifier.changed, self.segmenter.changed, self.folder.changed):
            changed.connect(lambda *_: self.update_reason())
        self.movie.changed.connect(self.update_state)
        self.run_bar.ended.connect(self.finish)
        self.update_state()

    def update_state(self) -> None:
        """Judge the models against the movie."""
        layer = self.movie.layer
        for chooser in (self.classifier, self.segmenter):
            chooser.set_image(image_from_layer(layer) if layer is not None else None)
        if layer is not None and path_in(self.folder) in (None, self.proposed):
            self.proposed = self.folder.value = result_folder(layer)

    def update_reason(self) -> None:
        """Enable Run, or say what is missing."""
        reason = "Open a movie first." if self.movie.layer is None else ""
        folder = "" if path_in(self.folder) else "Choose a folder for the result."
        self.run_bar.set_reason(reason or self.classifier.reason or self.segmenter.reason or folder)

    def open_movie(self, path: str = "") -> None:
        """Open a movie file."""
        path = path or QFileDialog.getOpenFileName(self, "Open movie")[0]
        if path:
            self.viewer.open(path, plugin=PLUGIN)

    def command(self) -> str:
        """Return the ``medseg video`` line that does the same."""
        source = movie_of(self.movie.layer) if self.movie.layer is not None else None
        words = ["medseg", "video", str(source) if isinstance(source, Path) else "MOVIE"]
        words += ["-o", str(path_in(self.folder) or "OUT")]
        words += ["--classifier", str(self.classifier.entry.path)] if self.classifier.entry else []
        words += ["--segmenter", str(self.segmenter.entry.path if self.segmenter.entry else "S.pt")]
        return shlex.join([*words, *as_flags(self.form.value)])

    def make_job(self) -> Job[Any]:
        """Return the job for the chosen movie."""
        folder, segmenter, settings = path_in(self.folder), self.segmenter.entry, self.form.value
        if folder is None or segmenter is None:
            raise DataError("Choose a segmenter and a result folder first.")
        classifier, self.out = self.classifier.entry, folder
        self.shown, self.probability = self.movie.layer, f"p_{settings.nerve_class.split()[0].lower()}"
        self.timeline.clear()
        self.outlines.show_result(None, None)
        self.timeline.open(self.shown.name)
        self.live.open(self.shown)
        movie = movie_of(self.shown)
        return video_job(movie, classifier.path if classifier else None, segmenter.path, folder, settings)

    def show_progress(self, progress: Progress) -> None:
        """Draw the frame's numbers."""
        if self.editing:
            return
        self.timeline.add(progress.metrics, self.probability)
        if self.follow.isChecked():
            self.live.show(progress)

    def finish(self) -> None:
        """Show what a finished or stopped run wrote."""
        self.live.close()
        if self.editing:
            self.editing, self.run_bar.kept = False, KEPT
        elif not self.run_bar.failed:
            self.load(self.out)

    def open_result(self, folder: str = "") -> None:
        """Show the folder of an earlier run over the chosen movie."""
        folder = folder or QFileDialog.getExistingDirectory(self, "Result folder")
        if folder and self.movie.layer is not None:
            self.shown = self.movie.layer
            self.load(Path(folder))

    def load(self, folder: Path) -> None:
        """Read a result folder in the background."""
        self._start(load_job(folder))

    def edit(self, keep: bool) -> None:
        """Make table, masks and overlay anew by what was corrected, or go back to what the run found."""
        edited = self.timeline.intervals
        if self.run_bar.current is not None or self.shown is None:
            self.run_bar.say("Wait until the run has ended, then apply.")
            return
        self.outlines.button.setChecked(False)
        bounds = edited.value[["start_s", "stop_s"]].to_numpy().tolist() if keep else None
        entry = self.segmenter.entry if keep else None
        self.editing, self.run_bar.kept = True, "What was corrected is kept; press Apply to result again."
        job = edit_job(movie_of(self.shown), edited.folder, bounds, None if entry is None else entry.path)
        self.run_bar.begin(job, self.show_found)

    def _start(self, job: Job[Found]) -> None:
        self.loader = JobWorker(
            job,
            on_progress=lambda _: None,
            on_result=self.show_found,
            on_error=lambda error: self.run_bar.say(str(error)),
            on_end=lambda: setattr(self, "loader", None),
            owner=self,
        )

    def show_found(self, found: Found) -> None:
        """Show timeline, intervals and masks of a result."""
        self.timeline.show_table(found.frames, f"p_{found.nerve_class.split()[0].lower()}")
        bounds = [(row["start_s"], row["stop_s"]) for row in found.numbers.get("nerve_intervals", [])]
        self.timeline.intervals.set(bounds, found.folder, "edited" in found.summary)
        masks = add_masks(self.viewer, self.shown, found) if found.masks is not None else None
        self.outlines.show_result(found, self.shown)
        self.timeline.open(self.shown.name)
        if bounds and self.live.moved:  # the run left the picture at its last frame
            self.live.moved = False
            self.timeline.seek(bounds[0][0])
        self.run_bar.say(found.message)
        if masks is not None:
            self.run_bar.offer("Measure", lambda: self.measure_next(masks))
