"""Checkpoints: round trip, atomic, and every kind of bad file refused in one sentence."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from napari_medseg.errors import CheckpointError, MedSegError, WriteError
from napari_medseg.methods import create
from napari_medseg.models.catalog import load_model
from napari_medseg.models.checkpoint import pack, read_checkpoint, write_checkpoint

SETTINGS = {"architecture": "unet2"}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    method = create("afm-unet", SETTINGS)
    path = tmp_path / "best.pt"
    write_checkpoint(path, pack(method, method.build_network().state_dict(), license="CC0-1.0"))
    return path


def test_save_and_load_give_the_same_network(checkpoint: Path) -> None:
    first, second = load_model(checkpoint), load_model(checkpoint)
    x = torch.rand(1, 1, 32, 32)
    assert torch.equal(first.network(x), second.network(x))
    assert first.card["license"] == "CC0-1.0"
    assert first.card["method"] == "afm-unet"
    assert len(first.card["sha256"]) == 64


def test_truncated(checkpoint: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[: checkpoint.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"damaged or cut short|refused"):
        load_model(checkpoint)


def test_empty_and_missing(tmp_path: Path) -> None:
    (tmp_path / "empty.pt").touch()
    for name in ("empty.pt", "missing.pt"):
        with pytest.raises(CheckpointError, match=name):
            load_model(tmp_path / name)


@pytest.mark.parametrize("begins", [b"\x1f\x8b\x08", b"\x89PNG", b"import torch"])
def test_an_image_or_a_text_is_no_model(tmp_path: Path, begins: bytes) -> None:
    (tmp_path / "mask.nii.gz").write_bytes(begins + bytes(100))
    with pytest.raises(CheckpointError, match=r"mask\.nii\.gz is no model"):
        load_model(tmp_path / "mask.nii.gz")


def test_newer_format(checkpoint: Path) -> None:
    write_checkpoint(checkpoint, {**read_checkpoint(checkpoint), "format": 99})
    with pytest.raises(CheckpointError, match="format 99"):
        load_model(checkpoint)


def test_other_method(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is a afm-unet model; here a p-net"):
        load_model(checkpoint, "p-net")


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch exploded",)


def test_pickled_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 1, "method": _Bomb(), "settings": {}, "state_dict": {}}, "bomb.pt")
    Path("plain.pt").write_bytes(pickle.dumps(_Bomb()))
    for name in ("bomb.pt", "plain.pt"):
        with pytest.raises(CheckpointError, match="refused"):
            load_model(name)
    assert not Path("exploded").exists()


def test_wrong_weights(checkpoint: Path) -> None:
    content = read_checkpoint(checkpoint)
    write_checkpoint(checkpoint, {**content, "settings": {**content["settings"], "architecture": "unet3"}})
    with pytest.raises(CheckpointError, match="does not fit"):
        load_model(checkpoint)


def test_a_failed_write_leaves_the_old_file_intact(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = checkpoint.read_bytes()

    def full_disk(content: object, file: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(WriteError, match="No space left"):
        write_checkpoint(checkpoint, {})
    assert checkpoint.read_bytes() == before
    assert [p.name for p in checkpoint.parent.iterdir()] == ["best.pt"]


def test_errors_are_no_runtime_errors() -> None:
    """The thread workers of the window swallow RuntimeError."""
    assert not issubclass(MedSegError, RuntimeError)
