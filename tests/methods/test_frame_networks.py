from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from napari_medseg.errors import CheckpointError, MissingDependencyError
from napari_medseg.method import count_parameters
from napari_medseg.methods.double_unet.method import ASPP, DoubleUnetNet, SqueezeExcite
from napari_medseg.methods.frame_classifier.method import FrameClassifierNet, monai_name
from napari_medseg.methods.frame_classifier.settings import FINE_TUNED, Backbone
from napari_medseg.nn import frames


@pytest.fixture(scope="module")
def double_unet() -> DoubleUnetNet:
    torch.manual_seed(0)
    return DoubleUnetNet().eval()


def test_double_unet_has_the_published_number_of_parameters(double_unet: DoubleUnetNet) -> None:
    assert count_parameters(double_unet)[1] == 29_290_274
    assert count_parameters(double_unet)[0] == 29_297_570
    assert count_parameters(double_unet.encoder1)[1] == 20_024_384


@pytest.mark.parametrize("size", [(32, 32), (48, 64), (37, 51)])
@torch.no_grad()
def test_double_unet_takes_any_size(double_unet: DoubleUnetNet, size: tuple[int, int]) -> None:
    output = double_unet(torch.rand(1, 3, *size))
    assert output.shape == (1, 2, *size)
    assert torch.isfinite(output).all()


@torch.no_grad()
def test_odd_size_equals_the_border_repeated(double_unet: DoubleUnetNet) -> None:
    x = torch.rand(1, 3, 30, 32)
    padded = torch.cat([x, x[:, :, -1:], x[:, :, -1:]], 2)
    torch.testing.assert_close(double_unet(x), double_unet(padded)[:, :, :30])


@torch.no_grad()
def test_second_network_sees_only_what_the_first_lets_through(double_unet: DoubleUnetNet) -> None:
    seen: list[torch.Tensor] = []
    handle = double_unet.encoder2[0].register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0]))
    x = torch.rand(1, 3, 32, 32)
    output = double_unet(x)
    handle.remove()
    torch.testing.assert_close(seen[0], x * torch.sigmoid(output[:, :1]))


@torch.no_grad()
def test_decoder_widths(double_unet: DoubleUnetNet) -> None:
    first = [block[0][0].in_channels for block in double_unet.decoder1.blocks]
    second = [block[0][0].in_channels for block in double_unet.decoder2.blocks]
    assert first == [576, 512, 256, 128]
    assert second == [832, 640, 320, 160]


@torch.no_grad()
def test_squeeze_excite_multiplies_channels_by_its_gate() -> None:
    layer = SqueezeExcite(8)
    x = torch.rand(2, 8, 5, 6)
    gate = torch.sigmoid(torch.relu(x.mean((2, 3)) @ layer.down.weight[:, :, 0, 0].T) @ layer.up.weight[:, :, 0, 0].T)
    torch.testing.assert_close(layer(x), x * gate[:, :, None, None])


@torch.no_grad()
def test_aspp_keeps_the_map_size_and_dilates_by_6_12_18() -> None:
    layer = ASPP(16).eval()
    assert layer(torch.rand(1, 16, 7, 9)).shape == (1, 64, 7, 9)
    assert [branch[0].dilation[0] for branch in layer.branches] == [1, 6, 12, 18]
    assert layer.pooled[0].bias is not None
    assert all(branch[0].bias is None for branch in layer.branches)


def test_a_batch_of_one_trains() -> None:
    torch.manual_seed(0)
    layer = ASPP(8).train()
    x = torch.rand(1, 8, 4, 4)
    layer(x).sum().backward()
    pooled = torch.nn.functional.conv2d(x.mean((2, 3), keepdim=True), layer.pooled[0].weight, layer.pooled[0].bias)
    assert layer.pooled[0].weight.grad is not None
    torch.testing.assert_close(layer.pooled[1].running_mean, 0.01 * pooled[0, :, 0, 0].detach())


@pytest.fixture(scope="module")
def classifier() -> FrameClassifierNet:
    return FrameClassifierNet()


