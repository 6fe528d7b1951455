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
        batch, channels, *spatial = logits.shape
        pixels = target.numel()
        p = torch.softmax(logits.float().transpose(0, 1).reshape(channels, -1), 0)
        share = weight.reshape(-1) / max(pixels, 1)
        true = torch.add(torch.arange(pixels, device=p.device), target.reshape(-1), alpha=pixels)
        ce = -torch.dot(p.view(-1).index_select(0, true).clamp_min_(TINY).log_(), share)
        grad = p * share
        grad.view(-1).index_add_(0, true, share, alpha=-1)
        var = _add_variance(p, instances, options, grad) if options.alpha else ce.new_zeros(())
        ctx.save_for_backward(grad.view(channels, batch, *spatial).transpose(0, 1).to(logits.dtype))
        ctx.mark_non_differentiable(ce, var)
        return ce + options.alpha * var, ce, var

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.saved_tensors[0] * grads[0], None, None, None, None


def _add_variance(p: Tensor, instances: Tensor, options: Options, grad: Tensor) -> Tensor:
    """Return the variance term of probabilities (K, B * H * W) and add alpha times its gradient to `grad`."""
    batch, ids = len(instances), int(instances.max()) + 1
    if ids == 1:
        return p.new_zeros(())
    where = torch.nonzero(instances.reshape(-1)).squeeze(1)
    offsets = ids * torch.arange(batch, device=p.device).view(-1, 1, 1)
    index = (instances + offsets).reshape(-1).index_select(0, where)
    values = p.index_select(1, where)

    n = torch.bincount(index, minlength=batch * ids).to(values.dtype)
    count = (n.view(batch, ids) > 0).sum(1, keepdim=True)
    divisor = (n - int(options.unbiased)).clamp(min=1).view(batch, ids) * (count + 1e-8) * batch
    mean = values.new_zeros(len(p), len(n)).index_add_(1, index, values) / n.clamp(min=1)
    deviation = mean.index_select(1, index).neg_().add_(values)
    if options.channels == "true_class":
        deviation *= (torch.arange(len(p), device=p.device) == INSIDE)[:, None]
    scaled = deviation * divisor.reshape(-1).reciprocal().index_select(0, index)
    term = torch.dot(scaled.view(-1), deviation.view(-1))
    slope = scaled.sub_((values * scaled).sum(0)).mul_(values)  # half the derivative by the logits
    for plane, part in zip(grad, slope, strict=True):
        plane.index_add_(0, where, part, alpha=2 * options.alpha)
    return term
