"""Batch normalisation: folded into convolutions, its statistics taken anew, or moved towards an image's."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from itertools import pairwise
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.fusion import fuse_conv_bn_eval

_kept: WeakKeyDictionary[nn.Module, tuple[int, nn.Module]] = WeakKeyDictionary()


def folded(network: nn.Module) -> nn.Module:
    """Return a copy of a network in evaluation mode without the batch norms that follow a convolution at once.

    These are neighbours in an `nn.Sequential` (dropout between them does nothing then), and pairs of attributes that a
    module names in its ``folds``. The copy is kept until a weight of the network changes; a network without such
    pairs is returned as it is.
    """
    if network.training or not any(True for _ in _pairs(network)):
        return network
    state = sum(tensor._version + id(tensor) for tensor in network.state_dict(keep_vars=True).values())
    known = _kept.get(network)
    if known is None or known[0] != state:
        fast = copy.deepcopy(network)
        for parent, conv, norm in list(_pairs(fast)):
            layer = getattr(parent, conv)
            fused = fuse_conv_bn_eval(layer, getattr(parent, norm), isinstance(layer, _ConvTransposeNd))
            setattr(parent, conv, fused)
            setattr(parent, norm, nn.Identity())
        known = _kept[network] = (state, fast.requires_grad_(False))
    return known[1]


def _pairs(network: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """Yield module, name of a convolution in it and of the batch norm that takes its answer."""
    for module in network.modules():
        candidates = list(getattr(module, "folds", ()))
        if isinstance(module, nn.Sequential):
            names = [name for name, child in module.named_children() if not isinstance(child, nn.Dropout)]
            candidates += pairwise(names)
        for conv, norm in candidates:
            if isinstance(getattr(module, conv), _ConvNd) and isinstance(getattr(module, norm), _BatchNorm):
                yield module, conv, norm


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
