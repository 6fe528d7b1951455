"""Residual U-Net and losses of Zhang et al., ISBI 2020 (spatially constrained DCNN), in 2D and 3D."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

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


SIGMA = 0.5
EPS_WEIGHT = 1e-9
EPS_GREY = 1e-6


def class_weights(target: Tensor, classes: int) -> Tensor:
    """Return w_k = (1 / n_k) / sum_m (1 / n_m) over the whole batch; the weights (K,) sum to 1.

    A batch without class k gives it all the weight, so that batch has next to no loss (as in the authors' code).
    """
    counts = torch.stack([(target == k).sum() for k in range(classes)]).double()
    inverse = 1 / (counts + EPS_WEIGHT)
    return (inverse / inverse.sum()).float()


def cross_entropy(logits: Tensor, target: Tensor, *, balanced: bool = True) -> Tensor:
    """Mean over pixels of ``-w_y log p_y``; the sum of weights is not divided out.

    Parameters
    ----------
    logits
        (B, K, *spatial).
    target
        (B, *spatial) integer classes.
    balanced
        Use `class_weights`; otherwise w = 1.
    """
    log_p = F.log_softmax(logits.float(), 1)
    nll = -log_p.gather(1, target[:, None])[:, 0]
    if balanced:
        nll = nll * class_weights(target, logits.shape[1])[target]
    return nll.mean()


def spatial_constraint(probabilities: Tensor, image: Tensor, sigma: float = SIGMA) -> Tensor:
    """Return ``SC_i = 1 - sum_j g_ij s_ij c_i c_j / sum_j g_ij`` over the 3x3(x3) neighbours j inside the image.

    ``g_ij = exp(-(I_i - I_j)^2 / 2 sigma^2)``; ``s_ij`` is +1 where both pixels have the same winning class, else -1,
    and passes no gradient; ``c_i`` is the winning probability.

    Parameters
    ----------
    probabilities
        (B, K, *spatial), 2 or 3 spatial axes.
    image
        (B, 1, *spatial) z-scored grey values, as the network sees them.
    sigma
        Grey-value tolerance in units of the image's SD.

    Returns
    -------
    Tensor
        (B, *spatial), between 0 and 2; 1 for a pixel without neighbours.
    """
    confidence, label = probabilities.max(1)
    agreement: Tensor = _Agreement.apply(confidence, label, image[:, 0].to(confidence.dtype), sigma)  # type: ignore[no-untyped-call]
    return 1 - agreement


class _Agreement(torch.autograd.Function):
    """``F_i = c_i sum_j w_ij c_j / sum_j g_ij`` with ``w_ij = s_ij g_ij``; the gradient flows through c only.

    Each neighbour direction is one pair of shifted views; the weights are kept for the backward pass, whose sum over
    neighbours has the same form.
    """

    @staticmethod
    def forward(ctx: Any, confidence: Tensor, label: Tensor, grey: Tensor, sigma: float) -> Tensor:
        total, similarity = torch.zeros_like(confidence), torch.full_like(confidence, EPS_GREY)
        weights = []
        for here, there in neighbour_views(grey.ndim - 1):
            g = (grey[here] - grey[there]).square_().mul_(-0.5 / sigma**2).exp_()
            similarity[here] += g
            similarity[there] += g
            w = torch.where(label[here] == label[there], g, -g)
            total[here].addcmul_(w, confidence[there])
            total[there].addcmul_(w, confidence[here])
            weights.append(w)
        mean = total / similarity
        ctx.save_for_backward(confidence, mean, similarity, *weights)
        return confidence * mean

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        confidence, mean, similarity, *weights = ctx.saved_tensors
        result, scaled = grads[0] * mean, grads[0] * confidence / similarity
        for (here, there), w in zip(neighbour_views(mean.ndim - 1), weights, strict=True):
            result[here].addcmul_(w, scaled[there])
            result[there].addcmul_(w, scaled[here])
        return result, None, None, None


def neighbour_views(ndim: int) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Return slice pairs of (B, *spatial) that meet each of the 4 (2D) or 13 (3D) neighbour directions once."""
    first, last, whole = slice(None, -1), slice(1, None), slice(None)
    here = {-1: last, 0: whole, 1: first}
    there = {-1: first, 0: whole, 1: last}
    offsets = [o for o in product((-1, 0, 1), repeat=ndim) if o > (0,) * ndim]
    return [((whole, *(here[o] for o in offset)), (whole, *(there[o] for o in offset))) for offset in offsets]


def inaccurate_label_loss(
    logits: Tensor,
    target: Tensor,
    image: Tensor,
    *,
    unary: float = 0.9,
    pairwise: float = 0.1,
    sigma: float = SIGMA,
    balanced: bool = True,
) -> dict[str, Tensor]:
    """Return ``loss = unary * ce + pairwise * sc`` and both terms, averaged over pixels and images."""
    ce = cross_entropy(logits, target, balanced=balanced)
    if pairwise == 0:
        return {"loss": unary * ce, "ce": ce}
    sc = spatial_constraint(torch.softmax(logits.float(), 1), image, sigma).mean()
    return {"loss": unary * ce + pairwise * sc, "ce": ce, "sc": sc}
