"""Train the models that ship with the package: ``python scripts/train_bundled.py NAME [--data FOLDER] -o FOLDER``.

Each function of `MODELS` trains one, by the package's own `fit`, on data whose licence lets its weights be shipped,
and measures it on images it has not seen. Written are ``NAME.pt`` (the run's ``best.pt`` with provenance) and
``NAME.json``, its card.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import torch

from napari_medseg.evaluate.masks import compare_pair
from napari_medseg.evaluate.metrics.compare import compare
from napari_medseg.evaluate.metrics.tolerance import centreline, tolerance_f1
from napari_medseg.image import Image
from napari_medseg.inference.network import predict
from napari_medseg.io import read_one, write
from napari_medseg.io.pairs import Pair
from napari_medseg.jobs import Progress, run
from napari_medseg.method import Method, Model, count_parameters
from napari_medseg.methods import TRAINING_FREE, create
from napari_medseg.methods.deepigeos.simulated_user import robot_click, simulate
from napari_medseg.methods.frame_classifier.method import classify
from napari_medseg.methods.fullnet.method import FullNet
from napari_medseg.models.catalog import load_model
from napari_medseg.models.checkpoint import bundled, card, pack, read_checkpoint, write_checkpoint
from napari_medseg.models.purpose import PixelSize
from napari_medseg.refinement import RefinementSession, RefinementSettings
from napari_medseg.samples.ccm import ccm_folder, ccm_image
from napari_medseg.samples.glands import gland_tile
from napari_medseg.samples.mri import SPACING, brain_volume, mri_folder
from napari_medseg.samples.scans import hard_scan
from napari_medseg.samples.tissue import tissue_tile
from napari_medseg.samples.video import CLASSES, nerve_video, video_folders
from napari_medseg.settings import TrainSettings
from napari_medseg.training.data import split
from napari_medseg.training.loop import fit

TRAIN_SEED, VALIDATION_SEED, TEST_SEED, REFINE_SEED = 10_000, 20_000, 30_000, 40_000
SHAPES: dict[int, tuple[tuple[int, ...], ...]] = {
    3: ((32, 48, 40), (40, 56, 48)),
    2: ((128, 128), (192, 192), (256, 256)),
}
TEST_SHAPE: dict[int, tuple[int, ...]] = {3: (48, 64, 56), 2: (160, 160)}
TESTS, ROUNDS = 8, 3
TRAIN_MOVIES, FRAMES = 12, 30
NERVE_IMAGES = 400
CORNEAL_PIXEL = PixelSize("micrometer", *((1.0417, 1.0417),) * 3)
CORNEAL = "images of HRT3-RCM, 400 micrometres on 384 pixels"
TISSUE_PIXEL = PixelSize("micrometer", *((0.25, 0.25),) * 3)
CHOSEN = 10  # real corneal images that constants were chosen on
NUCLEI_SCHEDULE = FullNet.recipe.training.updated(epochs=55, ema=0.998, choose_on=24, seed=1)
NUCLEI_ADAPT = 100_000  # pixels; on Kumar's training tiles and on images of the Data Science Bowl that are no test
TILES, TISSUE_SIZE, TISSUE_SEED = 300, 256, 100_000
REAL, PINK = 3, 2  # times that real images are shown for one generated, and images with eosin for one without
AFM = {"architecture": "unet5", "width": 8, "dropout": 0.1, "scaling": "glass", "crop": 256}
AFM_CHOSEN = {"threshold": 0.5, "min_area": 60}  # on the 48 real training scans of the astrocyte study
OTHER_SCANNERS = {"height_jitter": 1.0, "ripple": 3.0}
AFM_SCHEDULE = TrainSettings(
    epochs=14, steps_per_epoch=110, batch_size=4, learning_rate=4e-3, schedule="one-cycle", rise=0.12,
    calibrate_batches=16, precision="bfloat16", seed=1,
)  # fmt: skip
AFM_LATER = AFM_SCHEDULE.updated(epochs=5, steps_per_epoch=90, learning_rate=3e-3, seed=2)
SCANS = 160
SCAN_SIZE = 512
AFM_METRICS = ("mcc", "dice", "precision", "recall")
GLANDS = {
    **FullNet.recipe.settings, "tissue": "glands", "resize": False, "pack": 4, "crop": 320, "zoom": 1.35,
    "growth_mode": "free", "fill_holes": True, "validation_size": 0,
}  # fmt: skip
GLAND_SCHEDULE = FullNet.recipe.training.updated(
    epochs=10, steps_per_epoch=100, ema=0.995, choose_on=8, calibrate_batches=0, seed=1
)
GLAND_TILES, GLAND_SEED = 300, 70_000
GLAND_PIXEL = PixelSize("micrometer", (0.62, 0.62), (0.48, 0.48), (0.78, 0.78))
GLAND_METRICS = ("object_dice", "f1_glas", "object_hausdorff", "accuracy")
NUCLEI_METRICS = ("aji", "f1", "pq", "dice", "object_dice")
HIPPOCAMPI = {
    "ndim": 3, "width": 32, "pack": 2, "nonzero": False, "modern": True, "loss": "dice_ce", "optimiser": "adamw"
}  # fmt: skip
HIPPOCAMPUS_TESTS, HIPPOCAMPUS_HELD = 20, 10
NERVE_TESTS = 14
NERVES = {
    "width": 16, "input_size": 128, "encoder_weights": "none", "loss": "bce_dice", "group": "similarity",
    "threshold": 0.3, "mirror": True,
    "augmentations": "hflip,rotate,crop,elastic,brightness_contrast,gamma,blur,noise",
}  # fmt: skip
NERVE_SCHEDULE = TrainSettings(
    epochs=8, steps_per_epoch=200, batch_size=4, learning_rate=2e-3, schedule="one-cycle", ema=0.995
)
OWN_LICENSE, HIPPOCAMPUS_LICENSE, NERVES_LICENSE = "BSD-3-Clause", "CC-BY-SA-4.0", "CC-BY-4.0"


UNFINISHED = {"optimizer", "scaler", "state", "training_weights"}  # of a run's last.pt


@dataclass(frozen=True)
class Bundle:
    """A trained model and what its card says."""

    model: Model
    trained_on: str
    license: str
    scores: Mapping[str, Any]
    fails_on: str = ""
    expects: str = ""
    pixel_size: PixelSize | None = None  # where the training images state none
    about: Mapping[str, Any] = field(default_factory=dict)  # finds, field, extent_mm


@dataclass(frozen=True)
class Task:
    """Folders of one training: scratch space, the caller's data, where finished models lie, others' data."""

    work: Path
    data: Path | None
    output: Path
    elsewhere: Path | None = None

    def finished(self, name: str) -> Path:
        """Return the model `name` trained before, else the one in the package."""
        path = self.output / f"{name}.pt"
        return path if path.is_file() else bundled(name)


def say(progress: Progress) -> None:
    """Print what ends an epoch."""
    if "learning_rate" in progress.metrics:
        print(progress.message, flush=True)


# ---- P-Net and R-Net on generated brains
def brains(work: Path, method: Method, per_shape: int, seed: int) -> list[Pair]:
    """Generate `per_shape` cases of each shape and return their files."""
    pairs: list[Pair] = []
    for index, shape in enumerate(SHAPES[method.ndim]):
        folder = work / f"{seed}_{index}"
        first = seed + index * per_shape
        pairs += method.find_pairs(mri_folder(folder, per_shape, ndim=method.ndim, shape=shape, seed=first)).pairs
    return pairs


def train_brains(
    task: Task, name: str, settings: Mapping[str, Any], cases: int, schedule: TrainSettings, seed: int = TRAIN_SEED
) -> Model:
    """Train P-Net or R-Net on `cases` generated images of each shape, select on two of each."""
    method = create(name, {**settings, "modern": True, "loss": "dice_ce", "optimiser": "adamw"})
    pairs, held_out = brains(task.work, method, cases, seed), brains(task.work, method, 2, VALIDATION_SEED)
    return run(fit(method, pairs, held_out, schedule, task.work / "run"), say)


def about_brains(ndim: int, cases: int, seed: int = TRAIN_SEED) -> str:
    """Describe the training data of `train_brains`."""
    shapes = ", ".join("x".join(map(str, shape)) for shape in SHAPES[ndim])
    kind = "volumes" if ndim == 3 else "slices"
    n = cases * len(SHAPES[ndim])
    return f"{n} generated FLAIR-like {kind} of {shapes} (napari_medseg.samples.mri, seeds from {seed})"


def unseen(ndim: int) -> list[tuple[Any, np.ndarray]]:
    """Generate the test images and their masks."""
    spacing = SPACING[-ndim:]
    pairs = [brain_volume(TEST_SEED + k, TEST_SHAPE[ndim], spacing) for k in range(TESTS)]
    return [(image, np.asarray(label.data)) for image, label in pairs]


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Return 2 |A and B| / (|A| + |B|)."""
    return float(2 * ((mask > 0) & (truth > 0)).sum() / max((mask > 0).sum() + (truth > 0).sum(), 1))


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return mean, smallest and largest value, and their number."""
    known = {"mean": np.mean(values), "min": np.min(values), "max": np.max(values)}
    return {**{name: round(float(value), 4) for name, value in known.items()}, "n": len(values)}


def pnet(task: Task, ndim: int, width: int, cases: int, schedule: TrainSettings) -> Bundle:
    """Train a P-Net and measure its Dice."""
    model = train_brains(task, "p-net", {"ndim": ndim, "width": width, "pack": 2}, cases, schedule)
    values = [dice(np.asarray(run(predict(model, image)).labels.data), truth) for image, truth in unseen(ndim)]
    return Bundle(model, about_brains(ndim, cases), OWN_LICENSE, {"dice": summary(values)})


def rnet(task: Task, ndim: int, width: int, cases: int, schedule: TrainSettings) -> Bundle:
    """Train an R-Net from its P-Net's weights on proposals for images new to P-Net; measure it with the robot user."""
    path = task.finished(f"demo_pnet_{ndim}d")
    settings = {
        "ndim": ndim, "width": width, "pack": 2, "rule": "mixed", "rounds": 3, "mark_radius": 1,
        "no_mark_probability": 0.1, "smallest_region": 10, "through_plane": SPACING[0], "proposal": str(path),
        "inherit": str(path),
    }  # fmt: skip
    model = train_brains(task, "r-net", settings, cases, schedule, REFINE_SEED)
    proposer = load_model(path, "p-net")
    rounds = [robot_rounds(proposer, model, image, truth) for image, truth in unseen(ndim)]
    scores = {f"dice_round_{k}": summary([values[k] for values in rounds]) for k in range(ROUNDS + 1)}
    timed = {"processor_seconds_512x512": time_2d(model)} if ndim == 2 else {}
    return Bundle(model, about_brains(ndim, cases, REFINE_SEED), OWN_LICENSE, {**scores, **timed})


