"""Checkpoints that are no model, would fill the memory, or hold numbers that are none."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_medseg.errors import CheckpointError, DataError
from napari_medseg.image import Image
from napari_medseg.inference.network import predict
from napari_medseg.jobs import run
from napari_medseg.methods import create
from napari_medseg.models.catalog import entry, list_models, load_model
from napari_medseg.models.checkpoint import load_weights, pack, read_checkpoint, write_checkpoint
from napari_medseg.nn.pretrained import read_weights
from napari_medseg.settings import PredictSettings


@pytest.fixture
def good(tmp_path: Path) -> Path:
    method = create("afm-unet", {"architecture": "unet2"})
    write_checkpoint(tmp_path / "good.pt", pack(method, method.build_network().state_dict()))
    return tmp_path / "good.pt"


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path.with_name("changed.pt"))
    return path.with_name("changed.pt")


@pytest.mark.parametrize("number", [-5, 0, True, 2, 99, 1.0, "1", None])
def test_formats_that_there_are_not_are_refused(good: Path, number: object) -> None:
    with pytest.raises(CheckpointError, match="is of format"):
        load_model(changed(good, lambda content: content.update(format=number)))


@pytest.mark.parametrize("part", ["method", "settings", "state_dict"])
def test_parts_of_another_type_are_refused(good: Path, part: str) -> None:
    with pytest.raises(CheckpointError):
        load_model(changed(good, lambda content: content.update({part: 7})))


@pytest.mark.parametrize("said", [{"scores": float("nan")}, {"scores": {"dice": {"mean": "x", "n": 1}}}, {"best": []}])
def test_cards_whose_values_cannot_be_shown_are_none(good: Path, said: dict[str, Any]) -> None:
    card = {"method": "afm-unet", "settings": {"architecture": "unet2"}, **said}
    good.with_suffix(".json").write_text(json.dumps(card), encoding="utf-8")
    assert "afm-unet" in entry(good).describe()  # the checkpoint speaks for itself
    assert not entry(good).problem
    good.with_suffix(".json").unlink()
    known = {key: value for key, value in said.items() if key != "scores"}
    assert known == {} or "damaged" in entry(changed(good, lambda content: content.update(known))).problem


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(good: Path, value: float) -> None:
    def spoil(content: dict[str, Any]) -> None:
        next(iter(content["state_dict"].values())).view(-1)[0] = value

    path = changed(good, spoil)
    with pytest.raises(CheckpointError, match="not finite"):
        load_model(path)
    method = create("afm-unet", {"architecture": "unet2"})
    with pytest.raises(CheckpointError, match="not finite"):
        load_weights(method, method.build_network(), path)


def test_answers_that_are_not_finite_are_refused(good: Path) -> None:
    model = load_model(good)
    for parameter in model.network.parameters():
        parameter.data.fill_(1e38)
    picture = Image(np.random.default_rng(0).random((32, 32)).astype(np.float32), "YX")
    with pytest.raises(DataError, match="not finite"):
        run(predict(model, picture, PredictSettings(device="cpu", precision="float32")))


def test_an_archive_that_inflates_is_refused_before_it_does(good: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        for one in source.infolist():
            target.writestr(one.filename, source.read(one))
        target.writestr("archive/data/999", bytes(2**26))
    assert bomb.stat().st_size < 2**24
    for read in (read_checkpoint, read_weights):
        with pytest.raises(CheckpointError, match="would unpack to"):
            read(bomb)


def test_arrays_that_claim_more_than_they_hold_are_refused(good: Path) -> None:
    def widen(content: dict[str, Any]) -> None:
        content["state_dict"]["a"] = torch.zeros(1).expand(2**40)

    with pytest.raises(CheckpointError, match="no plain array"):
        load_model(changed(good, widen))


def test_values_that_refer_to_each_other_without_end_are_refused(good: Path) -> None:
    value: list[Any] = [0] * 10
    for _ in range(12):
        value = [value] * 10
    with pytest.raises(CheckpointError, match="beside its weights"):
        read_checkpoint(changed(good, lambda content: content.update(settings={"a": value})))


@pytest.mark.parametrize(
    "text", ["{}", "[1]", "7", "{", "[" * 50_000, '{"method": 7, "settings": {}}', '{"method": "x"}']
)
def test_the_json_of_another_program_beside_a_model_is_ignored(good: Path, text: str) -> None:
    good.with_suffix(".json").write_text(text, encoding="utf-8")
    found = entry(good)
    assert (found.problem, found.card["method"]) == ("", "afm-unet")
    assert found.unfit(Image(np.zeros((32, 32), np.float32), "YX")) == ""
    assert "afm-unet" in found.describe()
    assert good in [one.path for one in list_models(good.parent)]


def test_the_card_beside_a_model_is_its_own(good: Path) -> None:
    card = {"method": "afm-unet", "settings": {}, "authors": "A. B."}
    good.with_suffix(".json").write_text(json.dumps(card), encoding="utf-8")
    assert "A. B." in entry(good).describe()


def test_a_network_that_fails_is_reported_where_torch_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_medseg.device import is_out_of_memory

    monkeypatch.delattr(torch, "OutOfMemoryError", raising=False)
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
    assert is_out_of_memory(RuntimeError("CUDA out of memory"))
