"""Batch normalisation folded into the convolutions before it: the same answers in inference with fewer passes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise
from weakref import WeakKeyDictionary

from torch import nn
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