def robot_rounds(proposer: Model, model: Model, image: Any, truth: np.ndarray) -> list[float]:
    """Return the Dice of P-Net's proposal and after each round in which the robot marks the largest error."""
    mark = lambda t, m: robot_click(t, m, smallest=10, radius=2)  # noqa: E731
    return scribble_rounds(proposer, model, image, truth, mark)


def scribble_rounds(
    proposer: Model,
    model: Model,
    image: Any,
    truth: np.ndarray,
    mark: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> list[float]:
    """Return the Dice of P-Net's proposal and after each round of marks ``mark(truth, mask)``, which stay."""
    settings = RefinementSettings(engine="deepigeos", device="cpu")
    session = RefinementSession(image, model=model, pnet=proposer, settings=settings)
    run(session.propose())
    scribbles, values = np.zeros(truth.shape, np.uint8), [dice(session.mask, truth)]
    for _ in range(ROUNDS):
        new = mark(np.asarray(truth, np.uint8), session.mask)
        scribbles = np.where(new > 0, new, scribbles)
        if new.any():
            run(session.refine(scribbles))
        values.append(dice(session.mask, truth))
    return values


def time_2d(model: Model) -> float:
    """Return the median processor seconds (over all threads) of one round on 512x512 pixels."""
    image, label = brain_volume(TEST_SEED, (512, 512), (1.0, 1.0))
    session = RefinementSession(image, model=model, settings=RefinementSettings(engine="deepigeos", device="cpu"))
    run(session.propose())
    seconds, scribbles = [], np.zeros(image.spatial_shape, np.uint8)
    for _ in range(5):
        new = robot_click(np.asarray(label.data), session.mask, radius=2)
        scribbles = np.where(new > 0, new, scribbles)
        start = time.process_time()
        run(session.refine(scribbles))
        seconds.append(time.process_time() - start)
    return round(float(np.median(seconds)), 3)


def demo_pnet_3d(task: Task) -> Bundle:
    """P-Net for generated volumes."""
    return pnet(task, 3, 8, 20, TrainSettings(epochs=6, batch_size=1, learning_rate=4e-3, halve_steps=80))


def demo_rnet_3d(task: Task) -> Bundle:
    """R-Net for generated volumes."""
    schedule = TrainSettings(epochs=20, batch_size=1, learning_rate=3e-3, halve_steps=300, precision="bfloat16")
    return rnet(task, 3, 8, 30, schedule)


def demo_pnet_2d(task: Task) -> Bundle:
    """P-Net for generated slices."""
    return pnet(task, 2, 16, 20, TrainSettings(epochs=6, batch_size=1, learning_rate=4e-3, halve_steps=120))


def demo_rnet_2d(task: Task) -> Bundle:
    """R-Net for generated slices."""
    schedule = TrainSettings(epochs=5, batch_size=1, learning_rate=3e-3, halve_steps=100, precision="bfloat16")
    return rnet(task, 2, 16, 20, schedule)


# ---- hippocampi
def hippocampi(task: Task, method: Method) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """Return the volumes to train on, to choose the epoch by, and to measure on: the same for P-Net and R-Net."""
    if task.data is None:
        raise SystemExit("Models of hippocampi need --data: the folder of images and labels.")
    pairs = sorted(method.find_pairs(task.data).require(task.data).pairs, key=lambda pair: pair.stem)
    order = np.random.default_rng(0).permutation(len(pairs))
    test, held_out, train = np.split(order, [HIPPOCAMPUS_TESTS, HIPPOCAMPUS_TESTS + HIPPOCAMPUS_HELD])
    return [pairs[k] for k in train], [pairs[k] for k in held_out], [pairs[k] for k in test]


ABOUT_HIPPOCAMPI = (
    "{} T1 volumes of the hippocampus, Medical Segmentation Decathlon task 4 (Antonelli et al., Nat Commun 2022, "
    "doi:10.1038/s41467-022-30695-9; CC BY-SA 4.0)"
)
EXPECTS_HIPPOCAMPI = "T1 volume cut to about 4 cm around one hippocampus, 1 mm voxels, any intensity scale"
FAILS_HIPPOCAMPI = "whole heads, other contrasts than T1, other voxel sizes; says head and tail together"


def train_hippocampi(
    task: Task, name: str, settings: Mapping[str, Any], stages: Mapping[str, tuple[dict[str, Any], TrainSettings]]
) -> tuple[Model, str, list[Pair]]:
    """Train stage after stage, each from the best weights of the one before; return model, data, and unseen volumes."""
    start = None
    for stage, (changes, schedule) in stages.items():
        method = create(name, {**HIPPOCAMPI, **settings, **changes})
        train, held_out, test = hippocampi(task, method)
        how = schedule.updated(batch_size=1, schedule="one-cycle" if schedule.ema else "constant")
        model = run(fit(method, train, held_out, how, task.work / stage, resume=True, start=start), say)
        start = task.work / stage / "best.pt"
    return model, ABOUT_HIPPOCAMPI.format(len(train)), test


ABOUT_CARD = {
    "finds": "the hippocampus, head and tail together, in T1 volumes cut to it", "field": "volume",
    "extent_mm": [20, 70],
}  # fmt: skip
EARLY = "hippocampus_pnet_early.pt"
GENTLE = {"strength": 0.35, "flip": False}


def hippocampus_pnet(task: Task) -> Bundle:
    """P-Net for the hippocampus, head and tail together (Medical Segmentation Decathlon, CC BY-SA 4.0).

    Volumes are turned, bent and flipped at first, then shown as they are, then changed a little.
    """
    plain = TrainSettings(epochs=9, steps_per_epoch=100, learning_rate=2e-3, halve_steps=180, augment=False)
    stages = {
        "turned": ({}, TrainSettings(epochs=7, steps_per_epoch=250, learning_rate=4e-3, halve_steps=600)),
        "plain": ({}, plain),
        "gentle": (GENTLE, TrainSettings(epochs=10, steps_per_epoch=100, learning_rate=2e-3, ema=0.99)),
    }
    model, about, test = train_hippocampi(task, "p-net", {}, stages)
    shutil.copy(task.work / "turned" / "best.pt", task.output / EARLY)
    values = [dice(np.asarray(run(predict(model, read_one(p.image))).labels.data), truth_of(p)) for p in test]
    scores = {"dice": summary(values), "test_images": sorted(p.stem for p in test)}
    return Bundle(model, about, HIPPOCAMPUS_LICENSE, scores, FAILS_HIPPOCAMPI, EXPECTS_HIPPOCAMPI, about=ABOUT_CARD)


def hippocampus_rnet(task: Task) -> Bundle:
    """R-Net for the hippocampus from P-Net's weights, on proposals of its first stage, which leave more to mend."""
    path = task.finished("hippocampus_pnet")
    settings = {
        "rule": "mixed", "rounds": 3, "mark_radius": 1, "no_mark_probability": 0.1, "smallest_region": 5,
        "proposal": str(task.output / EARLY), "inherit": str(path),
    }  # fmt: skip
    how = TrainSettings(epochs=10, steps_per_epoch=125, learning_rate=2e-3, ema=0.99, augment=False, seed=1)
    _, about, test = train_hippocampi(task, "r-net", settings, {"run": ({}, how)})
    model = load_model(task.work / "run" / "last.pt")  # one click of the robot tells too little to choose an epoch by
    proposer, rounds = load_model(path, "p-net"), []
    for k, pair in enumerate(test):
        rng = np.random.default_rng([TEST_SEED, k])
        mark = lambda t, m, rng=rng: simulate(t, m, rng, rule="scribble", smallest=5)  # noqa: E731
        rounds.append(scribble_rounds(proposer, model, read_one(pair.image), truth_of(pair), mark))
    scores = {f"dice_round_{k}": summary([values[k] for values in rounds]) for k in range(ROUNDS + 1)}
    scores |= {"test_images": sorted(p.stem for p in test)}
    return Bundle(model, about, HIPPOCAMPUS_LICENSE, scores, FAILS_HIPPOCAMPI, EXPECTS_HIPPOCAMPI, about=ABOUT_CARD)


def truth_of(pair: Pair) -> np.ndarray:
    """Return the mask of a case: every label above 0."""
    assert pair.label is not None
    return np.asarray(read_one(pair.label, "labels").data) > 0


# ---- nuclei
def tissue_folder(folder: Path, count: int, seed: int) -> list[Pair]:
    """Generate tiles of tissue with their nuclei, once, and return their files."""
    for k in range(count):
        if not (folder / "labels" / f"t{k:03d}.png").is_file():
            for part, image in zip(("images", "labels"), tissue_tile(seed + k, TISSUE_SIZE), strict=True):
                write(folder / part / f"t{k:03d}.png", image)
    return sorted(create("fullnet").find_pairs(folder).pairs, key=lambda pair: pair.stem)


def nuclei_dsb2018(task: Task) -> Bundle:
    """FullNet for nuclei in stained tissue: the Data Science Bowl's stained images (CC0) and generated tissue."""
    if task.data is None:
        raise SystemExit("nuclei_dsb2018 needs --data: the folder of images and labels.")
    method = create("fullnet", {**FullNet.recipe.settings, "adapt": NUCLEI_ADAPT})
    pairs = sorted(method.find_pairs(task.data).require(task.data).pairs, key=lambda pair: pair.stem)
    order = np.random.default_rng(0).permutation(len(pairs))
    fifth, tenth = len(pairs) // 5, len(pairs) // 10
    test, held_out, train = ([pairs[k] for k in part] for part in np.split(order, [fifth, fifth + tenth]))
    generated = tissue_folder(task.work / "generated", TILES, TISSUE_SEED)
    weighted = [pair for pair in train for _ in range(PINK if is_pink(pair) else 1)]
    checks = held_out + tissue_folder(task.work / "generated_val", 4, 2 * TISSUE_SEED)
    model = run(fit(method, generated + weighted * REAL, checks, NUCLEI_SCHEDULE, task.work / "run", resume=True), say)
    rows = [nuclei_scores(model, pair) for pair in test]
    scores = {name: summary([row[name] for row in rows]) for name in NUCLEI_METRICS}
    if task.elsewhere is not None:
        others = model.method.find_pairs(task.elsewhere).require(task.elsewhere).pairs
        found = [nuclei_scores(model, pair) for pair in others]
        scores |= {f"{name}_elsewhere": summary([row[name] for row in found]) for name in NUCLEI_METRICS}
    held = {"test_images": sorted(pair.stem for pair in test), "selected_on": sorted(pair.stem for pair in held_out)}
    about = f"{len(train)} stained tissue images of the 2018 Data Science Bowl (BBBC038, CC0 1.0) and {TILES} generated"
    about += f" tiles (napari_medseg.samples.tissue, seeds from {TISSUE_SEED})"
    return Bundle(model, about, "CC0-1.0", {**scores, **held}, FAILS_NUCLEI, EXPECTS_NUCLEI, TISSUE_PIXEL,
                  {"finds": "nuclei in stained tissue"})  # fmt: skip


EXPECTS_NUCLEI = "haematoxylin and eosin or similar stains, RGB, about 0.25 um a pixel: nuclei of 12 to 50 pixels"
FAILS_NUCLEI = (
    "brown stains (DAB); fluorescence; 10x and lower; crowded overlapping nuclei are joined; pale ones are missed"
)


def is_pink(pair: Pair) -> bool:
    """Whether an image shows eosin: red not below blue, and no glass."""
    red, green, blue = np.asarray(read_one(pair.image).data)[..., :3].reshape(-1, 3).mean(0)
    return bool(red > blue - 5 and green < 190)


def nuclei_scores(model: Model, pair: Pair) -> dict[str, float]:
    """Return the metrics of ``medseg evaluate`` of one image."""
    prediction = run(predict(model, read_one(pair.image)))
    return compare(prediction.labels, read_one(pair.label, "labels"), NUCLEI_METRICS, "instances")


# ---- glands
def gland_folder(folder: Path, count: int, seed: int) -> list[Pair]:
    """Generate tiles of glands, once, and return their files."""
    for k in range(count):
        if not (folder / "labels" / f"g{k:03d}.png").is_file():
            for part, image in zip(("images", "labels"), gland_tile(seed + k, 440 + 37 * k % 160), strict=True):
                write(folder / part / f"g{k:03d}.png", image)
    return sorted(create("fullnet").find_pairs(folder).pairs, key=lambda pair: pair.stem)


def stained_glands(task: Task) -> Bundle:
    """FullNet for glands that has seen generated tissue only, from the weights for nuclei."""
    method = create("fullnet", GLANDS)
    pairs = gland_folder(task.work / "generated", GLAND_TILES, GLAND_SEED)
    checks = gland_folder(task.work / "generated_val", 8, 2 * GLAND_SEED)
    about = (
        f"{GLAND_TILES} generated tiles of glands (napari_medseg.samples.glands, seeds from {GLAND_SEED}), from the "
    )
    about += "weights of nuclei_dsb2018; no real gland"
    chosen, reported = checks, checks
    if task.data is not None:
        found = sorted(method.find_pairs(task.data).require(task.data).pairs, key=lambda pair: pair.stem)
        chosen, reported = found[0::2], found[1::2]
        about += f"; epoch and thresholds chosen on {len(chosen)} images of GlaS"
    start = with_other_ends(method, bundled("nuclei_dsb2018"), task.work / "start.pt")
    model = run(fit(method, pairs, chosen, GLAND_SCHEDULE, task.work / "run", resume=True, start=start), say)
    model = with_settings(model, task, chosen, model.method.choose([gland_answer(model, pair) for pair in chosen]))
    rows = [gland_scores(model, pair) for pair in reported]
    scores: dict[str, Any] = {name: summary([row[name] for row in rows]) for name in GLAND_METRICS}
    scores["object_hausdorff"]["unit"] = "px"  # the pictures state no pixel size
    held = {"test_images": [pair.stem for pair in reported], "selected_on": [pair.stem for pair in chosen]}
    limits = FAILS_GLANDS, EXPECTS_GLANDS, GLAND_PIXEL
    return Bundle(model, about, OWN_LICENSE, {**scores, **held}, *limits, {"finds": "glands in stained tissue"})


EXPECTS_GLANDS = "haematoxylin and eosin, RGB, about 0.6 um a pixel (20x): glands of 50 to 400 pixels"
FAILS_GLANDS = "glands without lumen, sheets of tumour, debris in wide lumens, crowded stroma of many small nuclei"


def gland_answer(model: Model, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (3, H, W) of an image and its encoded truth."""
    return run(predict(model, read_one(pair.image))).probabilities, model.method.load_pair(pair)[1]


def gland_scores(model: Model, pair: Pair) -> dict[str, float]:
    """Return the metrics of ``medseg evaluate`` of one image, whose truth may be a mask."""
    labels = run(predict(model, read_one(pair.image))).labels
    return run(compare_pair("fullnet", labels, read_one(pair.label, "labels"))).metrics


def with_other_ends(method: Method, source: Path, path: Path) -> Path:
    """Write a start for `method` with the weights of `source` that fit, and random ones for the rest; return `path`."""
    torch.manual_seed(1)
    network, known = method.build_network(), load_model(source).network.state_dict()
    weights = network.state_dict()
    network.load_state_dict({k: known[k] if known[k].shape == v.shape else v for k, v in weights.items()})
    write_checkpoint(path, pack(method, network.state_dict()))
    return path


# ---- ultrasound
def ultrasound_nerves(task: Task) -> Bundle:
    """DoubleU-Net for nerves in ultrasound stills (usgra-seg, CC BY 4.0)."""
    if task.data is None:
        raise SystemExit("ultrasound_nerves needs --data: the folder of images and masks (1: nerve).")
    method = create("double-unet", NERVES)
    pairs = method.find_pairs(nerve_masks(task.data, task.work / "nerves")).pairs
    fold = split(pairs, TrainSettings(folds=3))[0]
    unseen = sorted({pair.subject for pair in fold.held_out})[:NERVE_TESTS]
    train, test = ([p for p in pairs if (p.subject in unseen) == wanted] for wanted in (False, True))
    first = TrainSettings(epochs=5, steps_per_epoch=250, batch_size=4, learning_rate=2e-3, halve_steps=900)
    run(fit(method, fold.train, (), first, task.work / "first", resume=True), say)
    start = task.work / "first" / "last.pt"
    model = run(fit(method, train, (), NERVE_SCHEDULE, task.work / "run", resume=True, start=start), say)
    values = [dice(np.asarray(run(predict(model, read_one(p.image))).labels.data), truth_of(p)) for p in test]
    scores = {"dice": summary(values), "test_images": sorted(p.stem for p in test)}
    about = f"{len(train)} ultrasound stills of regional anaesthesia (usgra-seg data set, T. M. K., 2025; CC BY 4.0)"
    fails = "stills of other machines and views; vessels beside nerves"
    expects = "whole ultrasound stills of five regions: neck, axilla, elbow, groin, knee"
    card_says = {"finds": "nerves in ultrasound stills", "field": "ultrasound"}
    return Bundle(model, about, NERVES_LICENSE, scores, fails, expects, about=card_says)


def nerve_masks(source: Path, folder: Path) -> Path:
    """Write masks 0/255 of the nerves beside links to the images; return the folder."""
    if not folder.exists():
        (folder / "masks").mkdir(parents=True)
        (folder / "images").symlink_to((source / "images").resolve())
    for path in sorted((source / "masks").iterdir()):
        nerve = np.asarray(read_one(path, "labels").data) == 1
        iio.imwrite(folder / "masks" / f"{path.stem}.png", nerve.astype(np.uint8) * 255)
    return folder


# ---- generated nerve movies
def movies(task: Task, part: str) -> tuple[Path, Path]:
    """Generate the training and validation folders of one part, ``classification`` or ``segmentation``."""
    train = video_folders(task.work / "train", TRAIN_MOVIES, FRAMES, seed=TRAIN_SEED)
    return train / part, video_folders(task.work / "held_out", 2, FRAMES, seed=VALIDATION_SEED) / part


def train_movies(task: Task, method: Method, part: str, schedule: TrainSettings) -> Model:
    """Train on frames of generated movies, select on two other movies."""
    pairs, held_out = (method.find_pairs(folder).pairs for folder in movies(task, part))
    return run(fit(method, pairs, held_out, schedule, task.work / "run"), say)


ABOUT_MOVIES = f"{TRAIN_MOVIES} generated nerve movies (napari_medseg.samples.video, seeds from {TRAIN_SEED})"


def demo_frame_classifier(task: Task) -> Bundle:
    """Frame classifier with the small backbone."""
    settings = {
        "backbone": "densenet_small", "encoder_weights": "none", "input_size": 128, "dropout": 0.1,
        "head_epochs": 0, "fine_tune_tensors": 10_000, "fine_tune_rate": 1.0,
    }  # fmt: skip
    schedule = TrainSettings(epochs=6, batch_size=16, learning_rate=3e-3, halve_steps=60)
    model = train_movies(task, create("frame-classifier", settings), "classification", schedule)
    values = []
    for k in range(TESTS):
        movie, _ = nerve_video(TEST_SEED + k, FRAMES)
        frames = torch.from_numpy(movie.data).permute(0, 3, 1, 2)
        truth = [model.method.classes.index(name) for name in movie.metadata["classes"]]
        values.append(float((classify(model, frames).argmax(1) == np.array(truth)).mean()))
    return Bundle(model, ABOUT_MOVIES, OWN_LICENSE, {"accuracy": summary(values)})


def demo_double_unet(task: Task) -> Bundle:
    """DoubleU-Net of an eighth of the paper's width."""
    method = create("double-unet", {"width": 8, "input_size": 128, "encoder_weights": "none", "loss": "bce_dice"})
    schedule = TrainSettings(epochs=7, batch_size=8, learning_rate=2e-3, halve_steps=55)
    model = train_movies(task, method, "segmentation", schedule)
    values = []
    for k in range(TESTS):
        movie, labels = nerve_video(TEST_SEED + k, FRAMES)
        nerve = [i for i, name in enumerate(movie.metadata["classes"]) if name == CLASSES[0]][::3]
        for i in nerve:
            frame = Image(movie.data[i], "YXC")
            values.append(dice(np.asarray(run(predict(model, frame)).labels.data), labels.data[i]))
    return Bundle(model, ABOUT_MOVIES, OWN_LICENSE, {"dice": summary(values)})


# ---- AFM cells
def afm_scores(model: Model, task: Task) -> dict[str, Any]:
    """Return the metrics of cell masks on generated scans and on the caller's folder of real ones."""
    cases = {"generated": [hard_scan(TEST_SEED + k, SCAN_SIZE) for k in range(TESTS)]}
    if task.data is not None:
        pairs = model.method.find_pairs(task.data).require(task.data).pairs
        cases["real"] = [(read_one(p.image), read_one(p.label, "labels")) for p in pairs]
    scores: dict[str, Any] = {}
    for name, images in cases.items():
        rows = [compare(run(predict(model, image)).labels, truth, AFM_METRICS) for image, truth in images]
        scores |= {f"{metric}_{name}": summary([row[metric] for row in rows]) for metric in AFM_METRICS}
    return scores


def scan_folder(folder: Path, count: int, seed: int) -> list[Pair]:
    """Generate scans with their masks, once, and return their files."""
    for k in range(count):
        if not (folder / "labels" / f"s{k:03d}.png").is_file():
            scan, mask = hard_scan(seed + k, SCAN_SIZE)
            write(folder / "images" / f"s{k:03d}.tif", scan)
            write(folder / "labels" / f"s{k:03d}.png", mask.replace(data=mask.data * np.uint8(255)))
    return list(create("afm-unet").find_pairs(folder).pairs)


def afm_cells(task: Task) -> Bundle:
    """A narrow U-net for cells in height scans that has seen generated scans only.

    First as they are made, then with other noise and uneven glass: the first alone takes ripples for cells.
    """
    method = create("afm-unet", AFM)
    pairs = scan_folder(task.work / "generated", SCANS, 10 * TRAIN_SEED)
    held_out = scan_folder(task.work / "generated_val", 10, 20 * TRAIN_SEED)
    run(fit(method, pairs, held_out, AFM_SCHEDULE, task.work / "run", resume=True), say)
    method = create("afm-unet", {**AFM, **OTHER_SCANNERS, **AFM_CHOSEN})
    first = task.work / "run" / "best.pt"
    model = run(fit(method, pairs, held_out, AFM_LATER, task.work / "later", resume=True, start=first), say)
    about = f"{SCANS} generated height scans (napari_medseg.samples.scans, seeds from {10 * TRAIN_SEED}); no real one"
    return Bundle(model, about, OWN_LICENSE, afm_scores(model, task), FAILS_AFM, EXPECTS_AFM)


EXPECTS_AFM = (
    "one height channel of cells on a flat substrate, any unit, lines along the fast axis; cells of 50 to 500 pixels"
)
FAILS_AFM = "scans that cells cover by more than about half; layers of cells; deflection, phase and friction channels"


# ---- corneal nerves
def nerve_scores(model: Model, task: Task) -> dict[str, Any]:
    """Return F1 of centrelines within 3 pixels and the error of their length, on generated and on real images.

    Real are the images 11 to 20 of the traced ones in the caller's folder; 1 to 10 may have chosen constants.
    """
    cases = {} if task.data is None else {"nottingham": real_nerves(model, task.data, reported=True)}
    cases["generated"] = [ccm_image(TEST_SEED + k) for k in range(TESTS)]
    scores: dict[str, Any] = {}
    for name, images in cases.items():
        masks = [
            (np.asarray(run(predict(model, image)).labels.data), np.asarray(truth.data)) for image, truth in images
        ]
        lengths = [100 * abs(centreline(mask).sum() / max(centreline(truth).sum(), 1) - 1) for mask, truth in masks]
        scores[f"f1_3px_{name}"] = summary([tolerance_f1(mask, truth) for mask, truth in masks])
        scores[f"length_error_percent_{name}"] = summary(lengths)
    return scores


def nerve_folder(folder: Path, count: int, seed: int) -> list[Pair]:
    """Generate corneal images with exact centrelines, once, and return their files."""
    if len(list(folder.glob("*_lab.tif"))) < count:
        ccm_folder(folder, count, seed=seed, kind="centreline", level=1)
    return list(create("sc-dcnn").find_pairs(folder).pairs)


def ccm_generated(task: Task) -> Bundle:
    """A small SC-DCNN for corneal nerves that has seen generated images only."""
    method = create("sc-dcnn", {"width": 8, "crop": 128, "balanced": False, "dilate_labels": 1, "surroundings": 20.0,
                                "select": "f1_3px", "flips": True})  # fmt: skip
    pairs = nerve_folder(task.work / "train", NERVE_IMAGES, TRAIN_SEED)
    held_out = nerve_folder(task.work / "held_out", 6, VALIDATION_SEED)
    schedule = TrainSettings(epochs=50, steps_per_epoch=40, batch_size=4, learning_rate=4e-3, schedule="one-cycle",
                             ema=0.995, smooth_score=3, calibrate_batches=10, choose_on=12)  # fmt: skip
    model = run(fit(method, pairs, held_out, schedule, task.work / "run", resume=True), say)
    about = f"{NERVE_IMAGES} generated corneal images (napari_medseg.samples.ccm, seeds from {TRAIN_SEED}); no real one"
    if task.data is not None:
        model = choose_on_real(model, task)
        about += f"; thresholds chosen on images 1 to {CHOSEN} of Nottingham"
    fails = "faint nerves in bright grain, cell borders of the epithelium, long dendrites"
    return Bundle(model, about, OWN_LICENSE, nerve_scores(model, task), fails, CORNEAL, CORNEAL_PIXEL)


def real_nerves(model: Model, data: Path, reported: bool) -> list[tuple[Image, Image]]:
    """Return the traced real images that are reported, or those that may choose constants, and their traces."""
    pairs = model.method.find_pairs(data).require(data).pairs
    wanted = [pair for pair in pairs if (int(pair.stem) > CHOSEN) == reported]
    return [(read_one(pair.image), read_one(pair.label, "labels")) for pair in wanted]


def choose_on_real(model: Model, task: Task) -> Model:
    """Choose the thresholds on the real images that are not reported."""
    assert task.data is not None
    cases = real_nerves(model, task.data, reported=False)
    found = [(run(predict(model, image)).probabilities, np.asarray(truth.data)) for image, truth in cases]
    return with_settings(model, task, [image for image, _ in cases], model.method.choose(found))


def with_settings(model: Model, task: Task, chosen_on: Sequence[Image | Pair], changes: Mapping[str, Any]) -> Model:
    """Return a model with other thresholds, which were chosen on some images."""
    method = create(model.method.name, {**model.method.settings.model_dump(), **changes})
    path = task.work / "chosen.pt"
    content = read_checkpoint(Path(model.card["file"])) | {"settings": method.settings.model_dump()}
    names = [item.stem if isinstance(item, Pair) else item.name for item in chosen_on]
    write_checkpoint(path, content | {"chosen_on": names})
    return load_model(path)


MODELS: dict[str, Callable[[Task], Bundle]] = {
    function.__name__: function
    for function in (
        demo_pnet_3d, demo_rnet_3d, demo_pnet_2d, demo_rnet_2d, hippocampus_pnet, hippocampus_rnet, nuclei_dsb2018,
        stained_glands,
        afm_cells,
        ultrasound_nerves, ccm_generated, demo_frame_classifier,
        demo_double_unet,
    )
}  # fmt: skip


# ---- methods without training
def training_free(task: Task, name: str, scores: Callable[[Model, Task], dict[str, Any]]) -> Bundle:
    """Write a method that needs no training as a checkpoint without weights, so that it runs as any other model."""
    path = task.work / f"{name}.pt"
    write_checkpoint(path, pack(create(name), {}))
    model = load_model(path)
    limits = LIMITS_OF.get(name, ())
    return Bundle(model, "nothing: it needs no training", OWN_LICENSE, scores(model, task), *limits)


RIDGES_FAIL = "cell borders of the epithelium, dendrites and folds, which it takes for nerves"
LIMITS_OF: dict[str, tuple[Any, ...]] = {"nerve-ridges": (RIDGES_FAIL, CORNEAL, CORNEAL_PIXEL)}
SCORES = {"afm-threshold": afm_scores, "nerve-ridges": nerve_scores}
MODELS |= {name: partial(training_free, name=name, scores=SCORES[name]) for name in TRAINING_FREE}


# ---- files
def hardware() -> str:
    """Name the processor and the threads used."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{found[0] if found else platform.processor()}, {torch.get_num_threads()} thread(s)"


def save(name: str, bundle: Bundle, seconds: float, command: str, output: Path) -> Path:
    """Write the model and its card; return the model's path."""
    path = output / f"{name}.pt"
    content = read_checkpoint(Path(bundle.model.card["file"]))
    content = {key: value for key, value in content.items() if key not in UNFINISHED}
    content |= {"trained_on": bundle.trained_on, "license": bundle.license}
    for key in ("proposal", "inherit"):
        if content["settings"].get(key):
            content["settings"][key] = Path(content["settings"][key]).name
    write_checkpoint(path, content)
    known = {key: value for key, value in card(content, path).items() if key != "file"}
    clock = [row.get("seconds", 0.0) for row in content["history"]] + [0.0]  # begins anew where a run was resumed
    known_seconds = sum(now for now, later in pairwise(clock) if later < now)
    described = {
        **known, "command": command, "scores": bundle.scores, "expects": bundle.expects,
        "fails_on": bundle.fails_on, **({"pixel_size": bundle.pixel_size.on_card()} if bundle.pixel_size else {}),
        **bundle.about,
        "parameters": count_parameters(bundle.model.network)[1], "bytes": path.stat().st_size, "hardware": hardware(),
        "training_seconds": round(max(seconds, known_seconds)), "date": datetime.date.today().isoformat(),
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    return path


def main() -> int:
    """Train one model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=MODELS)
    parser.add_argument("--data", type=Path, help="folder of labelled images, for models of real images")
    parser.add_argument("--elsewhere", type=Path, help="another laboratory's labelled images, only scored")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the finished model")
    parser.add_argument("--work", type=Path, help="folder of the run, to go on with it; default: a temporary one")
    arguments = parser.parse_args()
    command = f"python scripts/train_bundled.py {arguments.name}{' --data FOLDER' * bool(arguments.data)} -o FOLDER"
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        bundle = MODELS[arguments.name](
            Task(arguments.work or Path(work), arguments.data, arguments.output, arguments.elsewhere)
        )
        path = save(arguments.name, bundle, time.perf_counter() - start, command, arguments.output)
    print(path, path.stat().st_size, json.dumps(bundle.scores))
    return 0


if __name__ == "__main__":
    sys.exit(main())
