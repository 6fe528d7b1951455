from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import napari_medseg.methods.fullnet.loss as module
from napari_medseg.methods.fullnet.loss import Options, varce


def case(seed: int = 0, size: int = 24) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    instances = np.zeros((3, size, size), np.int64)
    for b in range(2):  # the third image has no instance
        for i in range(1, 7):
            y, x, h, w = *rng.integers(0, size, 2), *rng.integers(1, 6, 2)
            instances[b, y : y + h, x : x + w] = i
        _, inverse = np.unique(instances[b], return_inverse=True)
        instances[b] = inverse.reshape(size, size)
    logits = torch.from_numpy(rng.normal(size=(3, 3, size, size)))
    target = torch.from_numpy(rng.integers(0, 3, (3, size, size)))
    weight = torch.from_numpy(rng.uniform(0, 11, (3, size, size)).astype(np.float32))
    return logits, target, weight, torch.from_numpy(instances)


def loop(logits: Tensor, target: Tensor, weight: Tensor, instances: Tensor, options: Options) -> Tensor:
    """Compute the loss instance by instance in double precision, as the definition reads."""
    p = torch.softmax(logits, 1)
    ce = (torch.nn.functional.cross_entropy(logits, target, reduction="none") * weight).mean()
    total = torch.zeros((), dtype=logits.dtype)
    for k in range(len(p)):
        count, image = int(instances[k].max()), torch.zeros((), dtype=logits.dtype)
        for i in range(1, count + 1):
            inside = p[k][:, instances[k] == i]
            if inside.shape[1] > 1:
                variances = inside.var(1, correction=int(options.unbiased))
                image = image + (variances.sum() if options.channels == "all" else variances[1])
        total = total + image / (count + 1e-8)
    return ce + options.alpha * total / len(p)


@pytest.mark.parametrize("options", [
    Options(), Options(alpha=3.0), Options(alpha=0.0), Options(channels="true_class"), Options(unbiased=False),
])  # fmt: skip
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("form", ["compiled", "vectorised"])
def test_loss_and_gradient_equal_the_loop(
    options: Options, seed: int, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "vectorised":  # what a GPU runs
        monkeypatch.setattr(module, "_on_cpu", module._vectorised)
    logits, target, weight, instances = case(seed)
    reference = logits.clone().requires_grad_()
    expected = loop(reference, target, weight, instances, options)
    expected.backward()
    fast = logits.float().requires_grad_()
    terms = varce(fast, target, weight, instances, options)
    (2 * terms["loss"]).backward()
    assert float(terms["loss"].detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
    assert reference.grad is not None
    assert fast.grad is not None
    torch.testing.assert_close(fast.grad, 2 * reference.grad.float(), atol=1e-5, rtol=1e-4)


def var_of(probabilities: list[list[float]], ids: list[int], **options: bool) -> float:
    p = torch.tensor(probabilities).T[None, :, None].clamp(1e-9)  # (1, 3, 1, W)
    zero = torch.zeros(1, 1, len(ids), dtype=torch.long)
    return float(varce(p.log(), zero, zero.float(), torch.tensor(ids)[None, None], Options(**options))["var"])


def test_constant_probabilities_have_no_variance() -> None:
    assert var_of([[0.2, 0.5, 0.3]] * 4 + [[0.1, 0.1, 0.8]] * 2, [1, 1, 1, 1, 2, 2]) == pytest.approx(0, abs=1e-12)


def test_two_opposite_pixels_have_variance_one() -> None:
    assert var_of([[1, 0, 0], [0, 1, 0]], [1, 1]) == pytest.approx(1.0)
    assert var_of([[1, 0, 0], [0, 1, 0]], [1, 1], unbiased=False) == pytest.approx(0.5)


def test_single_pixels_add_nothing_but_count() -> None:
    assert var_of([[1, 0, 0], [0, 1, 0], [0, 1, 0]], [1, 1, 2]) == pytest.approx(0.5)


def test_batch_without_instances_gives_a_zero_tensor() -> None:
    logits, target, weight, _ = case()
    terms = varce(logits.float().requires_grad_(), target, weight, torch.zeros_like(target))
    assert isinstance(terms["var"], Tensor)
    assert float(terms["var"]) == 0
    terms["loss"].backward()


def test_weight_zero_means_no_loss_and_extreme_logits_stay_finite() -> None:
    logits = torch.tensor([-500.0, 500.0, 0.0]).view(1, 3, 1, 1).repeat(1, 1, 2, 2).requires_grad_()
    target = torch.zeros(1, 2, 2, dtype=torch.long)
    assert float(varce(logits, target, torch.zeros(1, 2, 2), target)["loss"].detach()) == 0
    loss = varce(logits, target, torch.ones(1, 2, 2), target)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert float(logits.grad[0, 0].sum()) == pytest.approx(-1)


def test_layout_of_the_logits_does_not_matter() -> None:
    logits, target, weight, instances = case()
    grads = []
    for form in (torch.contiguous_format, torch.channels_last):
        leaf = logits.float().contiguous(memory_format=form).requires_grad_()
        varce(leaf, target, weight, instances)["loss"].backward()
        assert leaf.grad is not None
        grads.append(leaf.grad)
    torch.testing.assert_close(*grads)


def test_half_precision_logits_are_computed_in_float32() -> None:
    logits, target, weight, instances = case()
    half = logits.bfloat16().requires_grad_()
    terms = varce(half, target, weight, instances)
    terms["loss"].backward()
    assert terms["var"].dtype == torch.float32
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16
    same = varce(half.detach().float(), target, weight, instances)
    assert float(terms["loss"].detach()) == pytest.approx(float(same["loss"]))
