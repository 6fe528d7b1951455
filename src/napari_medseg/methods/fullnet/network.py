"""FullNet: dilated dense blocks at full resolution (Qu et al., MICCAI 2019), and its pooling baseline.

On a processor in bfloat16 the layers between convolutions are memory traffic, so they have forms of their own there:
`Norm` works on whole rows of channels-last maps, `Dropout` draws four decisions at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
LANES = 16  # oneDNN's weight gradient of dilated bfloat16 convolutions is right only for multiples of this many maps


def _is_fast(x: Tensor) -> bool:
    """Whether `x` are channels-last bfloat16 maps on a processor."""
    fits = x.dtype == torch.bfloat16 and x.device.type == "cpu"
    return fits and x.is_contiguous(memory_format=torch.channels_last)


class Conv(nn.Conv2d):
    """Convolution whose weight gradient is right for dilated bfloat16 maps on a processor too."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, K, H, W)."""
        autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        if autocast and _is_fast(x) and self.in_channels % LANES and self.dilation != (1, 1):
            weight = self.weight.to(torch.bfloat16)
            y: Tensor = _DilatedConv.apply(x, weight, self.dilation[0])  # type: ignore[no-untyped-call]
            return y
        return super().forward(x)


class _DilatedConv(torch.autograd.Function):
    """A 3x3 convolution that keeps the size; maps of zeros fill up `LANES` for the weight gradient alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return F.conv2d(x, weight, None, 1, dilation, dilation)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        g = grads[0].contiguous(memory_format=torch.channels_last)
        missing = -x.shape[1] % LANES
        wide = F.pad(x, (0, 0, 0, 0, 0, missing)), F.pad(weight, (0, 0, 0, 0, 0, missing))
        along_x = _conv_backward(g, x, weight, ctx.dilation, (True, False, False))[0]
        along_weight = _conv_backward(g, *wide, ctx.dilation, (False, True, False))[1]
        return along_x, along_weight[:, : x.shape[1]], None


def _conv_backward(g: Tensor, x: Tensor, weight: Tensor, dilation: int, wanted: tuple[bool, ...]) -> tuple[Any, ...]:
    size = [dilation, dilation]
    out = torch.ops.aten.convolution_backward(g, x, weight, None, [1, 1], size, size, False, [0, 0], 1, wanted)
    return tuple(out)


class Norm(nn.BatchNorm2d):
    """Batch normalisation; trains channels-last bfloat16 maps on a processor in a third of torch's time."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        if not (self.training and _is_fast(x)):
            return super().forward(x)
        normalised: Tensor
        normalised, mean, var = _FastNorm.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        self._track(mean, var * (x.numel() / max(x.numel() - x.shape[1], 1)))
        return normalised

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor) -> None:
        if self.num_batches_tracked is None or self.running_mean is None or self.running_var is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(var, share)


class _FastNorm(torch.autograd.Function):
    """Normalisation by the batch's own mean and variance, which come out second and third."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        mean = _channel_mean(x)
        var = (_channel_mean(x * x) - mean * mean).clamp_min_(0)
        scale = weight * (var + eps).rsqrt()
        ctx.save_for_backward(x, mean, (var + eps).rsqrt(), scale)
        ctx.mark_non_differentiable(mean, var)
        return _affine(x, scale, bias - mean * scale), mean, var

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, inverse, scale = ctx.saved_tensors
        g = grads[0].contiguous(memory_format=torch.channels_last)
        n = x.numel() / x.shape[1]
        shift = _channel_mean(g)
        slope = (_channel_mean(g * x) - mean * shift) * inverse  # mean of g times the normalised x
        along_x = -scale * slope * inverse
        rest = _affine(x, along_x, -scale * shift - along_x * mean)
        rows = _rows(rest)
        out = torch.addcmul(rows, _rows(g), _row(scale, x), out=rows)
        return _maps(out, x), slope * n, shift * n, None


def _rows(x: Tensor) -> Tensor:
    """View channels-last (B, C, H, W) as (B H, W C)."""
    batch, channels, height, width = x.shape
    return x.permute(0, 2, 3, 1).reshape(batch * height, width * channels)


def _maps(rows: Tensor, like: Tensor) -> Tensor:
    batch, channels, height, width = like.shape
    return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _row(values: Tensor, like: Tensor) -> Tensor:
    return values.detach().to(like.dtype).repeat(like.shape[-1])


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return scale x + shift of channels-last maps, one scale and shift (C,) for each map."""
    return _maps(torch.addcmul(_row(shift, x), _rows(x), _row(scale, x)), x)


