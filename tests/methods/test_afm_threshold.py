"""AFM cells without training: the method, its warning, and its score on real scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_medseg import io
from napari_medseg.errors import DataError
from napari_medseg.evaluate.metrics.compare import compare
from napari_medseg.image import Image
from napari_medseg.inference import predict
from napari_medseg.io.grids import same_grid
from napari_medseg.io.pairs import find_pairs
from napari_medseg.jobs import run
from napari_medseg.method import Model
from napari_medseg.methods import create
from napari_medseg.models.catalog import load_model
from napari_medseg.samples.afm import afm_scan
from napari_medseg.settings import PredictSettings

NAME = "afm-threshold"


def test_cells_of_a_generated_scan() -> None:
    image, truth = afm_scan(1, 256)
    result = run(predict(load_model(NAME), image))
    assert compare(result.labels, truth, ("mcc",))["mcc"] > 0.75
    assert same_grid(result.labels, truth)
    assert result.doubts == ()


def test_settings_are_kept() -> None:
    method = create(NAME, {"threshold": 3.0, "min_area": 10, "fill_holes": 5})
    height = np.zeros((40, 40), np.float32)
    height[5:9, 5:9], height[20:30, 20:30], height[24, 24] = 10, 3.1, 0
    assert method.activate(torch.tensor([[[3.0]]])).item() == pytest.approx(0.5)
    probabilities = height[None] / (height[None] + 3)
    labels = np.asarray(method.postprocess(probabilities, Image(height, "YX")).data)
    assert labels.sum() == 16 + 100
    assert labels[24, 24] == 1


@pytest.mark.parametrize(("share", "word"), [(0.0, "No cell"), (0.9, "not found"), (0.2, "")])
def test_suspicious_shares_are_doubted(share: float, word: str) -> None:
    labels = Image((np.arange(1000).reshape(20, 50) < 1000 * share).astype(np.uint8), "YX", kind="labels")
    doubt = create(NAME).doubt(labels)
    assert word in doubt
    assert bool(doubt) == bool(word)


def test_doubt_reaches_the_record(tmp_path: Path) -> None:
    from napari_medseg.batch import predict_files

    rng = np.random.default_rng(0)
    io.write(tmp_path / "empty.tif", Image(rng.normal(0, 1, (64, 64)).astype(np.float32), "YX", name="empty"))
    record = run(predict_files(load_model(NAME), [tmp_path / "empty.tif"], tmp_path / "out", PredictSettings()))
    (row,) = record["files"].values()
    assert "lower the threshold" in " ".join(row["notes"])


def test_other_images_are_refused() -> None:
    model = Model(create(NAME), create(NAME).build_network(), {})
    with pytest.raises(DataError, match="one height channel"):
        run(predict(model, Image(np.zeros((8, 8, 3), np.uint8), "YXC")))


@pytest.mark.data
def test_real_scans(shared_data: Path) -> None:
    pairs = find_pairs(shared_data / "afm" / "astrocytes" / "valid").pairs
    model = load_model(NAME)
    values = []
    for pair in pairs:
        assert pair.label is not None
        labels = run(predict(model, io.read_one(pair.image))).labels
        values.append(compare(labels, io.read_one(pair.label, "labels"), ("mcc",))["mcc"])
    assert len(values) == 12
    assert np.mean(values) >= 0.82
