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
    scatter-adds (on a CPU compiled passes), so the cost does not depend on their number.

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
        share = weight.reshape(len(p), -1) / max(target.numel(), 1)
        work = _on_cpu if p.device.type == "cpu" else _vectorised
        flat = p.view(len(p), p.shape[1], -1), target.reshape(len(p), -1), share, instances.reshape(len(p), -1)
        ce, var = work(*flat, options)
        ctx.save_for_backward(p.to(logits.dtype))
        ctx.mark_non_differentiable(ce, var)
        return ce + options.alpha * var, ce, var

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.saved_tensors[0] * grads[0], None, None, None, None


# Both forms take p (B, K, N), target, share and instances (B, N), and leave the gradient in p: memory is what costs.
def _on_cpu(p: Tensor, target: Tensor, share: Tensor, instances: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    from napari_medseg.methods.fullnet.loss_cpu import differentiate, gather

    inside = instances if options.alpha else torch.zeros_like(instances)
    values, target_, share_, inside_ = (part.detach().numpy() for part in (p, target, share.contiguous(), inside))
    true, n, mean = gather(values, target_, inside_)
    ce = -torch.dot(torch.from_numpy(true).clamp_min_(TINY).log_().view(-1), share.reshape(-1))
    factor = _factors(torch.from_numpy(n), options).numpy()
    only = INSIDE if options.channels == "true_class" else -1
    return ce, ce.new_tensor(differentiate(values, target_, share_, inside_, mean, factor, only, options.alpha))


def _vectorised(p: Tensor, target: Tensor, share: Tensor, instances: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    true = p.gather(1, target[:, None])[:, 0]
    ce = -(true.clamp_min(TINY).log_() * share).sum()
    var, change = ce.new_zeros(()), None
    if options.alpha and instances.any():
        var, change = _variance(p, instances, options)
    p.mul_(share[:, None] if change is None else change.mul_(2 * options.alpha).add_(share[:, None]))
    p.scatter_add_(1, target[:, None], -share[:, None])
    return ce, var


def _factors(n: Tensor, options: Options) -> Tensor:
    """Return what the squared deviations of instances of n (B, I) pixels are multiplied by."""
    count = (n[:, 1:] > 0).sum(1, keepdim=True)
    return 1 / ((n - int(options.unbiased)).clamp(min=1) * (count + 1e-8) * len(n))


def _variance(p: Tensor, instances: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """Return the variance term and half its derivative by log p (B, K, N)."""
    batch, channels, pixels = p.shape
    ids = int(instances.max()) + 1
    index = instances[:, None].expand(-1, channels, -1)
    n = p.new_zeros(batch, ids).scatter_add_(1, instances, p.new_ones(()).expand(batch, pixels))
    mean = p.new_zeros(batch, channels, ids).scatter_add_(2, index, p) / n.clamp(min=1)[:, None]
    factor = _factors(n, options)
    factor[:, 0] = 0
    deviation = p - mean.gather(2, index)
    if options.channels == "true_class":
        deviation *= (torch.arange(channels, device=p.device) == INSIDE)[:, None]
    scaled = deviation * factor.gather(1, instances)[:, None]
    return (scaled * deviation).sum(), scaled.sub_((p * scaled).sum(1, keepdim=True))
