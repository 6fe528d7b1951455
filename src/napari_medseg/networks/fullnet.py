"""FullNet: dilated dense blocks at full resolution (Qu et al., MICCAI 2019), and its pooling baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

DILATIONS = (1, 2, 4, 8, 16, 4, 1)
STEM = 24
HYBRID: dict[int, dict[int, tuple[int, ...]]] = {
    6: {
        1: (1, 1, 1, 1, 1, 1),
        2: (1, 2, 3, 1, 2, 3),
        4: (1, 2, 3, 5, 6, 7),
        8: (2, 5, 7, 9, 11, 14),
        16: (10, 13, 16, 17, 19, 21),
    },
    4: {1: (1, 1, 1, 1), 2: (1, 2, 3, 2), 4: (1, 2, 5, 9), 8: (3, 7, 10, 13), 16: (13, 15, 17, 19)},
}
POOLED_BLOCKS, UPSAMPLED_BLOCKS, UPSAMPLING = (0, 1, 2, 3), (4, 5), 4


def layer_dilations(nominal: int, n_layers: int, hybrid: bool) -> tuple[int, ...]:
    """Return the dilation of each layer of a block; without a hybrid list for it, the nominal one throughout."""
    same = (nominal,) * n_layers
    return HYBRID.get(n_layers, {}).get(nominal, same) if hybrid else same


def conv_unit(in_channels: int, out_channels: int, size: int, dilation: int = 1) -> nn.Sequential:
    """Return convolution without bias, leaky ReLU, batch normalisation: activation before normalisation."""
    padding = dilation * (size // 2)
    return nn.Sequential(
        _initialised(nn.Conv2d(in_channels, out_channels, size, padding=padding, dilation=dilation, bias=False)),
        nn.LeakyReLU(0.01, inplace=True),
        nn.BatchNorm2d(out_channels),
    )


def _initialised(layer: nn.Conv2d) -> nn.Conv2d:
    fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels
    nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / fan_out))
    return layer


class DenseBlock(nn.Module):
    """Dense layers that each append `growth` maps to their input."""

    def __init__(
        self, channels: int, growth: int, dilations: Sequence[int], dropout: float, bottleneck: bool = False
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            _dense_layer(channels + i * growth, growth, dilation, dropout, bottleneck)
            for i, dilation in enumerate(dilations)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C + layers * growth, H, W)."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


def _dense_layer(channels: int, growth: int, dilation: int, dropout: float, bottleneck: bool) -> nn.Sequential:
    units = [conv_unit(channels, 4 * growth, 1)] if bottleneck else []
    units.append(conv_unit(4 * growth if bottleneck else channels, growth, 3, dilation))
    return nn.Sequential(*units, nn.Dropout(dropout))


class FullNet(nn.Module):
    """Stem, seven dense blocks each followed by a 1x1 transition that halves the channels, 3x3 head.

    Parameters
    ----------
    n_layers, growth
        Layers of a dense block and maps that each adds.
    hybrid
        Whether the layers of a block differ in dilation.
    bottleneck
        Whether a 1x1 convolution to ``4 growth`` maps precedes each 3x3 one.
    pooling
        The FCN-pooling baseline: halve after transitions 1 - 4, upsample by four after 5 and 6. Height and width must
        then be multiples of 16.
    dropout
        Probability of dropping an element of the new maps.
    """

    def __init__(
        self,
        n_layers: int = 6,
        growth: int = 24,
        *,
        hybrid: bool = True,
        bottleneck: bool = False,
        pooling: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        stages: list[nn.Module] = [conv_unit(3, STEM, 3)]
        channels = STEM
        for index, nominal in enumerate(DILATIONS):
            dilations = layer_dilations(nominal, n_layers, hybrid)
            stages.append(DenseBlock(channels, growth, dilations, dropout, bottleneck))
            wide = channels + n_layers * growth
            channels = wide // 2
            stages.append(conv_unit(wide, channels, 1))
            if pooling and index in POOLED_BLOCKS:
                stages.append(nn.MaxPool2d(2))
            if pooling and index in UPSAMPLED_BLOCKS:
                stages.append(nn.Upsample(scale_factor=UPSAMPLING, mode="bilinear", align_corners=True))
        stages.append(_initialised(nn.Conv2d(channels, 3, 3, padding=1, bias=False)))
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        """Map RGB (B, 3, H, W) to logits (B, 3, H, W) of background, inside, contour."""
        logits: Tensor = self.stages(x)
        return logits


def receptive_radius(n_layers: int, hybrid: bool, pooling: bool) -> int:
    """Return how many pixels around a pixel its logits depend on."""
    radius, stride = 2, 1
    for index, nominal in enumerate(DILATIONS):
        radius += stride * sum(layer_dilations(nominal, n_layers, hybrid))
        if pooling and index in POOLED_BLOCKS:
            radius, stride = radius + stride, 2 * stride
        if pooling and index in UPSAMPLED_BLOCKS:
            radius, stride = radius + stride, stride // UPSAMPLING
    return radius
