from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from napari_medseg.methods.fullnet.network import FullNetNetwork, receptive_radius


@pytest.mark.parametrize(("options", "count"), [
    ({}, 1_780_233), ({"bottleneck": True}, 1_803_129), ({"hybrid": False}, 1_780_233), ({"pooling": True}, 1_780_233),
])  # fmt: skip
def test_parameters_are_the_papers(options: dict[str, bool], count: int) -> None:
    assert sum(p.numel() for p in FullNetNetwork(**options).parameters()) == count


def test_channels_and_order_are_the_papers() -> None:
    network = FullNetNetwork()
    into = [block.layers[0][0][0].in_channels for block in network.stages if hasattr(block, "layers")]
    assert into == [24, 84, 114, 129, 136, 140, 142]
    head = network.stages[-1]
    assert isinstance(head, nn.Conv2d)
    assert (head.in_channels, head.out_channels, head.bias) == (143, 3, None)
    stem = network.stages[0]
    assert isinstance(stem, nn.Sequential)
    assert all(map(isinstance, stem, (nn.Conv2d, nn.LeakyReLU, nn.BatchNorm2d)))
    assert len(stem) == 3


def test_hybrid_dilations_are_the_table() -> None:
    dilations = [
        [layer[-2][0].dilation[0] for layer in block.layers]
        for block in FullNetNetwork().stages
        if hasattr(block, "layers")
    ]
    assert dilations == [
        [1] * 6, [1, 2, 3, 1, 2, 3], [1, 2, 3, 5, 6, 7], [2, 5, 7, 9, 11, 14], [10, 13, 16, 17, 19, 21],
        [1, 2, 3, 5, 6, 7], [1] * 6,
    ]  # fmt: skip


def test_initialisation_is_normal_by_fan_out() -> None:
    weight = FullNetNetwork().stages[1].layers[5][0][0].weight  # type: ignore[index, union-attr]
    assert float(weight.detach().std()) == pytest.approx(math.sqrt(2 / (9 * 24)), rel=0.05)


@pytest.mark.parametrize(("layers", "hybrid"), [(6, True), (6, False), (4, True), (2, True)])
def test_receptive_field_is_what_the_gradient_says(layers: int, hybrid: bool) -> None:
    radius = receptive_radius(layers, hybrid, pooling=False)
    network = FullNetNetwork(layers, 2, hybrid=hybrid).eval().double()
    size = 2 * radius + 5
    x = torch.rand(1, 3, size, 1, dtype=torch.float64, requires_grad=True)
    network(x)[0, 0, radius + 2, 0].backward()
    assert x.grad is not None
    touched = torch.nonzero(x.grad.abs().sum((0, 1, 3)) > 0).flatten()
    assert (int(touched[0]), int(touched[-1])) == (2, size - 3)


def test_receptive_field_of_the_paper() -> None:
    assert 2 * receptive_radius(6, True, False) + 1 == 437


def test_pooling_keeps_sizes_that_are_multiples_of_16() -> None:
    network = FullNetNetwork(2, 4, pooling=True).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 32, 48)).shape == (1, 3, 32, 48)


def test_packing_folds_blocks_into_channels_and_back() -> None:
    plain, packed = FullNetNetwork(2, 4), FullNetNetwork(2, 4, pack=2).eval()
    grown = (4 - 1) * 3 * 24 * 9 + (4 - 1) * 3 * packed.stages[-1].in_channels * 9
    assert sum(p.numel() for p in packed.parameters()) == sum(p.numel() for p in plain.parameters()) + grown
    with torch.no_grad():
        assert packed(torch.rand(1, 3, 24, 36)).shape == (1, 3, 24, 36)


def test_a_packed_network_sees_the_radius_that_it_states() -> None:
    radius = receptive_radius(2, True, pooling=False, pack=2)
    network = FullNetNetwork(2, 2, pack=2).eval().double()
    size = 2 * radius + 8
    for centre in (radius + 3, radius + 4):
        x = torch.rand(1, 3, size, 2, dtype=torch.float64, requires_grad=True)
        network(x)[0, 0, centre].sum().backward()
        assert x.grad is not None
        touched = torch.nonzero(x.grad.abs().sum((0, 1, 3)) > 0).flatten()
        assert max(centre - int(touched[0]), int(touched[-1]) - centre) == radius
