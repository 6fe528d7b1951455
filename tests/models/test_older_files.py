"""Checkpoints and a session that commit 70a8961 wrote open today and give what they gave then.

Networks were made small and left as they were initialised; the pictures are the formulas of this page.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_medseg.image import Image
from napari_medseg.inference.network import predict
from napari_medseg.io.pairs import find_pairs
from napari_medseg.jobs import run
from napari_medseg.methods import create
from napari_medseg.models.catalog import load_model
from napari_medseg.models.checkpoint import read_checkpoint
from napari_medseg.refinement import RefinementSession
from napari_medseg.settings import PredictSettings, TrainSettings
from napari_medseg.training import fit

OLDER = Path(__file__).parents[1] / "data" / "older"


def waves(n_channels: int) -> Image:
    y, x = np.mgrid[:48, :40]
    planes = [np.uint8(120 + 100 * np.sin((y * (k + 2) + x * 3) / 11)) for k in range(n_channels)]
    data, axes = (np.stack(planes, -1), "YXC") if n_channels > 1 else (planes[0], "YX")
    return Image(data, axes, (0.5, 0.5), ("micrometer",) * 2, name="waves")


@pytest.mark.parametrize("name", ["afm-unet", "sc-dcnn", "fullnet", "p-net", "r-net"])
def test_older_model_gives_the_same_answer(name: str) -> None:
    model = load_model(OLDER / f"{name}.pt")
    found = run(
        predict(model, waves(3 if name == "fullnet" else 1), PredictSettings(device="cpu", precision="float32"))
    )
    with np.load(OLDER / f"{name}.npz") as before:
        np.testing.assert_allclose(found.probabilities, before["probabilities"], atol=1e-5)
        np.testing.assert_array_equal(found.labels.data, before["labels"])


def test_older_training_goes_on(tmp_path: Path) -> None:
    shutil.copytree(OLDER / "run", tmp_path / "run")
    content = read_checkpoint(tmp_path / "run" / "last.pt")
    settings = TrainSettings.parse(content["train_settings"])
    method = create(content["method"], content["settings"])
    run(fit(method, find_pairs(OLDER / "data").pairs, (), settings, tmp_path / "run", resume=True))
    after = read_checkpoint(tmp_path / "run" / "last.pt")
    assert (content["epoch"], after["epoch"]) == (1, settings.epochs)
    assert after["history"][0] == content["history"][0]


def test_older_session_opens_at_its_round_with_its_mask() -> None:
    session = RefinementSession.load(OLDER / "session", waves(1))
    with np.load(OLDER / "session.npz") as before:
        np.testing.assert_array_equal(session.mask_image().data, before["mask"])
        np.testing.assert_array_equal(session.scribbles, before["scribbles"])
    assert session.can_redo
    marks = session.scribbles.copy()
    marks[40, 2:9] = 1
    run(session.refine(marks))
    assert (session.mask_image().data[40, 2:9] == 0).all()
