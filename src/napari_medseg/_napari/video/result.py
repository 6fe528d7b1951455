"""What a run over a movie makes: the job, its result folder read back, the masks as a layer over the movie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from napari.utils.colormaps import DirectLabelColormap

from napari_medseg import __version__
from napari_medseg._napari.layers import like
from napari_medseg.image import Image
from napari_medseg.io.movies.reader import read_movie
from napari_medseg.jobs import Job, Progress
from napari_medseg.models.catalog import load_model
from napari_medseg.video import VideoResult, segment_video
from napari_medseg.video.edits import EDITED, discard_edits, read_run, read_table, save_edits
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
        off = frames["edited"] & (frames["mask_area_px"] == 0) if "edited" in frames else None
        hidden = set() if off is None else set(off.to_numpy().nonzero()[0].tolist())
        data = image.data.mapped(lambda k, mask: (mask > 0) & (k not in hidden), "uint8", len(frames))
        masks = image.replace(data=data, kind="labels")
    return Found(folder, frames, summary, masks)


def edit_job(folder: Path, intervals: list[tuple[float, float]] | None) -> Job[Found]:
    """Apply corrected intervals to a result (``None``: forget the corrections) and read it again."""
    if intervals is None:
        discard_edits(folder)
    else:
        save_edits(folder, intervals)
    return (yield from load_job(folder))


def add_masks(viewer: Any, movie: Any, found: Found) -> None:
    """Show the masks over the movie; a layer of the same result folder takes the new ones."""
    folder, run, numbers = str(found.folder), found.summary["run"], found.frames["frame"]
    for layer in viewer.layers:
        if layer.metadata.get("medseg", {}).get("folder") == folder:
            layer.data = found.masks.data
            return
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
