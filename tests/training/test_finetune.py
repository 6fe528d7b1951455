"""Learning from corrections: the model gets better, nothing reviewed is lost, the least certain case comes next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import entropy
from toy import ToyMethod, write_cases

from napari_medseg.batch import ReviewSheet, mean_entropy, predict_files
from napari_medseg.batch.review import ACCEPTED, EXCLUDED
from napari_medseg.cli.main import main
from napari_medseg.errors import CheckpointError, DataError
from napari_medseg.evaluate.metrics.compare import dice
from napari_medseg.image import Image
from napari_medseg.inference.network import predict
from napari_medseg.io import read_one, write
from napari_medseg.jobs import Progress, run
from napari_medseg.measure import measure
from napari_medseg.methods import create
from napari_medseg.models.catalog import entry, load_model
from napari_medseg.models.checkpoint import load_weights, pack, read_checkpoint, write_checkpoint
from napari_medseg.models.settings import CardSettings
from napari_medseg.samples.afm import afm_scan
from napari_medseg.settings import PredictSettings, TrainSettings
from napari_medseg.training.loop import cases_of, fine_tune, fine_tune_settings, fit, next_run, predict_rest

CPU = PredictSettings(device="cpu")
SIZE, N = 64, 6


@pytest.mark.parametrize("shape", [(1, 5, 7), (2, 5, 7), (3, 5, 7), (4, 3, 5, 7), (3,)])
def test_mean_entropy_is_that_of_scipy(shape: tuple[int, ...]) -> None:
    p = np.random.default_rng(0).random(shape, np.float32)
    k = shape[0]
    if k > 2:
        p /= p.sum(0)
        expected = np.mean(entropy(p, axis=0)) / np.log(k)
    else:
        expected = np.mean(entropy(np.stack([p[-1], 1 - p[-1]]), axis=0)) / np.log(2)
    assert mean_entropy(p) == pytest.approx(float(expected), abs=1e-5)


def test_mean_entropy_of_the_sure_and_of_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mean_entropy(np.zeros((1, 4, 4), np.float32)) < 1e-4
    assert mean_entropy(np.full((3, 4, 4), 1 / 3, np.float32)) == pytest.approx(1)
    p = np.random.default_rng(0).random((1, 9, 9), np.float32)
    whole = mean_entropy(p)
    monkeypatch.setattr("napari_medseg.batch.predict.BLOCK", 7)
    assert mean_entropy(p) == pytest.approx(whole)


def scan(seed: int) -> tuple[Image, Image]:
    """A generated scan upside down: what the first model never saw."""
    image, labels = afm_scan(seed, SIZE)
    return image.replace(data=np.asarray(-image.data)), labels


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small AFM network trained on ordinary scans."""
    from napari_medseg.samples.afm import afm_folder
    from napari_medseg.training.loop import train

    folder = tmp_path_factory.mktemp("first")
    afm_folder(folder / "data", 4, SIZE)
    method = create("afm-unet", {"architecture": "unet2", "dropout": 0.0})
    settings = TrainSettings(epochs=2, batch_size=2, steps_per_epoch=6, learning_rate=0.01, device="cpu")
    about = CardSettings(authors="A. Author", license="CC-BY-4.0", trained_on="generated scans")
    run(train(method, folder / "data", folder / "run", settings, about=about))
    return folder / "run" / "best.pt"


@pytest.fixture
def results(first: Path, tmp_path: Path) -> Path:
    """A folder of other scans predicted with it."""
    for seed in range(N):
        write(tmp_path / "in" / f"s{seed % 2}" / f"scan_{seed}.tif", scan(seed)[0])
    run(predict_files(load_model(first), [tmp_path / "in"], tmp_path / "out", CPU))
    return tmp_path / "out"


def correct(sheet: ReviewSheet, index: int) -> None:
    entry = sheet.entries[index]
    truth = scan(int(entry.image.stem[-1]))[1]
    image = read_one(entry.image)
    labels = read_one(sheet.folder / entry.labels, kind="labels").replace(data=np.asarray(truth.data, np.uint8))
    run(sheet.correct(index, labels, image))


def mean_dice(model: Path) -> float:
    loaded = load_model(model)
    found = [(run(predict(loaded, scan(seed)[0], CPU)).labels, scan(seed)[1]) for seed in range(20, 24)]
    return float(np.mean([dice(np.asarray(p.data), np.asarray(t.data)) for p, t in found]))


