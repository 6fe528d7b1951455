"""Layers shared by the networks, with the conventions of the Keras originals."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TRUNCATION = 0.87962566103423978  # SD of a unit normal cut at +-2


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Return a batch normalisation with the constants of Keras (eps 1e-3, moving average .99)."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def he_normal(layer: nn.Conv2d) -> nn.Conv2d:
    """Fill `layer` with a truncated normal of variance 2 / fan_in (He et al. 2015) and zero bias."""
    fan_in = layer.weight[0].numel()
    sd = math.sqrt(2 / fan_in) / TRUNCATION
    nn.init.trunc_normal_(layer.weight, std=sd, a=-2 * sd, b=2 * sd)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def glorot_uniform(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Conv2d | nn.ConvTranspose2d:
    """Fill `layer` with the uniform distribution of Glorot and Bengio (2010) and zero bias, Keras' default."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def conv(in_channels: int, out_channels: int, size: int = 3, *, he: bool = True) -> nn.Conv2d:
    """Return an odd-sized convolution that keeps the image size, He-normal or Glorot-uniform."""
    layer = nn.Conv2d(in_channels, out_channels, size, padding=size // 2)
    if he:
        return he_normal(layer)
    glorot_uniform(layer)
    return layer


def conv_block(in_channels: int, out_channels: int, repeats: int = 2, *, he: bool = True) -> nn.Sequential:
    """Return `repeats` times (3x3 convolution, batch normalisation, ReLU)."""
    layers: list[nn.Module] = []
    for i in range(repeats):
        layers += [conv(in_channels if i == 0 else out_channels, out_channels, he=he)]
        layers += [batch_norm(out_channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def up_conv(in_channels: int, out_channels: int, *, norm: bool) -> nn.Sequential:
    """Return nearest-neighbour doubling, a 2x2 convolution padded at bottom and right, batch norm if asked, ReLU."""
    layers: list[nn.Module] = [nn.Upsample(scale_factor=2, mode="nearest"), nn.ZeroPad2d((0, 1, 0, 1))]
    layers.append(he_normal(nn.Conv2d(in_channels, out_channels, 2)))
    if norm:
        layers.append(batch_norm(out_channels))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


class UpTransposed(nn.ConvTranspose2d):
    """3x3 transposed convolution with stride 2 that exactly doubles the size, as Keras' ``padding="same"`` does."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=2)
        glorot_uniform(self)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, C', 2H, 2W)."""
        return super().forward(x)[..., :-1, :-1]


class SamePool(nn.MaxPool2d):
    """3x3 max-pooling with stride 2 and Keras' ``padding="same"``: (B, C, H, W) -> (B, C, ceil(H/2), ceil(W/2))."""

    def __init__(self) -> None:
        super().__init__(3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Pool; an even size is padded at its end only, an odd one at both ends."""
        top, left = (size % 2 for size in x.shape[-2:])
        pooled: Tensor = super().forward(F.pad(x, (left, 1, top, 1), value=-torch.inf))
        return pooled


class Residual(nn.Module):
    """Pre-activated residual unit: BN(x) + [ReLU, BN, conv, BN, ReLU, conv, BN](x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.direct = batch_norm(channels)
        self.branch = nn.Sequential(
            nn.ReLU(),
            batch_norm(channels),
            conv(channels, channels, he=False),
            batch_norm(channels),
            nn.ReLU(inplace=True),
            conv(channels, channels, he=False),
            batch_norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        out: Tensor = self.direct(x) + self.branch(x)
        return out
