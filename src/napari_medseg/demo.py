"""The demonstration: train, predict and measure on generated AFM scans; refine a generated brain volume."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_medseg.catalog import bundled
from napari_medseg.deepigeos.interactions import robot_click
from napari_medseg.errors import WriteError
from napari_medseg.inference import predict
from napari_medseg.io import write, write_table
from napari_medseg.jobs import Job, Progress
from napari_medseg.measure import measure
from napari_medseg.measure.compare import compare, dice
from napari_medseg.methods import create, load_model
from napari_medseg.refinement import RefinementSession
from napari_medseg.samples.afm import afm_folder, afm_scan
from napari_medseg.samples.mri import brain_volume
from napari_medseg.settings import TrainSettings
from napari_medseg.training import train

SCANS, SIZE, EPOCHS = 10, 128, 12
VOLUME_SEED, ROUNDS, CLICK = 2026, 3, 2


@dataclass(frozen=True)
class DemoResult:
    """Files the demo made, and what to tell the user."""

    model: Path
    lines: tuple[str, ...]


def demo(folder: Path) -> Job[DemoResult]:
    """Train on generated scans in `folder` and segment a scan the network has not seen."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{folder} cannot be made: {error}. Choose another folder with -o.") from error
    yield Progress(0, 1, "generating AFM scans with known cells")
    afm_folder(folder / "afm", SCANS, SIZE)
    method = create("afm-unet", {"architecture": "unet3", "dropout": 0.1, "level": True, "min_area": 30})
    settings = TrainSettings(epochs=EPOCHS, batch_size=4, steps_per_epoch=6, learning_rate=4e-3)
    model = yield from train(method, folder / "afm", folder / "run", settings)
    image, truth = afm_scan(seed=1000, size=256)
    prediction = yield from predict(model, image)
    scores = compare(prediction.labels, truth, ("dice", "mcc"))
    cells = measure("afm", prediction.labels, image)
    write(folder / "scan.tif", image)
    write(folder / "scan_labels.tif", prediction.labels)
    write_table(folder / "measurements.csv", cells)
    lines = (
        f"Trained on {SCANS} generated scans: {folder / 'run' / 'best.pt'}",
        f"On a new scan: Dice {scores['dice']:.3f}, MCC {scores['mcc']:.3f}, {len(cells)} cells",
        f"Measurements: {folder / 'measurements.csv'}",
    )
    refined = yield from refine_volume(folder)
    return DemoResult(folder / "run" / "best.pt", (*lines, *refined))


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


def open_viewer(folder: Path, screenshots: bool) -> int:
    """Open napari on the demo's results in a process of its own and return its exit code."""
    words = [sys.executable, "-m", "napari_medseg._napari.demo", str(folder), *(["--screenshots"] * screenshots)]
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        words = ["xvfb-run", "-a", "-s", "-screen 0 1400x1000x24", *words, "--screenshots"]
    return subprocess.run(words, check=False).returncode
