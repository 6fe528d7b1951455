"""Segmentation losses shared by methods; sums run over the whole batch, all shapes alike for p and y.

p are probabilities in (0, 1) and y targets in {0, 1} (or fractions), of any equal shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

CLIP = 1e-7
TINY = 1e-15


def dice_loss(probabilities: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """Return 1 - (2 sum(yp) + s) / (sum y + sum p + s)."""
    overlap = (probabilities * target).sum()
    return 1 - (2 * overlap + smooth) / (probabilities.sum() + target.sum() + smooth)


def log_cosh_dice_loss(probabilities: Tensor, target: Tensor) -> Tensor:
    """Return log(cosh(x)) of the Dice loss x, in a form that cannot overflow."""
    return log_cosh(dice_loss(probabilities, target))


def log_cosh(x: Tensor) -> Tensor:
    """Return log((exp(x) + exp(-x)) / 2) as x + softplus(-2x) - log 2."""
    return x + F.softplus(-2 * x) - math.log(2)


def bce_loss(probabilities: Tensor, target: Tensor) -> Tensor:
    """Return the mean binary cross-entropy with p clipped to [1e-7, 1 - 1e-7] (Keras)."""
    return F.binary_cross_entropy(probabilities.clamp(CLIP, 1 - CLIP), target)


def bce_with_logits(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of sigmoid(logits), finite for every logit and so not clipped."""
    return F.binary_cross_entropy_with_logits(logits, target)


def tversky_loss(probabilities: Tensor, target: Tensor, alpha: float = 0.7) -> Tensor:
    """Return 1 - (TP + e) / (TP + alpha FN + (1 - alpha) FP + e): alpha weights the false negatives."""
    tp = (probabilities * target).sum()
    missed = ((1 - probabilities) * target).sum()
    false = (probabilities * (1 - target)).sum()
    return 1 - (tp + TINY) / (tp + alpha * missed + (1 - alpha) * false + TINY)


def focal_tversky_loss(probabilities: Tensor, target: Tensor, alpha: float = 0.7, power: float = 0.75) -> Tensor:
    """Return the Tversky loss to the power 0.75."""
    # at a loss of exactly zero the power has an infinite slope
    return tversky_loss(probabilities, target, alpha).clamp_min(torch.finfo(torch.float32).eps) ** power


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dice": dice_loss,
    "bce": bce_loss,
    "tversky": tversky_loss,
    "focal_tversky": focal_tversky_loss,
    "log_cosh_dice": log_cosh_dice_loss,
}
