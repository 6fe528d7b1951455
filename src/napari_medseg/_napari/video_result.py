"""What a run over a movie makes: the job, its result folder read back, the masks as a layer over the movie."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from napari.utils.colormaps import DirectLabelColormap

from napari_medseg import __version__
from napari_medseg._napari.layers import like
from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io.video import read_movie
from napari_medseg.jobs import Job, Progress
from napari_medseg.methods import load_model
from napari_medseg.video import VideoResult, VideoSettings, segment_video
from napari_medseg.video.settings import COLOURS


@dataclass(frozen=True)
class Found:
    """What a result folder holds; `masks` are read frame by frame when they are looked at."""

    folder: Path
    frames: pd.DataFrame
    summary: dict[str, Any]
    masks: Image | None


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
    table, summary = folder / "frames.csv", folder / "summary.json"
    if not table.is_file() or not summary.is_file():
        raise DataError(f"{folder} holds no result. Choose a folder with frames.csv and summary.json.")
    try:
        frames, facts = pd.read_csv(table), json.loads(summary.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"The result in {folder} cannot be read: {error}. Run the movie again.") from error
    masks = None
    if len(frames) and any((folder / "masks").glob("*.png")):
        image = read_movie(folder / "masks")
        masks = image.replace(data=(image.data[: len(frames)] > 127).astype("uint8"), kind="labels")
    return Found(folder, frames, facts, masks)


def add_masks(viewer: Any, movie: Any, found: Found) -> None:
    """Show the masks over the movie; a layer of the same result folder takes the new ones."""
    folder, run, numbers = str(found.folder), found.summary["run"], found.frames["frame"]
    for layer in viewer.layers:
        if layer.metadata.get("medseg", {}).get("folder") == folder:
            layer.data = found.masks.data
            return
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    provenance = {
        "method": "double-unet",
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
