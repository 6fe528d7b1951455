"""Statistics of batch normalisation: taken anew, and moved towards those of an image."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def calibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Take the statistics of batch norm anew as plain means over `batches`, without dropout.

    The running averages of the papers (Keras momentum .99) trail behind in schedules of fewer than some thousand
    steps and then spoil the network in evaluation mode. Layers whose statistics are frozen are left alone.
    """
    network.train()
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    network.eval()
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for index, batch in enumerate(batches):
        for norm in norms:
            if index == 0:
                norm.reset_running_stats()
                norm.momentum = None  # a plain mean
            norm.train()
        network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


@torch.no_grad()
def adapted(network: nn.Module, batches: Iterable[Tensor], share: float) -> nn.Module:
    """Return a copy whose batch norms have `share` of the statistics of `batches` and the rest of their own.

    So an image of other dyes or another scanner is normalised, layer by layer, towards what the network was trained on
    (Schneider et al., NeurIPS 2020).
    """
    copied = copy.deepcopy(network)
    calibrate(copied, batches)
    trained = dict(network.named_buffers())
    for name, own in copied.named_buffers():
        if own.is_floating_point():
            own.lerp_(trained[name].to(own.device), 1 - share)
    return copied
