"""Residual U-Net of Zhang et al., ISBI 2020 (spatially constrained DCNN), in 2D and 3D."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm; the input is added before the last ReLU.

    The shortcut has no parameters: the input's channels are cut to, or zero-padded up to, the output's.
    """

    folds = (("conv1", "norm1"), ("conv2", "norm2"))

    def __init__(self, inputs: int, outputs: int, ndim: int, dropout: float) -> None:
        super().__init__()
        self.conv1, self.conv2 = CONV[ndim](inputs, outputs, 3, padding=1), CONV[ndim](outputs, outputs, 3, padding=1)
        self.norm1, self.norm2 = _norm(outputs, ndim), _norm(outputs, ndim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, *spatial) to (B, outputs, *spatial)."""
        y = F.relu(self.norm1(self.dropout(self.conv1(x))))
        y = self.norm2(self.dropout(self.conv2(y)))
        return F.relu(y + match_channels(x, y.shape[1]))


class UpBlock(nn.Module):
    """Transposed 3x3 convolution of stride 2, concatenation behind the skip tensor, residual block."""

    folds = (("up", "norm"),)

    def __init__(self, inputs: int, ndim: int, dropout: float) -> None:
        super().__init__()
        outputs = inputs // 2
        self.up = TRANSPOSED[ndim](inputs, outputs, 3, stride=2, padding=1, output_padding=1)
        self.norm = _norm(outputs, ndim)
        self.block = ResidualBlock(inputs, outputs, ndim, dropout)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map (B, inputs, *spatial) and its skip (B, inputs/2, *2 spatial) to (B, inputs/2, *2 spatial)."""
        up = F.relu(self.norm(self.up(x)))
        out: Tensor = self.block(torch.cat([skip, up], 1))
        return out


class ScDcnnNet(nn.Module):
    """Residual U-Net: 5 levels of 16 to 256 channels, 2,161,856 trainable parameters in 2D.

    Parameters
    ----------
    width
        Channels of the first level (paper: 16).
    levels
        Levels with the bottleneck; spatial sizes must be multiples of ``2**(levels - 1)``.
    logit_relu
        Apply a ReLU to the logits as the authors' code does. A pixel whose logits are both negative then gets
        no gradient and stays at p = 0.5.
    """

    def __init__(
        self,
        ndim: int = 2,
        width: int = 16,
        levels: int = 5,
        in_channels: int = 1,
        out_channels: int = 2,
        dropout: float = 0.0,
        logit_relu: bool = False,
    ) -> None:
        super().__init__()
        widths = [width << level for level in range(levels)]
        self.logit_relu = logit_relu
        inputs = [in_channels, *widths[:-1]]
        self.down = nn.ModuleList(ResidualBlock(i, o, ndim, dropout) for i, o in zip(inputs, widths, strict=True))
        self.pool = POOL[ndim](2)
        self.up = nn.ModuleList(UpBlock(w, ndim, dropout) for w in reversed(widths[1:]))
        self.head = CONV[ndim](width, out_channels, 1, bias=False)
        for module, channels in [
            *zip(self.down, widths, strict=True),
            *zip(self.up, widths[:0:-1], strict=True),
            (self.head, width),
        ]:
            initialise(module, math.sqrt(2 / (3**ndim * channels)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *spatial) to logits (B, K, *spatial); channel 0 background, 1 nerve."""
        skips = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else self.pool(x))
            skips.append(x)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = block(x, skip)
        logits: Tensor = self.head(x)
        return F.relu(logits) if self.logit_relu else logits


def match_channels(x: Tensor, channels: int) -> Tensor:
    """Cut or zero-pad (B, C, *spatial) along C to `channels`."""
    missing = channels - x.shape[1]
    if missing <= 0:
        return x[:, :channels]
    return F.pad(x, (0, 0) * (x.ndim - 2) + (0, missing))


def receptive_radius(levels: int = 5) -> int:
    """Radius in pixels of the receptive field of `ScDcnnNet`."""
    strides = [1 << level for level in range(levels)]
    down = sum(2 * s for s in strides) + sum(strides[:-1])
    up = sum(2 * s + 2 * s for s in strides[:-1])
    return down + up


def _norm(channels: int, ndim: int) -> nn.Module:
    return NORM[ndim](channels, eps=1e-3, momentum=0.01)


def initialise(module: nn.Module, std: float) -> None:
    """Set convolution weights to a normal of SD `std` cut at 2 SD, biases to 0.

    The paper's code uses ``std = sqrt(2 / (9 f))`` with f the width of the block (in the decoder of the level below).
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
            nn.init.trunc_normal_(layer.weight, 0.0, std, -2 * std, 2 * std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
