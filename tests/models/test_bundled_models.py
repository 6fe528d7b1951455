"""Every model that ships with the package loads, tells where it comes from, and does its job on unseen samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_medseg.evaluate.metrics.compare import compare
from napari_medseg.image import Image
from napari_medseg.inference.network import predict
from napari_medseg.io.identity import sha256
from napari_medseg.jobs import run
from napari_medseg.methods import TRAINING_FREE
from napari_medseg.methods.deepigeos.simulated_user import robot_click
from napari_medseg.methods.frame_classifier.method import classify
from napari_medseg.models.catalog import entry, list_models, load_model
from napari_medseg.models.checkpoint import bundled, read_checkpoint
from napari_medseg.refinement import RefinementSession, RefinementSettings
from napari_medseg.samples.glands import gland_tile
from napari_medseg.samples.histology import nuclei_tile
from napari_medseg.samples.mri import brain_volume
from napari_medseg.samples.video import CLASSES, nerve_video

LIMITS = {
    "demo_pnet_3d": 2_000_000,
    "demo_rnet_3d": 2_000_000,
    "demo_pnet_2d": 2_000_000,
    "demo_rnet_2d": 2_000_000,
    "hippocampus_pnet": 4_000_000,
    "hippocampus_rnet": 4_000_000,
    "ultrasound_nerves": 8_000_000,
    "nuclei_dsb2018": 8_000_000,
    "stained_glands": 8_000_000,
    "afm-threshold": 4_000,
    "nerve-ridges": 4_000,
    "ccm_generated": 4_000_000,
    "demo_frame_classifier": 3_000_000,
    "demo_double_unet": 3_000_000,
}
LICENSES = {
    "nuclei_dsb2018": "CC0-1.0",
    "hippocampus_pnet": "CC-BY-SA-4.0",
    "hippocampus_rnet": "CC-BY-SA-4.0",
    "ultrasound_nerves": "CC-BY-4.0",
}
FIELDS = (
    "method", "settings", "train_settings", "epoch", "best", "version", "doi", "license", "trained_on", "command",
    "scores", "hardware", "date",
)  # fmt: skip
SHAPES = {2: (160, 160), 3: (48, 64, 56)}
SPACINGS = {2: (1.0, 1.0), 3: (1.5, 1.0, 1.0)}
SEEDS = (30_000, 30_001)  # of the cards' own test images, which training never sees
REFINED = {2: (30_004, 30_007), 3: (30_002, 30_003)}  # in 3D P-Net's best proposal and its poorest


def dice(mask: np.ndarray, truth: Image) -> float:
    return compare(truth.labels_like(np.asarray(mask)), truth, ("dice",), "binary")["dice"]


def test_the_package_holds_these_models_only(tmp_path: Path) -> None:
    assert {found.path.stem for found in list_models(tmp_path)} == set(LIMITS)


@pytest.mark.parametrize("name", LIMITS)
def test_model_is_small_and_documented(name: str) -> None:
    path = bundled(name)
    content, found = read_checkpoint(path), entry(path)
    assert path.stat().st_size < LIMITS[name]
    assert not set(content) & {"optimizer", "scaler", "state"}
    untrained = {"train_settings", "epoch", "best"} if name in TRAINING_FREE else set()
    assert all(found.card[field] for field in FIELDS if field not in untrained)
    assert found.card["sha256"] == sha256(path)
    assert found.card["license"] == LICENSES.get(name, "BSD-3-Clause")
    assert all(content[field] == found.card[field] for field in ("license", "trained_on", "version"))
    said = found.describe()
    assert found.card["trained_on"] in said if found.trained else "nothing" not in said
    assert name in found.card["command"]


def test_a_score_that_is_a_length_says_its_unit() -> None:
    """GlaS states no pixel size: a Hausdorff distance without a unit reads as micrometres."""
    assert "object hausdorff 152.619 px (n = 15)" in entry(bundled("stained_glands")).describe()


@pytest.mark.parametrize("name", LIMITS)
def test_card_names_no_folder_of_the_machine_it_was_made_on(name: str) -> None:
    content = read_checkpoint(bundled(name))
    texts = [bundled(name).with_suffix(".json").read_text(encoding="utf-8"), json.dumps(content["settings"])]
    assert not any(word in text for text in texts for word in ('"/', "/tmp", "\\\\"))


def unseen(ndim: int, seeds: tuple[int, ...] = SEEDS) -> list[tuple[Image, Image]]:
    return [brain_volume(seed, SHAPES[ndim], SPACINGS[ndim]) for seed in seeds]


@pytest.mark.parametrize("ndim", [2, 3])
def test_pnet_finds_unseen_lesions_as_its_card_says(ndim: int) -> None:
    model = load_model(bundled(f"demo_pnet_{ndim}d"), "p-net")
    stated = entry(bundled(f"demo_pnet_{ndim}d")).card["scores"]["dice"]
    for image, truth in unseen(ndim):
        found = dice(run(predict(model, image)).labels.data, truth)
        assert stated["min"] - 0.005 <= found <= stated["max"] + 0.005


@pytest.mark.parametrize("ndim", [2, 3])
def test_rnet_mends_proposals_by_robot_scribbles(ndim: int) -> None:
    pnet, rnet = (load_model(bundled(f"demo_{name}_{ndim}d")) for name in ("pnet", "rnet"))
    for image, truth in unseen(ndim, REFINED[ndim]):
        session = RefinementSession(
            image, pnet=pnet, model=rnet, settings=RefinementSettings(engine="deepigeos", device="cpu")
        )
        run(session.propose())
        before = dice(session.mask, truth)
        scribbles = np.zeros(image.spatial_shape, np.uint8)
        for _ in range(2):
            new = robot_click(truth.data, session.mask, smallest=10, radius=2)
            scribbles = np.where(new > 0, new, scribbles)
            if scribbles.any():
                run(session.refine(scribbles))
        assert dice(session.mask, truth) > before + 0.01


def test_nuclei_are_counted_on_a_generated_tile() -> None:
    image, truth = nuclei_tile(seed=7, size=192)
    found = run(predict(load_model(bundled("nuclei_dsb2018"), "fullnet"), image)).labels
    expected = int(truth.data.max())
    assert abs(len(np.unique(found.data)) - 1 - expected) <= 0.3 * expected


def test_glands_are_found_on_a_generated_tile() -> None:
    image, truth = gland_tile(3, 300)
    found = run(predict(load_model(bundled("stained_glands"), "fullnet"), image)).labels
    assert compare(found, truth, ("object_dice",), "instances")["object_dice"] > 0.7


def test_frames_are_named() -> None:
    model = load_model(bundled("demo_frame_classifier"), "frame-classifier")
    movie, _ = nerve_video(SEEDS[0], 20)
    found = classify(model, torch.from_numpy(movie.data).permute(0, 3, 1, 2)).argmax(1)
    names = [model.method.classes[k] for k in found]  # type: ignore[attr-defined]
    assert np.mean([a == b for a, b in zip(names, movie.metadata["classes"], strict=True)]) >= 0.9


def test_nerve_is_segmented() -> None:
    model = load_model(bundled("demo_double_unet"), "double-unet")
    movie, labels = nerve_video(SEEDS[0], 10)
    k = movie.metadata["classes"].index(CLASSES[0])
    frame = Image(movie.data[k], "YXC")
    mask = run(predict(model, frame)).labels
    assert dice(mask.data, frame.labels_like(labels.data[k])) >= 0.8
