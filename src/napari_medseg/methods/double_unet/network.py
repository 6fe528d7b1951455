"""DoubleU-Net (Jha et al., CBMS 2020): a VGG19 U-Net whose mask gates the image for a second U-Net."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_medseg.methods.double_unet.settings import MULTIPLE, PAPER_WIDTH
from napari_medseg.nn.blocks import batch_norm, conv_block
from napari_medseg.nn.encoders import VGG

DILATIONS = (6, 12, 18)


class SqueezeExcite(nn.Module):
    """Scale channels by sigmoid(W2 relu(W1 mean(x))), without biases (Hu et al. 2018), reduction 8."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        reduced = max(channels // reduction, 1)
        self.down = nn.Conv2d(channels, reduced, 1, bias=False)
        self.up = nn.Conv2d(reduced, channels, 1, bias=False)
        for layer in (self.down, self.up):
            nn.init.kaiming_normal_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        weights = self.up(F.relu(self.down(x.mean((-2, -1), keepdim=True))))
        return x * torch.sigmoid(weights)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: the whole map's mean, a 1x1 and three dilated 3x3 convolutions, merged."""

    def __init__(self, in_channels: int, channels: int = PAPER_WIDTH) -> None:
        super().__init__()
        self.pooled = _unit(in_channels, channels, bias=True)
        self.branches = nn.ModuleList(
            [_unit(in_channels, channels), *(_unit(in_channels, channels, dilation) for dilation in DILATIONS)]
        )
        self.merge = _unit(channels * (2 + len(DILATIONS)), channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, channels, H, W)."""
        pooled = self.pooled[0](x.mean((-2, -1), keepdim=True))
        # enlarged before the normalisation, which is the same but works for a batch of one too
        mean = self.pooled[1:](pooled.expand(-1, -1, *x.shape[-2:]).contiguous())
        merged: Tensor = self.merge(torch.cat([mean, *(branch(x) for branch in self.branches)], 1))
        return merged


class Decoder(nn.Module):
    """Four times: double the size, append the skips of that size, `conv_block` with squeeze and excite."""

    def __init__(self, width: int, *skip_widths: tuple[int, ...]) -> None:
        super().__init__()
        skips = [sum(level) for level in zip(*skip_widths, strict=True)]
        self.blocks = nn.ModuleList()
        before = width
        for channels, skip in zip((4 * width, 2 * width, width, width // 2), skips, strict=True):
            self.blocks.append(_block(before + skip, channels))
            before = channels
        self.head = nn.Conv2d(before, 1, 1)

    def forward(self, x: Tensor, *skips: list[Tensor]) -> Tensor:
        """Map (B, width, H/16, W/16) and lists of skips, deepest first, to logits (B, 1, H, W)."""
        for block, *level in zip(self.blocks, *skips, strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(torch.cat([x, *level], 1))
        logits: Tensor = self.head(x)
        return logits


class DoubleUnetNet(nn.Module):
    """Two U-Nets in a row; with the paper's width 29,297,570 values, of which 29,290,274 trainable.

    The first has the VGG19 encoder. Its probability, times the image, is the input of the second, which also sees the
    first one's skips. Any image size: it is padded at bottom and right to a multiple of 16 by repeating the border.

    Parameters
    ----------
    width
        Channels of VGG19's first stage and of the pyramids, from which all others follow; an even number.
    mirror
        In evaluation, average the logits of the image and of its mirror image.
    """

    def __init__(self, width: int = PAPER_WIDTH, *, mirror: bool = False) -> None:
        super().__init__()
        self.mirror = mirror
        self.encoder1 = VGG("vgg19", width=width)
        self.aspp1 = ASPP(self.encoder1.widths[-1], width)
        skip1 = tuple(self.encoder1.widths[3::-1])
        self.decoder1 = Decoder(width, skip1)
        second = (width // 2, width, 2 * width, 4 * width)
        self.encoder2 = nn.ModuleList(_block(a, b) for a, b in pairwise((3, *second)))
        self.aspp2 = ASPP(second[-1], width)
        self.decoder2 = Decoder(width, skip1, second[::-1])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to logits (B, 2, H, W): first the mask of network 1, last the one to use, of network 2."""
        logits = self._logits(x)
        if self.mirror and not self.training:
            logits = (logits + self._logits(x.flip(-1)).flip(-1)) / 2
        return logits

    def _logits(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        bottom, right = -height % MULTIPLE, -width % MULTIPLE
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        *skips1, deep = self.encoder1(x)
        skips1 = skips1[::-1]
        output1 = self.decoder1(self.aspp1(deep), skips1)
        y = x * torch.sigmoid(output1)
        skips2: list[Tensor] = []
        for block in self.encoder2:
            y = block(y)
            skips2.insert(0, y)
            y = F.max_pool2d(y, 2)
        output2 = self.decoder2(self.aspp2(y), skips1, skips2)
        return torch.cat([output1, output2], 1)[..., :height, :width]


def _block(in_channels: int, channels: int) -> nn.Sequential:
    """Return [3x3 convolution, batch normalisation, ReLU] x 2 and squeeze and excite."""
    return nn.Sequential(conv_block(in_channels, channels), SqueezeExcite(channels))


def _unit(in_channels: int, channels: int, dilation: int = 0, *, bias: bool = False) -> nn.Sequential:
    """Return a 1x1 (or dilated 3x3) convolution, batch normalisation and ReLU."""
    size = 3 if dilation else 1
    layer = nn.Conv2d(in_channels, channels, size, padding=dilation, dilation=max(dilation, 1), bias=bias)
    return nn.Sequential(layer, batch_norm(channels), nn.ReLU(inplace=True))
