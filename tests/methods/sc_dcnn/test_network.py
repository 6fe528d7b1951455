from __future__ import annotations

import math

import pytest
import torch
from shorthand import trainable

from napari_medseg.methods.sc_dcnn.network import ResidualBlock, ScDcnnNet, match_channels, receptive_radius


def test_parameter_counts_of_the_spec() -> None:
    network = ScDcnnNet()
    assert trainable(network) == 2_161_856
    statistics = [b for name, b in network.named_buffers() if "running" in name]
    assert sum(b.numel() for b in statistics) == 3_424
    affine = [p for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d) for p in m.parameters()]
    assert sum(p.numel() for p in affine) == 3_424


@pytest.mark.parametrize(("ndim", "shape"), [(2, (32, 48)), (3, (16, 16, 32))])
def test_output_has_the_size_of_the_input(ndim: int, shape: tuple[int, ...]) -> None:
    network = ScDcnnNet(ndim=ndim, width=2)
    assert network(torch.randn(2, 1, *shape)).shape == (2, 2, *shape)


def test_logit_relu() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 1, 32, 32)
    plain, clipped = ScDcnnNet(width=2), ScDcnnNet(width=2, logit_relu=True)
    clipped.load_state_dict(plain.state_dict())
    logits = plain(x)
    assert logits.min() < 0
    torch.testing.assert_close(clipped(x), logits.clamp(min=0))


def test_shortcut_pads_or_cuts_channels() -> None:
    x = torch.randn(1, 3, 4, 4)
    padded = match_channels(x, 5)
    assert torch.equal(padded[:, :3], x)
    assert not padded[:, 3:].any()
    assert torch.equal(match_channels(x, 2), x[:, :2])


def test_block_with_silent_branch_returns_the_shortcut() -> None:
    block = ResidualBlock(2, 2, 2, 0.0).eval()
    torch.nn.init.zeros_(block.norm2.weight)  # type: ignore[arg-type]
    x = torch.randn(1, 2, 8, 8)
    assert torch.equal(block(x), x.relu())


def test_initial_weights() -> None:
    torch.manual_seed(0)
    network = ScDcnnNet()
    cut = 0.8796  # SD of a unit normal cut at 2 SD
    for weight, width in (
        (network.down[4].conv2.weight, 256),
        (network.up[0].up.weight, 256),
        (network.up[0].block.conv2.weight, 256),
        (network.up[2].up.weight, 64),
    ):
        std = math.sqrt(2 / (9 * width))
        assert weight.std().item() == pytest.approx(cut * std, rel=0.03)
        assert weight.abs().max().item() <= 2 * std
    assert not network.down[0].conv1.bias.any()


def test_nothing_beyond_the_receptive_radius_matters() -> None:
    torch.manual_seed(0)
    network = ScDcnnNet(width=1).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.weight.data.abs_()
    x = torch.rand(1, 1, 336, 336, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x)[0, 1, 168, 168], x)
    reached = gradient[0, 0].nonzero()
    assert (reached - 168).abs().max() <= receptive_radius()
    assert (reached - 168).abs().max() > 100