def test_fine_tuning_trains_34_tensors(classifier: FrameClassifierNet) -> None:
    parameters = classifier.unfreeze(FINE_TUNED)
    trained = [name for name, p in classifier.named_parameters() if p.requires_grad]
    assert len(parameters) == len(trained) == 34
    assert sum(p.numel() for p in parameters) == 1_380_803
    layers = {f"backbone.features.denseblock4.denselayer{k}" for k in range(28, 33)}
    assert {name.split(".layers")[0] for name in trained if "denselayer" in name} == layers
    assert [n for n in trained if "denselayer" not in n] == [
        "backbone.features.norm5.weight", "backbone.features.norm5.bias", "head.1.weight", "head.1.bias",
    ]  # fmt: skip


def test_frozen_phase_trains_the_head_only(classifier: FrameClassifierNet) -> None:
    assert sum(p.numel() for p in classifier.unfreeze(0)) == 5_763
    assert count_parameters(classifier.backbone)[0] == 18_321_984


def test_statistics_never_change() -> None:
    torch.manual_seed(0)
    network = FrameClassifierNet("densenet121", 2)
    network.unfreeze(FINE_TUNED)
    before = {name: b.clone() for name, b in network.named_buffers()}
    network.train()
    assert network.head[0].training
    network(torch.rand(2, 3, 32, 32)).sum().backward()
    assert all(torch.equal(before[name], b) for name, b in network.named_buffers())


def torchvision_file(network: FrameClassifierNet, path: Path) -> Path:
    """Write the backbone under torchvision's names, with its classifier layer."""
    weights = {
        name.replace(".layers.", "."): torch.full_like(value, 0.01 * (k % 50 + 1))
        if value.is_floating_point()
        else value
        for k, (name, value) in enumerate(network.backbone.state_dict().items())
    }
    torch.save({**weights, "classifier.weight": torch.zeros(1000, 1024)}, path)
    return path


def test_torchvision_files_fill_every_tensor(tmp_path: Path) -> None:
    network = FrameClassifierNet("densenet121", 2)
    path = torchvision_file(network, tmp_path / "densenet121.pth")
    said = network.load_imagenet(str(path))
    assert "densenet121.pth" in said
    for k, (name, value) in enumerate(network.backbone.state_dict().items()):
        if value.is_floating_point():
            assert torch.all(value == 0.01 * (k % 50 + 1)), name
    with pytest.raises(CheckpointError, match="does not hold the weights of densenet169"):
        FrameClassifierNet("densenet169", 2).load_imagenet(str(path))


@torch.no_grad()
def test_narrow_double_unet_is_small_and_complete() -> None:
    network = DoubleUnetNet(width=8).eval()
    assert network.encoder1.widths == (8, 16, 32, 64, 64)
    assert count_parameters(network)[1] == 459_694
    assert network(torch.rand(1, 3, 33, 48)).shape == (1, 2, 33, 48)


def test_small_backbone_learns_its_statistics() -> None:
    network = FrameClassifierNet("densenet_small").train()
    assert count_parameters(network)[1] == 36_343
    before = {name: value.clone() for name, value in network.state_dict().items() if "running" in name}
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 3)
    assert all(not torch.equal(network.state_dict()[name], value) for name, value in before.items())
    assert "random" in network.load_imagenet("download")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("features.denseblock1.denselayer1.norm1.weight", "features.denseblock1.denselayer1.layers.norm1.weight"),
        ("features.denseblock4.denselayer32.conv.2.weight", "features.denseblock4.denselayer32.layers.conv2.weight"),
        ("features.transition1.norm.weight", "features.transition1.norm.weight"),
        ("features.norm5.bias", "features.norm5.bias"),
    ],
)
def test_names_of_both_generations_of_files(name: str, expected: str) -> None:
    assert monai_name(name) == expected


