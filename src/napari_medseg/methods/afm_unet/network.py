"""The U-nets of the AFM cell study: scratch nets of 2 to 5 levels, U-VGG16, U-VGG19 and U-Xception.

Tiryaki et al., Cytometry A 2022;101:507-520, doi:10.1002/cyto.a.24533.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_medseg.nn.blocks import Residual, UpTransposed, conv, conv_block, up_conv
from napari_medseg.nn.encoders import VGG, VGG_CONVOLUTIONS, Xception

VGG_DECODER = (512, 256, 128, 64)
XCEPTION_DECODER = (256, 128, 64, 32)
XCEPTION_DROPOUT = (0.5, 0.5, 0.1, 0.1)


class LevelUNet(nn.Module):
    """Scratch U-net "XL" with `levels` resolutions (the bottleneck counts), the paper's with 16 channels at the top.

    Parameters
    ----------
    levels
        2 to 5.
    in_channels
        1, or 3 for height, deflection and friction.
    dropout
        Rate after each pooling and each concatenation.
    width
        Channels at the top.

    Notes
    -----
    The deepest decoder level has no batch normalisation after its 2x2 convolution, as in the original.
    """

    def __init__(self, levels: int = 5, in_channels: int = 1, dropout: float = 0.5, width: int = 16) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(levels)]
        self.down = nn.ModuleList(
            conv_block(before, after) for before, after in zip([in_channels, *widths], widths, strict=False)
        )
        upwards = list(reversed(range(levels - 1)))
        self.up = nn.ModuleList(up_conv(widths[i + 1], widths[i], norm=i != levels - 2) for i in upwards)
        self.merge = nn.ModuleList(conv_block(2 * widths[i], widths[i]) for i in upwards)
        self.dropout = nn.Dropout(dropout)
        self.head = conv(width, 1, 1, he=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W), sizes divisible by 2**(levels-1), to logits (B, 1, H, W)."""
        skips: list[Tensor] = []
        for i, block in enumerate(self.down):
            if i:
                skips.append(x)
                x = self.dropout(F.max_pool2d(x, 2))
            x = block(x)
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(self.dropout(torch.cat([skips.pop(), up(x)], 1)))
        logits: Tensor = self.head(x)
        return logits


class UVGG(nn.Module):
    """U-net on a VGG encoder, its bridge being the last ReLU of stage 5.

    Parameters
    ----------
    name
        ``"vgg16"`` or ``"vgg19"``.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.encoder = VGG(name)
        before = (512, *VGG_DECODER)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in zip(before, VGG_DECODER, strict=False)
        )
        self.merge = nn.ModuleList(conv_block(2 * width, width, he=False) for width in VGG_DECODER)
        self.head = conv(VGG_DECODER[-1], 1, 1, he=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W), sizes divisible by 16, to logits (B, 1, H, W)."""
        *skips, x = self.encoder(x)
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([up(x), skips.pop()], 1))
        logits: Tensor = self.head(x)
        return logits


class UXception(nn.Module):
    """U-net with residual units on an Xception encoder cut at Keras' block 13."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Xception()
        self.middle = nn.Sequential(nn.MaxPool2d(2), nn.Dropout(0.5), *_residual_stage(1024, 512))
        before = (512, *XCEPTION_DECODER)
        self.up = nn.ModuleList(UpTransposed(a, b) for a, b in zip(before, XCEPTION_DECODER, strict=False))
        self.merge = nn.ModuleList(
            nn.Sequential(nn.Dropout(rate), *_residual_stage(width + skip, width))
            for width, skip, rate in zip(XCEPTION_DECODER, reversed(self.encoder.widths), XCEPTION_DROPOUT, strict=True)
        )
        self.last = nn.Sequential(
            UpTransposed(32, 16),
            nn.Dropout(0.5),
            *_residual_stage(16, 16),
            nn.Dropout(0.25),
            conv(16, 1, 1, he=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W), sizes divisible by 32, to logits (B, 1, H, W)."""
        *skips, deepest = self.encoder(x)
        skips.append(F.relu(deepest))
        x = self.middle(skips[-1])
        for up, merge in zip(self.up, self.merge, strict=True):
            x = up(x)
            x = merge(torch.cat([x, _pad_top_left(skips.pop(), x)], 1))
        logits: Tensor = self.last(x)
        return logits


def _residual_stage(before: int, width: int) -> tuple[nn.Module, ...]:
    return conv(before, width, he=False), Residual(width), Residual(width), nn.ReLU()


def _pad_top_left(skip: Tensor, like: Tensor) -> Tensor:
    """Zero-pad `skip` at top and left to the size of `like`."""
    return F.pad(skip, (like.shape[-1] - skip.shape[-1], 0, like.shape[-2] - skip.shape[-2], 0))


def build_unet(architecture: str, in_channels: int, dropout: float, width: int = 16) -> LevelUNet | UVGG | UXception:
    """Return ``unet2`` .. ``unet5`` of a width, ``vgg16``, ``vgg19`` or ``xception`` with random weights."""
    if architecture == "xception":
        return UXception()
    if architecture.startswith("vgg"):
        return UVGG(architecture)
    return LevelUNet(int(architecture.removeprefix("unet")), in_channels, dropout, width)


def receptive_radius(architecture: str) -> int:
    """Return how many pixels around an output pixel can change it (an upper bound on every side).

    A 3x3 convolution at stride s adds s, a doubling to stride s adds s, a 2x2 convolution s; pooling adds none beyond
    its cell. U-Xception is walked through as an interval, because its unpadded stem shifts the grids.
    """
    if architecture == "xception":
        return _xception_radius()
    if architecture.startswith("vgg"):
        return sum(n << i for i, n in enumerate(VGG_CONVOLUTIONS[architecture])) + 3 * 15
    levels = int(architecture.removeprefix("unet"))
    return 2 * ((1 << levels) - 1) + 4 * ((1 << (levels - 1)) - 1)


def _xception_radius() -> int:
    """Follow [low, high], the input pixels (relative to stride * index) that a feature sees, through U-Xception."""
    stride, low, high = 1, 0, 0

    def window(before: int, after: int, step: int = 1) -> None:
        nonlocal stride, low, high
        low, high, stride = low - before * stride, high + after * stride, stride * step

    window(0, 2, 2)  # unpadded convolution, stride 2
    window(0, 2)
    skips = []
    for shift in (3, 1, 0):  # what _pad_top_left adds to the skip of each block
        window(2, 2)
        skips.append((low - shift * stride, high - shift * stride))
        window(1, 2, 2)
    window(8 * 3 + 2, 8 * 3 + 2)
    skips.append((low, high))
    window(0, 1, 2)
    window(5, 5)
    for skip in (*reversed(skips), None):
        stride //= 2
        low, high = low - stride * 2, high  # output j of the transposed convolution sees inputs (j-2)/2 .. j/2
        if skip is not None:
            low, high = min(low, skip[0]), max(high, skip[1])
        window(5, 5)
    return max(-low, high)
