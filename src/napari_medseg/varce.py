"""Weighted cross entropy with the variance constraint of FullNet (varCE; Qu et al., MICCAI 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Channels = Literal["all", "true_class"]
INSIDE = 1
TINY = 1e-37  # keeps -log p finite; the gradient does not depend on it


@dataclass(frozen=True)
class Options:
    """What the loss leaves open.

    Parameters
    ----------
    alpha
        Weight of the variance term; 0 leaves it out.
    channels
        ``"all"`` sums the variances of all K channels (the authors' code), ``"true_class"`` takes channel 1 only.
    unbiased
        Divide by n - 1 (the authors' code) or by n.
    """

    alpha: float = 1.0
    channels: Channels = "all"
    unbiased: bool = True


def varce(
    logits: Tensor, target: Tensor, weight: Tensor, instances: Tensor, options: Options | None = None
) -> dict[str, Tensor]:
    """Return ``loss = ce + alpha * var`` with its terms, computed in float32.

    ce is the plain mean over pixels of w(x) * -log p_t(x), where p is the softmax; pixels of weight 0 count nothing but
    stay in the mean. var = (1/B) sum_k 1/(C_k + 1e-8) sum_i sum_c Var_{x in S_i} p_c(x) over the C_k instances of image
    k. An instance of one pixel adds 0 but counts in C_k; an image without instances adds 0. Sums over instances are
    scatter-adds, so the cost does not depend on their number.

    Parameters
    ----------
    logits
        (B, K, H, W).
    target
        Classes, int64 (B, H, W).
    weight
        (B, H, W).
    instances
        Labels int64 (B, H, W), 0 outside instances, 1 .. C_k in image k.
    options
        Weight and form of the variance term. Only ``"loss"`` can be differentiated.
    """
    options = options or Options()
    loss, ce, var = _VarCE.apply(logits, target, weight.float(), instances, options)  # type: ignore[no-untyped-call]
    return {"loss": loss, "ce": ce, "var": var}


class _VarCE(torch.autograd.Function):
    """Both terms with their common softmax; the gradient with respect to the logits is made in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, weight: Tensor, instances: Tensor, options: Options
    ) -> tuple[Tensor, Tensor, Tensor]:
        p = torch.softmax(logits.float(), 1).contiguous()
        flat, pixels = p.view(-1), p[0, 0].numel()
        true = torch.add(_places(len(p), p.shape[1], pixels, p.device), target.reshape(len(p), -1), alpha=pixels)
        true, share = true.view(-1), weight.reshape(-1) / max(target.numel(), 1)
        p_true = flat.index_select(0, true).clamp_min_(TINY)
        ce = -torch.dot(p_true.log(), share)
        var, where, slope = _variance(p, instances, options) if options.alpha else (ce.new_zeros(()), None, None)
        grad = p.view(len(p), p.shape[1], -1).mul_(share.view(len(p), 1, -1)).view(-1)  # in place: memory is what costs
        grad.scatter_(0, true, p_true.sub_(1).mul_(share))
        if where is not None and slope is not None:
            grad.index_add_(0, where, slope, alpha=2 * options.alpha)
        ctx.save_for_backward(grad.view(logits.shape).to(logits.dtype))
        ctx.mark_non_differentiable(ce, var)
        return ce + options.alpha * var, ce, var

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.saved_tensors[0] * grads[0], None, None, None, None


def _places(batch: int, channels: int, pixels: int, device: torch.device) -> Tensor:
    """Return where each pixel's first channel lies in flat (B, K, H, W), as (B, H * W)."""
    return torch.arange(batch, device=device)[:, None] * (channels * pixels) + torch.arange(pixels, device=device)


def _variance(p: Tensor, instances: Tensor, options: Options) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the variance term of probabilities (B, K, H, W), places in flat `p` and half its gradient there."""
    batch, channels, pixels = len(p), p.shape[1], p[0, 0].numel()
    inside = torch.nonzero(instances.reshape(-1)).squeeze(1)
    if not len(inside):
        return p.new_zeros(()), None, None
    index = instances.reshape(-1).index_select(0, inside)
    ids, image = int(index.max()) + 1, torch.div(inside, pixels, rounding_mode="floor")
    index.add_(image, alpha=ids)
    first = inside.add_(image, alpha=(channels - 1) * pixels)
    where = (first + pixels * torch.arange(channels, device=p.device)[:, None]).view(-1)
    values = p.view(-1).index_select(0, where).view(channels, -1)

    n = torch.bincount(index, minlength=batch * ids).to(values.dtype)
    count = (n.view(batch, ids) > 0).sum(1, keepdim=True)
    divisor = (n - int(options.unbiased)).clamp(min=1).view(batch, ids) * (count + 1e-8) * batch
    mean = values.new_zeros(channels, len(n)).index_add_(1, index, values) / n.clamp(min=1)
    deviation = mean.index_select(1, index).neg_().add_(values)
    if options.channels == "true_class":
        deviation *= (torch.arange(channels, device=p.device) == INSIDE)[:, None]
    scaled = deviation * divisor.reshape(-1).reciprocal().index_select(0, index)
    term = torch.dot(scaled.view(-1), deviation.view(-1))
    return term, where, scaled.sub_((values * scaled).sum(0)).mul_(values).view(-1)