def test_learning_from_corrections_raises_dice_and_keeps_the_card(first: Path, results: Path, tmp_path: Path) -> None:
    sheet = ReviewSheet(results)
    for index in range(4):
        correct(sheet, index)
    sheet.decide(3, EXCLUDED, "torn")
    assert [pair.stem for pair in sheet.pairs()] == [sheet.entries[i].image.stem for i in range(3)]
    settings = fine_tune_settings(load_model(first).card, 3).updated(learning_rate=0.01, epochs=5, device="cpu")
    assert settings.validation_fraction == 0
    said: list[Progress] = []
    tuned = run(fine_tune(first, results, tmp_path / "tuned", settings), said.append)
    before, after = mean_dice(first), mean_dice(tmp_path / "tuned" / "best.pt")
    assert after > before + 0.2
    losses = [p.metrics["loss"] for p in said if "epoch" in p.metrics]
    assert losses[-1] < losses[0]
    assert tuned.card["authors"] == "A. Author"
    assert tuned.card["license"] == "CC-BY-4.0"
    assert tuned.card["started_from"] == load_model(first).card["sha256"]
    told = entry(tmp_path / "tuned" / "best.pt").describe()
    for line in ("authors: A. Author", "licence: CC-BY-4.0", "trained on: generated scans", "trained further from"):
        assert line in told
    split = json.loads((tmp_path / "tuned" / "split.json").read_text())
    assert len(split["train"]) == 3
    assert not split["held_out"]
    with pytest.raises(DataError, match="already holds a run"):
        run(fine_tune(first, results, tmp_path / "tuned", settings))


def test_the_rest_is_predicted_anew_and_nothing_reviewed_is_touched(first: Path, results: Path, tmp_path: Path) -> None:
    sheet = ReviewSheet(results)
    correct(sheet, 1)
    sheet.decide(2, ACCEPTED)
    before = {e.labels: (results / e.labels).read_bytes() for e in sheet.entries}
    network = create("afm-unet", {"architecture": "unet2"}).build_network()
    write_checkpoint(tmp_path / "o.pt", pack(create("afm-unet", {"architecture": "unet2"}), network.state_dict()))
    said: list[Progress] = []
    job = predict_rest(tmp_path / "o.pt", results)
    while True:  # stopped after two files, then done again
        said.append(next(job))
        if said[-1].message.endswith("done"):
            job.close()
            break
    record = run(predict_rest(tmp_path / "o.pt", results), said.append)
    assert "2 of them reviewed" in said[0].message
    after = ReviewSheet(results)
    assert [e.labels for e in after.entries] == [e.labels for e in sheet.entries]
    changed = [(results / e.labels).read_bytes() != before[e.labels] for e in after.entries]
    assert changed == [True, False, False, True, True, True]
    assert [(e.corrected, e.decision) for e in after.entries][1:3] == [(True, ""), (False, ACCEPTED)]
    assert record["model"]["sha256"] == load_model(tmp_path / "o.pt").card["sha256"]
    again = run(predict_files(load_model(first), [tmp_path / "in"], results, CPU, resume=False))
    assert len(again["files"]) == N
    assert (results / sheet.entries[1].labels).read_bytes() == before[sheet.entries[1].labels]


def test_next_is_the_open_case_with_the_largest_entropy(results: Path) -> None:
    """The oracle is the entropy of the probability maps that the batch wrote."""
    sheet = ReviewSheet(results)
    rows = sheet.content["files"]
    maps = [read_one(results / rows[str(e.image)]["probabilities"]).data for e in sheet.entries]
    wanted = [float(np.mean(entropy(np.stack([p, 1 - p]), axis=0, base=2))) for p in map(np.asarray, maps)]
    assert [e.uncertainty for e in sheet.entries] == pytest.approx(wanted, abs=1e-4)
    order = np.argsort(wanted)[::-1].tolist()
    assert sheet.most_uncertain() == order[0]
    assert sheet.most_uncertain(but=order[0]) == order[1]
    sheet.decide(order[0], ACCEPTED)
    correct(sheet, order[1])
    assert sheet.most_uncertain() == order[2]
    for index in order[2:]:
        sheet.decide(index, EXCLUDED, "dark")
    assert sheet.most_uncertain() is None


def test_a_correction_is_measured_anew_in_its_own_rows_only(results: Path) -> None:
    def rows(name: str) -> pd.DataFrame:
        return pd.read_csv(results / name, dtype=str, keep_default_na=False)

    before, sheet = rows("measurements.csv"), ReviewSheet(results)
    assert "decision" not in before
    correct(sheet, 2)
    sheet.decide(2, EXCLUDED, "torn, blurred")
    after, summary = rows("measurements.csv"), rows("summary.csv")
    name = sheet.entries[2].image.name
    own = after[after["image"] == name]
    truth = scan(int(Path(name).stem[-1]))[1]
    image = read_one(sheet.entries[2].image)
    expected = measure("afm", image.labels_like(np.asarray(truth.data, np.uint8)), image)
    assert own["label"].tolist() == expected["label"].astype(str).tolist()
    area = next(c for c in expected.columns if c.startswith("area"))
    assert own[area].astype(float).tolist() == pytest.approx(expected[area].tolist())
    assert set(own["decision"]) == {EXCLUDED}
    assert set(own["decision reason"]) == {"torn, blurred"}
    columns = before.columns
    pd.testing.assert_frame_equal(
        after.loc[after["image"] != name, columns].reset_index(drop=True),
        before[before["image"] != name].reset_index(drop=True),
    )
    assert after["image"].drop_duplicates().tolist() == before["image"].drop_duplicates().tolist()
    line = summary.set_index("image").loc[name]
    assert (line["decision"], line["decision reason"], line["corrected"]) == (EXCLUDED, "torn, blurred", "yes")
    assert float(line["cells"] if "cells" in line else len(own)) == len(expected)
    reopened = json.loads((results / "run.json").read_text())
    assert ReviewSheet(results).entries[2].corrected
    assert len(reopened["files"]) == N


