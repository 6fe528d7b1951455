"""Batch-norm statistics: taken anew over batches, and moved towards those of an image."""

from __future__ import annotations

import pytest
import torch

from napari_medseg.nn.batch_norm import adapted, calibrate


def test_calibration_gives_the_means_of_the_batches() -> None:
    """Batch-norm statistics after calibration are the plain means over the batches, dropout off, frozen ones kept."""
    network = torch.nn.Sequential(torch.nn.Dropout(0.9), torch.nn.BatchNorm2d(1, momentum=0.01))
    batches = [torch.full((2, 1, 3, 3), float(v)) + torch.arange(9).reshape(3, 3) for v in (0, 6)]
    calibrate(network, iter(batches))
    norm = network[1]
    assert norm.running_mean.item() == pytest.approx((4 + 10) / 2)
    assert norm.running_var.item() == pytest.approx(torch.arange(9.0).repeat(2).var().item())
    assert norm.momentum == 0.01
    assert not norm.training


def test_adapting_mixes_the_statistics_and_leaves_the_network_as_it_was() -> None:
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(1), torch.nn.Dropout(0.9)).eval()
    batch = torch.tensor([2.0, 6.0]).reshape(1, 1, 1, 2)
    norm = adapted(network, [batch], 0.25)[0]
    assert norm.running_mean.item() == pytest.approx(0.25 * 4 + 0.75 * 0)
    assert norm.running_var.item() == pytest.approx(0.25 * 8 + 0.75 * 1)
    assert not norm.training
    assert network[0].running_mean.item() == 0
    assert network[0].running_var.item() == 1