def _channel_mean(x: Tensor) -> Tensor:
    """Return the float32 mean (C,) of each map; only its sums over one row of pixels are rounded to bfloat16."""
    return _rows(x).sum(0).float().view(x.shape[-1], -1).sum(0) * (x.shape[1] / x.numel())


class Dropout(nn.Dropout):
    """Dropout; of bfloat16 maps on a processor from 16 random bits an element, so the rate is right to 1 / 65536."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        if not (self.training and self.p and _is_fast(x)):
            return super().forward(x)
        dropped = round(self.p * 2**16)
        draw = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = draw.view(torch.int16)[: x.numel()] >= dropped - 2**15
        factor = kept.to(x.dtype).mul_(2**16 / (2**16 - dropped))
        return x * factor.as_strided(x.shape, x.stride())


def layer_dilations(nominal: int, n_layers: int, hybrid: bool) -> tuple[int, ...]:
    """Return the dilation of each layer of a block; without a hybrid list for it, the nominal one throughout."""
    same = (nominal,) * n_layers
    return HYBRID.get(n_layers, {}).get(nominal, same) if hybrid else same


def conv_unit(in_channels: int, out_channels: int, size: int, dilation: int = 1) -> nn.Sequential:
    """Return convolution without bias, leaky ReLU, batch normalisation: activation before normalisation."""
    padding = dilation * (size // 2)
    return nn.Sequential(
        _initialised(Conv(in_channels, out_channels, size, padding=padding, dilation=dilation, bias=False)),
        nn.LeakyReLU(0.01, inplace=True),
        Norm(out_channels),
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
    return nn.Sequential(*units, Dropout(dropout))


class FullNetNetwork(nn.Module):
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
    pack
        Edge of the blocks of pixels that are folded into channels before the stem and out of the logits: nothing is
        averaged, yet the network runs on `pack`^2 times fewer places. Height and width must be multiples of it.
    freeze_norm
        Train with the statistics that batch normalisation has, instead of those of each batch.
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
        pack: int = 1,
        freeze_norm: bool = False,
    ) -> None:
        super().__init__()
        self.pack, self.freeze_norm = pack, freeze_norm
        stages: list[nn.Module] = [conv_unit(3 * pack**2, STEM, 3)]
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
        stages.append(_initialised(nn.Conv2d(channels, 3 * pack**2, 3, padding=1, bias=False)))
        self.stages = nn.Sequential(*stages)

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation; frozen normalisation stays as it is in evaluation."""
        super().train(mode)
        for norm in self.modules() if self.freeze_norm else ():
            if isinstance(norm, Norm):
                norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Map RGB (B, 3, H, W) to logits (B, 3, H, W) of background, inside, contour.

        Stem and head are computed in float32 on a processor: their rounding would flip half as many labels again.
        """
        x = F.pixel_unshuffle(x, self.pack)
        if x.device.type == "cpu" and not torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
            x = x.contiguous(memory_format=torch.channels_last)
        halves = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        logits: Tensor = self._in_halves(x, torch.get_autocast_dtype("cpu")) if halves else self.stages(x)
        return F.pixel_shuffle(logits, self.pack)

    def _in_halves(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            x = self.stages[0](x.float())
        x = self.stages[1:-1](x.to(dtype))
        with torch.autocast("cpu", enabled=False):
            logits: Tensor = self.stages[-1](x.float())
        return logits


def receptive_radius(n_layers: int, hybrid: bool, pooling: bool, pack: int = 1) -> int:
    """Return how many pixels around a pixel its logits depend on."""
    radius, stride = 2, 1
    for index, nominal in enumerate(DILATIONS):
        radius += stride * sum(layer_dilations(nominal, n_layers, hybrid))
        if pooling and index in POOLED_BLOCKS:
            radius, stride = radius + stride, 2 * stride
        if pooling and index in UPSAMPLED_BLOCKS:
            radius, stride = radius + stride, stride // UPSAMPLING
    return radius * pack + pack - 1