def test_tables_are_the_same_when_the_batch_is_concluded_again(first: Path, results: Path, tmp_path: Path) -> None:
    sheet = ReviewSheet(results)
    correct(sheet, 0)
    sheet.decide(3, ACCEPTED)
    updated = pd.read_csv(results / "measurements.csv", dtype=str, keep_default_na=False)
    run(predict_files(load_model(first), [tmp_path / "in"], results, CPU))
    concluded = pd.read_csv(results / "measurements.csv", dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(updated[concluded.columns], concluded)


def test_training_starts_from_the_weights(tmp_path: Path) -> None:
    folder, method = write_cases(tmp_path / "cases"), ToyMethod()
    torch.manual_seed(3)
    weights = method.build_network().state_dict()
    write_checkpoint(tmp_path / "start.pt", pack(method, weights))
    still = TrainSettings(epochs=1, batch_size=2, learning_rate=1e-12, device="cpu")
    pairs = method.find_pairs(folder).pairs
    run(fit(method, pairs, (), still, tmp_path / "run", start=tmp_path / "start.pt"))
    trained = read_checkpoint(tmp_path / "run" / "best.pt")["state_dict"]
    for name in ("0.weight", "0.bias", "4.weight", "4.bias"):
        torch.testing.assert_close(trained[name], weights[name])
    fresh = run(fit(method, pairs, (), still, tmp_path / "fresh")).network.state_dict()
    assert not torch.allclose(fresh["0.weight"], weights["0.weight"])


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [("sc-dcnn", {"width": 4}, "sc-dcnn model"), ("afm-unet", {"architecture": "unet3"}, "another network.*unet3")],
)
def test_other_networks_are_refused(name: str, settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    other, method = create(name, settings), create("afm-unet", {"architecture": "unet2"})
    write_checkpoint(tmp_path / "o.pt", pack(other, other.build_network().state_dict()))
    network = method.build_network()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_weights(method, network, tmp_path / "o.pt")
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_command_trains_from_a_reviewed_batch(
    first: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "afm-unet", str(results), "-o", str(tmp_path / "r"), "--from", str(first), "--json"]
    words += ["--epochs", "1", "--steps-per-epoch", "1", "--batch-size", "1", "--device", "cpu"]
    sheet = ReviewSheet(results)
    sheet.save()
    with pytest.raises(DataError, match="accepted or corrected"):
        cases_of(create("afm-unet"), results)
    assert main(words) == 2
    assert "Review some cases first" in capsys.readouterr().err
    sheet.decide(0, ACCEPTED)
    assert main([*words, "--authors", "B. Author"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["settings"]["architecture"] == "unet2", "the settings are those of the model it starts from"
    assert (card["authors"], card["license"]) == ("B. Author", "CC-BY-4.0")
    assert main([*words, "--architecture", "unet3"]) == 2
    assert "another network" in capsys.readouterr().err
    assert next_run(results) == results / "finetune-1"


def test_the_start_is_scored_on_the_held_out_cases(tmp_path: Path) -> None:
    """The oracle is a validation of the same weights in a run of its own."""
    folder, method = write_cases(tmp_path / "cases"), ToyMethod()
    torch.manual_seed(3)
    network = method.build_network()
    write_checkpoint(tmp_path / "start.pt", pack(method, network.state_dict()))
    settings = TrainSettings(epochs=2, batch_size=2, learning_rate=0.05, device="cpu")
    pairs = method.find_pairs(folder).pairs
    said: list[Progress] = []
    job = fit(method, pairs[:4], pairs[4:], settings, tmp_path / "run", start=tmp_path / "start.pt")
    model = run(job, said.append)
    losses = []
    for pair in pairs[4:]:
        x, y = method.load_pair(pair)
        with torch.no_grad():
            output = network.eval()(torch.from_numpy(x)[None])
            losses.append(float(method.loss(output, torch.from_numpy(y)[None], torch.from_numpy(x)[None])["loss"]))
    assert model.card["before"]["val_loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert history["epoch"].tolist() == [0, 1, 2]
    assert history["val_loss"][0] == pytest.approx(np.mean(losses), rel=1e-4)
    assert any(p.message.startswith("before training: val_loss") for p in said)
    again = run(fit(method, pairs[:4], pairs[4:], settings, tmp_path / "run", resume=True, start=tmp_path / "start.pt"))
    assert "before" not in again.card
    plain = run(fit(method, pairs[:4], pairs[4:], settings, tmp_path / "plain"))
    assert "before" not in plain.card