def test_resnet50_has_torchvisions_parameters() -> None:
    network = FrameClassifierNet("resnet50", 3)
    assert count_parameters(network.backbone)[1] == 25_557_032 - 2_049_000
    assert "layer1.0.downsample.1.running_mean" in network.backbone.state_dict()
    with torch.no_grad():
        assert network.eval()(torch.rand(1, 3, 64, 64)).shape == (1, 3)


@pytest.mark.parametrize(
    ("build", "command"),
    [("2.9.0", r"napari-medseg\[timm\]\"; or"), ("2.9.0+cpu", r"--extra-index-url https://\S+/whl/cpu; or")],
)
def test_missing_timm_names_what_to_install(monkeypatch: pytest.MonkeyPatch, build: str, command: str) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setattr(torch, "__version__", build)
    with pytest.raises(MissingDependencyError, match=rf"torch {re.escape(build)}.*{command} choose densenet201"):
        FrameClassifierNet("vit_small_patch16_224")


class FakeTimm(ModuleType):
    """Stands for timm: every model is one convolution with normalisation; pretrained ones are filled with ones."""

    def __init__(self) -> None:
        super().__init__("timm")
        self.asked: list[tuple[str, bool, int]] = []

    def create_model(self, name: str, pretrained: bool, num_classes: int) -> nn.Module:
        self.asked.append((name, pretrained, num_classes))
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), pool)
        for parameter in network.parameters() if pretrained else ():
            nn.init.ones_(parameter)
        return network


@pytest.mark.parametrize(
    "name",
    ["resnext50_32x4d", "mobilenetv3_large_100", "vit_small_patch16_224", "swin_tiny_patch4_window7_224"],
)
def test_backbones_of_timm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: Any) -> None:
    assert name in get_args(Backbone)
    timm = FakeTimm()
    monkeypatch.setitem(sys.modules, "timm", timm)
    network = FrameClassifierNet(name, 4).train()
    assert timm.asked == [(name, False, 0)]
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 4)
    assert len(network.unfreeze(2)) == 4
    assert "timm's ImageNet weights" in network.load_imagenet("download")
    assert timm.asked[-1] == (name, True, 0)
    assert bool((network.backbone[0].weight == 1).all())
    assert "random" in network.load_imagenet("none")
    torch.save({key: value * 0 for key, value in network.backbone.state_dict().items()}, tmp_path / "w.pth")
    assert "w.pth" in network.load_imagenet(str(tmp_path / "w.pth"))
    assert not network.backbone[0].weight.any()
    torch.save({"0.weight": torch.zeros(6, 3, 3, 3)}, tmp_path / "part.pth")
    with pytest.raises(CheckpointError, match=r"lacks \d tensors"):
        network.load_imagenet(str(tmp_path / "part.pth"))
    torch.save({"0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="does not hold the weights"):
        network.load_imagenet(str(tmp_path / "other.pth"))


@pytest.mark.parametrize("shape", [(4, 5), (3, 5)])
def test_median_goes_to_127(shape: tuple[int, int]) -> None:
    x = torch.from_numpy(np.random.default_rng(0).integers(100, 160, (2, 3, *shape)).astype(np.float32))
    centred = frames.median_centre(x)
    for raw, result in zip(x.numpy(), centred.numpy(), strict=True):
        expected = np.clip(raw - np.median(raw) + 127, 0, 255) / 255
        np.testing.assert_allclose(result, expected, atol=1e-6)


def test_exposure_changes_nothing_after_centring() -> None:
    x = torch.randint(60, 120, (1, 3, 9, 9)).float()
    torch.testing.assert_close(frames.median_centre(x), frames.median_centre(x + 31))


def test_number_types_reach_one_range() -> None:
    grey = np.array([[0, 51, 255]], np.uint8)
    for values in (grey, grey.astype(np.uint16) * 257, grey / np.float32(255), grey.astype(np.float64)):
        rgb = frames.to_rgb(frames.from_numpy(np.ascontiguousarray(values))[None, None])
        assert rgb.shape == (1, 3, 1, 3)
        np.testing.assert_allclose(rgb[0, 1].numpy(), grey, atol=1e-4)
