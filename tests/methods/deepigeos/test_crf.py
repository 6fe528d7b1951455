"""CRF-Net against a hand-computed example, a dense reference, finite differences and its invariants."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch

from napari_medseg.methods.deepigeos.crf import (
    HARD,
    CRFNet,
    FreeformKernel,
    LearnedTable,
    Table,
    contrast_target,
    pretrain_pairwise,
)

KERNELS = ("gaussian", "bilateral", "freeform")


def dense_reference(crf: CRFNet, logits: torch.Tensor, features: torch.Tensor, iterations: int) -> torch.Tensor:
    """Loop over all pairs of pixels inside the window, for one image."""
    shape = logits.shape[2:]
    places = list(product(*map(range, shape)))
    unary = logits[0]
    current = unary.clone()
    for _ in range(iterations):
        q = torch.softmax(current, 0)
        nxt = unary.clone()
        for i in places:
            message = torch.zeros_like(unary[(slice(None), *i)])
            for j in places:
                step = [b - a for a, b in zip(i, j, strict=True)]
                if i == j or any(abs(s) > r for s, r in zip(step, crf.radii, strict=True)):
                    continue
                difference = (features[(0, slice(None), *i)] - features[(0, slice(None), *j)])[None, :, None]
                message = message + crf.kernel(difference, math.hypot(*step))[0, 0] * q[(slice(None), *j)]
            nxt[(slice(None), *i)] = unary[(slice(None), *i)] - crf.compatibility @ message
        current = nxt
    return current[None]


def test_hand_computed_3x3() -> None:
    # 3x3 image of constant intensity, Gaussian kernel of weight 1: w = 1 for all eight neighbours.
    # All pixels certain of class 0 (Q = (1, 0)) but the centre, which is certain of class 1.
    # Message at the centre: (8, 0); Potts: class 1 is punished by 8. A corner sees 2 zeros and the centre: (2, 1).
    crf = CRFNet(kernel="gaussian", window=(3, 3), iterations=(1, 1)).eval()
    logits = torch.zeros(1, 2, 3, 3)
    logits[:, 0], logits[:, 1] = 100, -100
    logits[0, :, 1, 1] = torch.tensor([-100.0, 100.0])
    out = crf(logits, torch.zeros(1, 1, 3, 3))
    assert out[0, :, 1, 1].tolist() == [-100 - 0, 100 - 8]
    assert out[0, :, 0, 0].tolist() == [100 - 1, -100 - 2]
    assert out[0, :, 0, 1].tolist() == [100 - 1, -100 - 4]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", [(5, 6), (3, 4, 4)])
def test_equals_the_dense_loop(kernel: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    crf = CRFNet(3, 2, ndim=len(shape), kernel=kernel, iterations=(2, 2)).eval()  # type: ignore[arg-type]
    logits, features = torch.randn(1, 3, *shape), torch.randn(1, 2, *shape) * 0.1
    with torch.no_grad():
        expected = dense_reference(crf, logits, features, 2)
        torch.testing.assert_close(crf(logits, features), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_cached_recomputed_and_training_paths_agree(kernel: str) -> None:
    torch.manual_seed(1)
    crf = CRFNet(2, 1, kernel=kernel, iterations=(3, 3)).eval()  # type: ignore[arg-type]
    logits, features = torch.randn(2, 2, 12, 9), torch.randn(2, 1, 12, 9)
    with torch.no_grad():
        cached = crf(logits, features)
        crf.cache_bytes = 0
        recomputed = crf(logits, features)
    with_gradient = crf(logits.requires_grad_(), features)
    torch.testing.assert_close(cached, recomputed)
    torch.testing.assert_close(cached, with_gradient.detach(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [Table, LearnedTable])
def test_table_equals_the_perceptron(kind: type[Table]) -> None:
    kernel = FreeformKernel(1)
    pretrain_pairwise(kernel, samples=5000, epochs=4)
    features = torch.randn(1, 1, 200, 200) * 2
    with torch.no_grad():
        table = kind(kernel, features, [2.0])
        looked_up = table(table.places[..., 1:], table.places[..., :-1], 2.0)
        exact = kernel.evaluate((features[..., 1:] - features[..., :-1]).reshape(1, 1, -1), 2.0)
    torch.testing.assert_close(looked_up.flatten(), exact.flatten(), rtol=0, atol=1e-3)


def test_learned_table_has_the_perceptrons_gradient() -> None:
    kernel = FreeformKernel(1)
    pretrain_pairwise(kernel, samples=5000, epochs=4)
    features = torch.randn(1, 1, 50, 50)
    table = LearnedTable(kernel, features, [2.0])
    exact = kernel.evaluate((features[..., 1:] - features[..., :-1]).reshape(1, 1, -1), 2.0).square().mean()
    fitted = table(table.places[..., 1:], table.places[..., :-1], 2.0).square().mean()
    expected, found = (torch.autograd.grad(loss, list(kernel.parameters())) for loss in (exact, fitted))
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradients(kernel: str) -> None:
    torch.manual_seed(2)
    crf = CRFNet(2, 1, kernel=kernel, window=(3, 3), iterations=(2, 2), hidden=(4,)).double()  # type: ignore[arg-type]
    logits = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    features = torch.randn(1, 1, 3, 4, dtype=torch.float64) * 0.1
    scribbles = torch.zeros(1, 3, 4, dtype=torch.int8)
    scribbles[0, 1, 1] = 2
    parameters = list(crf.parameters())

    def run(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        names = [name for name, _ in crf.named_parameters()]
        free = scribbles[:, None] == 0
        out = torch.func.functional_call(crf, dict(zip(names, values, strict=True)), (x, features, scribbles))
        return out * free

    assert torch.autograd.gradcheck(run, (logits, *parameters))


@pytest.mark.parametrize("kernel", KERNELS)
def test_scribbled_pixels_never_change(kernel: str) -> None:
    torch.manual_seed(3)
    crf = CRFNet(3, 1, kernel=kernel)  # type: ignore[arg-type]
    logits, features = torch.randn(1, 3, 10, 10, requires_grad=True), torch.randn(1, 1, 10, 10)
    scribbles = torch.randint(0, 4, (1, 10, 10), dtype=torch.int8)
    for crf_mode in (crf.train(), crf.eval()):
        out = crf_mode(logits, features, scribbles)
        marked = scribbles > 0
        q = torch.softmax(out, 1).movedim(1, -1)[marked]
        assert torch.equal(q.argmax(1) + 1, scribbles[marked].long())
        assert torch.equal(q.amax(1), torch.ones(len(q)))
        assert torch.equal(out.movedim(1, -1)[marked].abs(), torch.full_like(q, HARD))
    out.movedim(1, -1)[marked].sum().backward()
    assert logits.grad is None or not logits.grad.any()


def test_a_scribble_speaks_to_its_neighbours() -> None:
    crf = CRFNet(kernel="gaussian", window=(3, 3), iterations=(1, 1)).eval()
    logits, features = torch.zeros(1, 2, 5, 5), torch.zeros(1, 1, 5, 5)
    scribbles = torch.zeros(1, 5, 5, dtype=torch.int8)
    scribbles[0, 2, 2] = 2
    out = crf(logits, features, scribbles)
    margin = (out[0, 1] - out[0, 0]).detach()
    assert margin[2, 1] == pytest.approx(1.0)
    assert margin[0, 0] == pytest.approx(0.0)


def test_uniform_image_keeps_equal_logits_equal() -> None:
    crf = CRFNet(4, 1).eval()
    out = crf(torch.zeros(1, 4, 9, 9), torch.full((1, 1, 9, 9), 0.7))
    torch.testing.assert_close(out, out[:, :1].expand_as(out))


def test_noise_is_removed_inside_a_region_but_not_across_an_edge() -> None:
    features = torch.zeros(1, 1, 16, 16)
    features[..., 8:] = 1
    logits = torch.stack([1 - 2 * features[0, 0], 2 * features[0, 0] - 1])[None]
    logits[0, :, 4, 4] = torch.tensor([-0.5, 0.5])
    crf = CRFNet(kernel="gaussian").eval()
    labels = crf(logits, features).argmax(1)[0]
    assert torch.equal(labels, (features[0, 0] > 0.5).long())


def test_compatibility_starts_as_potts_and_no_gradient_reaches_the_image() -> None:
    crf = CRFNet(3)
    assert crf.compatibility.tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    features = torch.randn(1, 1, 6, 6, requires_grad=True)
    crf(torch.randn(1, 3, 6, 6, requires_grad=True), features).sum().backward()
    assert features.grad is None
    assert crf.compatibility.grad is not None


def test_training_memory_does_not_hold_the_window() -> None:
    crf = CRFNet(2, 1, iterations=(3, 3))
    n = 24 * 24
    seen: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        crf(torch.randn(1, 2, 24, 24, requires_grad=True), torch.randn(1, 1, 24, 24))
    assert (
        0 < sum(seen.values()) < 40 * 2 * n * 4
    )  # 48 neighbours x 3 iterations x 96 hidden values would be 6900 n floats


def test_windows_are_the_papers() -> None:
    assert len(CRFNet(ndim=2).offsets) == 48
    assert len(CRFNet(ndim=3).offsets) == 74


def test_half_precision_logits_are_refined_in_single() -> None:
    crf = CRFNet(kernel="bilateral").eval()
    assert crf(torch.randn(1, 2, 8, 8, dtype=torch.bfloat16), torch.randn(1, 1, 8, 8)).dtype == torch.float32


def test_pretraining_reaches_the_target_and_is_repeatable() -> None:
    first, second = FreeformKernel(1), FreeformKernel(1)
    error = pretrain_pairwise(first, samples=20_000, epochs=10)
    assert error == pretrain_pairwise(second, samples=20_000, epochs=10)
    assert error < 2e-3
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    near, far = (first.evaluate(torch.tensor([[[d]]]), 1.5).item() for d in (0.0, 0.5))
    assert near > 0.15 > 0.05 > abs(far)


def test_contrast_target_values() -> None:
    difference = torch.tensor([[0.0], [0.08], [0.0]])
    distance = torch.tensor([1.0, 2.0, 0.1])
    np.testing.assert_allclose(contrast_target(difference, distance), [0.5, 0.25 * math.exp(-0.5), 0.5], rtol=1e-6)


def test_a_pretrained_kernel_is_left_alone() -> None:
    crf = CRFNet()
    crf.pretrained.fill_(1)
    before = [p.clone() for p in crf.parameters()]
    crf.pretrain()
    assert all(torch.equal(a, b) for a, b in zip(before, crf.parameters(), strict=True))
