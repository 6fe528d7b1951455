"""The demonstration on generated data: train on AFM scans, refine a brain volume, outline the nerve of a movie."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_medseg.errors import SettingsError, WriteError
from napari_medseg.evaluate.frames import evaluate_frames
from napari_medseg.evaluate.metrics.compare import compare, dice
from napari_medseg.evaluate.metrics.video import mask_scores
from napari_medseg.inference.network import predict
from napari_medseg.io import write, write_table
from napari_medseg.io.movies.reader import read_movie
from napari_medseg.jobs import Job, Progress
from napari_medseg.measure import measure
from napari_medseg.methods import create
from napari_medseg.methods.deepigeos.simulated_user import robot_click
from napari_medseg.models.catalog import load_model
from napari_medseg.models.checkpoint import bundled
from napari_medseg.refinement import RefinementSession
from napari_medseg.samples.afm import afm_folder, afm_scan
from napari_medseg.samples.mri import brain_volume
from napari_medseg.samples.video import nerve_video, write_movie
from napari_medseg.settings import TrainSettings
from napari_medseg.training.loop import train
from napari_medseg.video import segment_video
from napari_medseg.video.settings import VideoSettings

if TYPE_CHECKING:
    from pandas import DataFrame

SCANS, SIZE, EPOCHS = 10, 128, 12
SCAN_SEED, SCAN_SIZE = 1000, 256
VOLUME_SEED, ROUNDS, CLICK = 2026, 3, 2
MOVIE_SEED, FRAMES, FRAME_SIZE = 2026, 80, (240, 320)


@dataclass(frozen=True)
class DemoResult:
    """Folder the demo wrote to, and what to tell the user."""

    folder: Path
    lines: tuple[str, ...]


def demo(folder: Path, kind: str = "story") -> Job[DemoResult]:
    """Run one of `KINDS` in `folder`.

    Raises
    ------
    SettingsError, WriteError
        If there is no such kind, or the folder cannot be made.
    """
    if kind not in KINDS:
        raise SettingsError(f"There is no demo {kind!r}. Known kinds: {', '.join(KINDS)}.")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{folder} cannot be made: {error}. Choose another folder with -o.") from error
    lines: tuple[str, ...] = ()
    for part in KINDS[kind]:
        lines += yield from part(folder)
    return DemoResult(folder, lines)


def train_cells(folder: Path) -> Job[tuple[str, ...]]:
    """Train on generated scans and segment a scan the network has not seen."""
    yield Progress(0, 1, "generating AFM scans with known cells")
    afm_folder(folder / "afm", SCANS, SIZE)
    method = create("afm-unet", {"architecture": "unet3", "dropout": 0.1, "level": True, "min_area": 30})
    settings = TrainSettings(epochs=EPOCHS, batch_size=4, steps_per_epoch=6, learning_rate=4e-3)
    model = yield from train(method, folder / "afm", folder / "run", settings)
    image, truth = afm_scan(seed=SCAN_SEED, size=SCAN_SIZE)
    prediction = yield from predict(model, image)
    scores = compare(prediction.labels, truth, ("dice", "mcc"))
    cells = measure("afm", prediction.labels, image)
    write(folder / "scan.tif", image)
    write(folder / "scan_labels.tif", prediction.labels)
    write_table(folder / "measurements.csv", cells)
    return (
        f"Trained on {SCANS} generated scans: {folder / 'run' / 'best.pt'}",
        f"On a new scan: Dice {scores['dice']:.3f}, MCC {scores['mcc']:.3f}, {len(cells)} cells",
        f"Measurements: {folder / 'measurements.csv'}",
    )


def refine_volume(folder: Path) -> Job[tuple[str, ...]]:
    """Propose a lesion in a generated volume with the bundled P-Net, then mend it with recorded clicks."""
    image, truth = brain_volume(seed=VOLUME_SEED)
    pnet = load_model(bundled("demo_pnet_3d"))
    session = RefinementSession(image, pnet=pnet)
    yield Progress(0, 1, "proposing a lesion in a generated brain volume")
    yield from session.propose()
    scores = [dice(session.mask, truth.data)]
    marks = np.zeros(image.spatial_shape, np.uint8)
    for _ in range(ROUNDS):
        marks = np.maximum(marks, robot_click(truth.data, session.mask, radius=CLICK))
        yield from session.refine(marks)
        scores.append(dice(session.mask, truth.data))
    write(folder / "volume.nii.gz", image)
    write(folder / "volume_labels.nii.gz", session.mask_image())
    told = ", ".join(f"{score:.3f}" for score in scores[1:])
    return (f"Lesion in a brain volume: proposal Dice {scores[0]:.3f}, after each round of scribbles {told}",)


def outline_nerve(folder: Path) -> Job[tuple[str, ...]]:
    """Name the frames of a generated movie and outline the nerve with the bundled models; compare with the truth."""
    yield Progress(0, 1, "generating a movie of a nerve")
    movie, truth = nerve_video(MOVIE_SEED, FRAMES, FRAME_SIZE)
    path = write_movie(folder / "movie.mkv", movie)
    write_table(folder / "true_classes.csv", _class_table(movie.metadata["classes"]))
    classifier, segmenter = (load_model(bundled(name)) for name in ("demo_frame_classifier", "demo_double_unet"))
    out = folder / "movie"
    result = yield from segment_video(path, classifier, segmenter, out, VideoSettings(resume=False))
    named = yield from evaluate_frames(out, folder / "true_classes.csv")
    masks = (np.asarray(frame) for frame in read_movie(out / "masks").data)
    scores = mask_scores(masks, np.asarray(truth.data))
    found = scores.set_index("over")["dice"]
    numbers = result.summary
    return (
        f"Movie of {FRAMES} frames: {path}",
        f"Frames named right: {named.accuracy:.0%} of {named.frames}; nerve in {numbers['nerve_frames']} frames",
        f"Dice of the nerve {found['found frames']:.3f}; missed frames counted as 0 {found['nerve frames']:.3f}",
        f"Nerve to background ratio {numbers.get('mean_nbr', 0):.2f}; flicker {numbers['flicker']:.3f}",
        f"Overlay, table and summary: {result.movie}, {result.table}, {out / 'summary.json'}",
    )


def _class_table(classes: Sequence[str]) -> DataFrame:
    from pandas import DataFrame

    return DataFrame({"frame": range(len(classes)), "label": classes})


KINDS: dict[str, tuple[Callable[[Path], Job[tuple[str, ...]]], ...]] = {
    "story": (train_cells, refine_volume),
    "afm": (train_cells,),
    "mri": (refine_volume,),
    "video": (outline_nerve,),
}


def open_viewer(folder: Path, screenshots: bool, kind: str = "story") -> int:
    """Open napari on the results of a demo in a process of its own and return its exit code."""
    words = [sys.executable, "-m", "napari_medseg._napari.demo", str(folder), "--kind", kind]
    words += ["--screenshots"] * screenshots
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        words = ["xvfb-run", "-a", "-s", "-screen 0 1400x1000x24", *words, "--screenshots"]
    return subprocess.run(words, check=False).returncode
