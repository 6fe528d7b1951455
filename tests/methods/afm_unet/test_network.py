from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_medseg.method import count_parameters
from napari_medseg.methods.afm_unet.network import build_unet, receptive_radius

# architecture: (total with moving statistics, trainable) of the printed Keras summaries
KERAS_TOTALS = {
    "unet2": (25_905, 25_649),
    "unet3": (118_097, 117_425),
    "unet4": (484_753, 483_249),
    "unet5": (1_947_153, 1_943_985),
    "vgg16": (25_862_337, 25_858_497),
    "vgg19": (31_172_033, 31_168_193),
    "xception": (38_431_449, 38_370_009),
}


@pytest.mark.parametrize("architecture", KERAS_TOTALS)
def test_parameter_totals_are_the_papers(architecture: str) -> None:
    with torch.device("meta"):
        network = build_unet(architecture, 1, 0.5)
    assert count_parameters(network) == KERAS_TOTALS[architecture]


@pytest.mark.parametrize("levels", [2, 3, 4, 5])
def test_three_channels_add_288(levels: int) -> None:
    with torch.device("meta"):
        network = build_unet(f"unet{levels}", 3, 0.5)
    assert count_parameters(network)[1] == KERAS_TOTALS[f"unet{levels}"][1] + 288


@pytest.mark.parametrize(("architecture", "size"), [("unet2", 2), ("unet5", 16), ("vgg16", 16), ("xception", 32)])
def test_logits_have_the_input_size(architecture: str, size: int) -> None:
    channels = 1 if architecture.startswith("unet") else 3
    network = build_unet(architecture, channels, 0.5).eval()
    with torch.no_grad():
        assert network(torch.rand(1, channels, 2 * size, 3 * size)).shape == (1, 1, 2 * size, 3 * size)


def _linear_copy(network: nn.Module) -> nn.Module:
    """Make all weights positive, so that no gradients cancel."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    return network.double().eval()


def _reach(architecture: str, size: int, positions: list[int]) -> int:
    network = _linear_copy(build_unet(architecture, 1, 0.0))
    x = torch.rand(1, 1, size, 16, dtype=torch.float64, requires_grad=True)
    reach = 0
    for row in positions:  # max-pooling hides pixels from one row's gradient
        (gradient,) = torch.autograd.grad(network(x)[0, 0, row].sum(), x)
        seen = gradient[0, 0].abs().sum(1).nonzero().ravel()
        reach = max(reach, row - int(seen.min()), int(seen.max()) - row)
    return reach


@pytest.mark.parametrize("architecture", ["unet2", "unet3"])
def test_radius_bounds_the_gradient(architecture: str) -> None:
    radius = receptive_radius(architecture)
    reach = _reach(architecture, 96, list(range(40, 56)))
    assert radius * 0.7 <= reach <= radius


@pytest.mark.parametrize("architecture", ["unet5", "vgg16", "xception"])
def test_pixels_beyond_the_radius_do_not_matter(architecture: str) -> None:
    radius, channels = receptive_radius(architecture), 1 if architecture == "unet5" else 3
    network = build_unet(architecture, channels, 0.0).double().eval()
    size = -(-(2 * radius + 32) // 32) * 32
    row = size // 2 + 3
    x = torch.rand(1, channels, size, 32 if architecture == "xception" else 16, dtype=torch.float64)
    changed = x.clone()
    changed[..., : row - radius, :] = 0
    changed[..., row + radius + 1 :, :] = 1
    with torch.no_grad():
        assert torch.equal(network(x)[..., row, :], network(changed)[..., row, :])


def test_radii_are_the_derived_numbers() -> None:
    radii = [receptive_radius(name) for name in ("unet2", "unet3", "unet4", "unet5", "vgg16", "vgg19")]
    assert radii == [10, 26, 58, 122, 135, 163]
    assert receptive_radius("xception") > 700
