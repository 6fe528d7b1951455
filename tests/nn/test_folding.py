"""Batch norm folded into convolutions gives the same answers, follows new weights, and leaves the network as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_medseg.methods.afm_unet.network import LevelUNet
from napari_medseg.methods.double_unet.method import DoubleUnetNet
from napari_medseg.methods.sc_dcnn.network import ScDcnnNet
from napari_medseg.nn.batch_norm import folded

NETWORKS = {
    "unet": (lambda: LevelUNet(3), (2, 1, 32, 32)),
    "sc-dcnn": (lambda: ScDcnnNet(width=4, levels=3), (2, 1, 32, 32)),
    "sc-dcnn 3D": (lambda: ScDcnnNet(3, width=4, levels=3), (1, 1, 8, 8, 8)),
    "double-unet": (lambda: DoubleUnetNet(8), (2, 3, 32, 32)),
}


def norms(network: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d) for m in network.modules())


def trained(name: str) -> tuple[nn.Module, torch.Tensor]:
    """Return a network whose statistics, scales and shifts are not those of a fresh one, and an input."""
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    network = make()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                assert tensor is not None
                tensor.normal_(1.0, 0.2)
            assert module.running_var is not None
            module.running_var.uniform_(0.5, 2.0)
    return network.eval(), torch.randn(shape)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_answers_are_the_same_with_fewer_layers(name: str) -> None:
    network, x = trained(name)
    before, expected = norms(network), network(x)
    torch.testing.assert_close(folded(network)(x), expected, rtol=1e-4, atol=1e-4)
    assert norms(folded(network)) == 0
    assert norms(network) == before


@torch.no_grad()
def test_copy_is_kept_until_a_weight_changes() -> None:
    network, x = trained("unet")
    first = folded(network)
    assert folded(network) is first
    next(network.parameters()).mul_(2)
    torch.testing.assert_close(folded(network)(x), network(x), rtol=1e-4, atol=1e-4)


def test_nothing_is_folded_in_training_or_without_batch_norm() -> None:
    network, _ = trained("unet")
    assert folded(network.train()) is network
    plain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).eval()
    assert folded(plain) is plain
