"""Loss for inaccurate annotations: balanced cross entropy and the spatial constraint.

N. Zhang et al., "A Spatially Constrained Deep Convolutional Neural Network for Nerve Fiber Segmentation in Corneal
Confocal Microscopic Images using Inaccurate Annotations", ISBI 2020, arXiv 2004.09443.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

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
