from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from napari_medseg.errors import CheckpointError, ReadError
from napari_medseg.nn import pretrained
from napari_medseg.nn.encoders import VGG
from napari_medseg.nn.pretrained import fetch, load_imagenet, model_folder, read_weights


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))


def _published(folder: Path, network: nn.Module, name: str = "weights.pth") -> tuple[Path, dict[str, torch.Tensor]]:
    weights = {k: torch.rand_like(v) if v.is_floating_point() else v for k, v in network.state_dict().items()}
    path = folder / name
    torch.save({**weights, "classifier.0.weight": torch.zeros(4, 4)}, path)
    return path, weights


def _with_checksum(folder: Path, path: Path) -> Path:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return path.rename(folder / f"tiny-{digest}.pth")


def test_local_file_is_loaded_by_name_and_its_head_left(tmp_path: Path) -> None:
    network = Tiny()
    path, weights = _published(tmp_path, network)
    assert "ImageNet weights of weights.pth" in load_imagenet(network, "vgg16", str(path))
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, weights[key])


def test_torchvision_layout_fits_vgg(tmp_path: Path) -> None:
    vgg = VGG("vgg16")
    path, weights = _published(tmp_path, vgg)
    load_imagenet(vgg, "vgg16", str(path))
    torch.testing.assert_close(vgg.features[28].weight, nn.Parameter(weights["features.28.weight"]))


def test_renamed_nested_and_flattened_kernels(tmp_path: Path) -> None:
    network = nn.Conv2d(4, 2, 1, bias=False)
    torch.save({"state_dict": {"module.weight": torch.ones(2, 4)}}, tmp_path / "a.pth")
    load_imagenet(network, "xception", str(tmp_path / "a.pth"), rename=lambda key: key.removeprefix("module."))
    assert torch.equal(network.weight, torch.ones(2, 4, 1, 1))


def test_none_leaves_the_network_and_says_so() -> None:
    network = Tiny()
    before = network.features[0].weight.clone()
    assert "random" in load_imagenet(network, "vgg16", "none")
    assert torch.equal(network.features[0].weight, before)


def test_download_checks_keeps_and_reuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Tiny()
    (tmp_path / "server").mkdir()
    path, weights = _published(tmp_path / "server", network)
    path = _with_checksum(tmp_path / "server", path)
    monkeypatch.setitem(pretrained.URLS, "vgg16", path.as_uri())
    load_imagenet(network, "vgg16", "download", folder=tmp_path / "models")
    torch.testing.assert_close(network.features[0].weight, nn.Parameter(weights["features.0.weight"]))
    path.unlink()
    assert "ImageNet" in load_imagenet(Tiny(), "vgg16", "download", folder=tmp_path / "models")
    assert os.listdir(tmp_path / "models") == [path.name]


def test_damaged_copy_is_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    path = _with_checksum(tmp_path / "server", _published(tmp_path / "server", Tiny())[0])
    (tmp_path / path.name).write_bytes(b"cut short")
    assert fetch(path.as_uri(), tmp_path).read_bytes() == path.read_bytes()


def test_offline_or_wrong_checksum_warns_loudly_and_stays_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Tiny()
    before = network.features[0].weight.clone()
    path, _ = _published(tmp_path, network, "tiny-00000000.pth")
    for url, reason in (((tmp_path / "absent-12345678.pth").as_uri(), "absent"), (path.as_uri(), "checksum")):
        monkeypatch.setitem(pretrained.URLS, "vgg16", url)
        with pytest.warns(UserWarning, match=rf"(?s){reason}.*RANDOM"):
            message = load_imagenet(network, "vgg16", "download", folder=tmp_path / "models")
        assert "RANDOM" in message
        assert torch.equal(network.features[0].weight, before)
        assert os.listdir(tmp_path / "models") == []


def test_wrong_network_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    network = Tiny()
    before = network.features[0].weight.clone()
    path, _ = _published(tmp_path, nn.Sequential(nn.Conv2d(3, 2, 3)))
    with pytest.raises(CheckpointError, match=r"does not hold the weights of vgg19.*vgg19-dcbb9e9d"):
        load_imagenet(network, "vgg19", str(path))
    assert torch.equal(network.features[0].weight, before)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch owned",)


def test_code_damage_and_absence_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    good, _ = _published(tmp_path, Tiny())
    (tmp_path / "cut.pth").write_bytes(good.read_bytes()[:200])
    (tmp_path / "empty.pth").touch()
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("evil", "cut", "empty", "list", "absent"):
        with pytest.raises(CheckpointError, match=rf"{name}\.pth"):
            read_weights(tmp_path / f"{name}.pth")
    assert not (tmp_path / "owned").exists()


def test_model_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_MODEL_FOLDER", str(tmp_path))
    assert model_folder() == tmp_path
    monkeypatch.delenv("MEDSEG_MODEL_FOLDER")
    assert model_folder().name == "checkpoints"


def test_files_are_torchvisions_whose_names_hold_their_checksum() -> None:
    """Names as torchvision 0.13 and later (V1 weights) and timm 0.1 publish them."""
    assert {name: url.rsplit("/", 1)[1] for name, url in pretrained.URLS.items()} == {
        "vgg16": "vgg16-397923af.pth",
        "vgg19": "vgg19-dcbb9e9d.pth",
        "xception": "xception-43020ad28.pth",
        "densenet121": "densenet121-a639ec97.pth",
        "densenet169": "densenet169-b2777c0a.pth",
        "densenet201": "densenet201-c1103571.pth",
        "resnet50": "resnet50-0676ba61.pth",
    }
    for stem, whole in pretrained.SHA256.items():
        assert len(whole) == 64
        assert whole.startswith(stem.rsplit("-", 1)[1])


def test_a_known_checksum_counts_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "server").mkdir()
    path = _with_checksum(tmp_path / "server", _published(tmp_path / "server", Tiny())[0])
    monkeypatch.setitem(pretrained.SHA256, path.stem, path.stem.rsplit("-", 1)[1].ljust(64, "0"))
    with pytest.raises(ReadError, match="arrived damaged"):
        fetch(path.as_uri(), tmp_path)
