from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_medseg.io import read_one
from napari_medseg.methods.sc_dcnn.network import (
    class_weights,
    cross_entropy,
    inaccurate_label_loss,
    neighbour_views,
    spatial_constraint,
)

CENTRE = (1, 1)


def two_class(p: Tensor) -> Tensor:
    return torch.stack([1 - p, p])[None]


def toy(centre: float, rest: float, bright: float) -> tuple[Tensor, Tensor]:
    p, grey = torch.full((3, 3), rest), torch.zeros(3, 3)
    p[CENTRE], grey[CENTRE] = centre, bright
    return two_class(p), grey[None, None]


def brute_force(probabilities: np.ndarray, grey: np.ndarray, sigma: float = 0.5) -> np.ndarray:
    """The formula of the paper's code, written with loops over one image (K, *spatial)."""
    c, a = probabilities.max(0), probabilities.argmax(0)
    result = np.zeros(grey.shape)
    for i in np.ndindex(grey.shape):
        box = [range(max(0, k - 1), min(n, k + 2)) for k, n in zip(i, grey.shape, strict=True)]
        near = [j for j in np.array(np.meshgrid(*box)).reshape(len(box), -1).T.tolist() if tuple(j) != i]
        g = [math.exp(-((grey[i] - grey[tuple(j)]) ** 2) / (2 * sigma**2)) for j in near]
        s = [1 if a[i] == a[tuple(j)] else -1 for j in near]
        f = sum(w * e * c[i] * c[tuple(j)] for w, e, j in zip(g, s, near, strict=True))
        result[i] = 1 - f / (sum(g) + 1e-6)
    return result


@pytest.mark.parametrize(
    ("values", "corner", "edge", "centre", "mean"),
    [
        ((1.0, 0.0, 0.0), 0.6667, 0.4, 2.0, 0.69630),
        ((1.0, 0.0, 1.0), 0.1268, 0.0655, 2.0, 0.30765),
        ((0.9, 0.2, 0.0), 0.8133, 0.6320, 1.72, 0.83348),
    ],
)
def test_toy_values(values: tuple[float, float, float], corner: float, edge: float, centre: float, mean: float) -> None:
    sc = spatial_constraint(*toy(*values))[0]
    assert sc[0, 0] == pytest.approx(corner, abs=1e-4)
    assert sc[0, 1] == pytest.approx(edge, abs=1e-4)
    assert sc[CENTRE] == pytest.approx(centre, abs=1e-4)
    assert sc.mean() == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("shape", [(2, 7, 9), (2, 4, 5, 6), (3, 6, 5)])
def test_equals_brute_force(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    p = torch.randn(1, *shape, dtype=torch.float64).softmax(1)
    grey = torch.randn(1, 1, *shape[1:], dtype=torch.float64)
    expected = brute_force(p[0].numpy(), grey[0, 0].numpy())
    np.testing.assert_allclose(spatial_constraint(p, grey)[0].numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("number", [(10, 0.0366), (11, 0.0528), (12, 0.0244), (13, 0.0184)])
def test_label_values(number: tuple[int, float], shared_data: Path) -> None:
    folder = shared_data / "ccm" / "nottingham" / "train"
    image = read_one(folder / f"{number[0]}_org.tif").data.astype(np.float32)
    label = torch.from_numpy(read_one(folder / f"{number[0]}_lab.tif").data.astype(np.float32))
    z = torch.from_numpy((image - image.mean()) / image.std())[None, None]
    assert spatial_constraint(two_class(label), z).mean() == pytest.approx(number[1], abs=1e-3)


def test_limits() -> None:
    torch.manual_seed(0)
    grey = torch.rand(1, 1, 8, 8)
    assert spatial_constraint(two_class(torch.zeros(8, 8)), grey).abs().max() < 1e-5
    assert spatial_constraint(two_class(torch.full((8, 8), 0.5)), grey).mean() == pytest.approx(0.75, abs=1e-3)
    assert spatial_constraint(two_class(torch.ones(1, 1)), torch.zeros(1, 1, 1, 1)).item() == 1.0


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 3)])
def test_gradient_flows_through_confidence_only(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    p = torch.rand(2, *shape, dtype=torch.float64) * 0.8 + 0.1
    grey = torch.randn(2, 1, *shape, dtype=torch.float64)
    stacked = torch.stack([1 - p, p], 1).requires_grad_()
    weight = torch.randn(2, *shape, dtype=torch.float64)
    (spatial_constraint(stacked, grey) * weight).sum().backward()

    c, a = stacked.detach().max(1)
    c = c.requires_grad_()
    total, norm = torch.zeros_like(c), torch.full_like(c, 1e-6)
    for here, there in neighbour_views(len(shape)):
        for i, j in ((here, there), (there, here)):
            g = torch.exp(-2 * (grey[:, 0][i] - grey[:, 0][j]) ** 2)
            sign = torch.where(a[i] == a[j], 1.0, -1.0)
            full = torch.zeros_like(c)
            full[i] = g * sign * c[i] * c[j]
            total = total + full
            norm[i] += g
    ((1 - total / norm) * weight).sum().backward()
    expected = torch.zeros_like(stacked).scatter(1, a[:, None], c.grad[:, None])  # type: ignore[index]
    assert stacked.grad is not None
    torch.testing.assert_close(stacked.grad, expected)


def test_class_weights_of_the_spec_example() -> None:
    target = torch.zeros(384 * 384, dtype=torch.long)
    target[:3216] = 1
    weights = class_weights(target.reshape(1, 384, 384), 2)
    assert weights.tolist() == pytest.approx([0.02181, 0.97819], abs=1e-5)


def test_balanced_cross_entropy_is_not_renormalised() -> None:
    target = torch.zeros(1, 10, 10, dtype=torch.long)
    target[0, 0, :2] = 1
    logits = torch.zeros(1, 2, 10, 10)
    assert cross_entropy(logits, target) == pytest.approx(math.log(2) * 2 * 0.02 * 0.98, rel=1e-5)
    assert cross_entropy(logits, target, balanced=False) == pytest.approx(math.log(2), rel=1e-5)


def test_total_loss_and_its_terms() -> None:
    logits, image = torch.randn(2, 2, 8, 8, requires_grad=True), torch.randn(2, 1, 8, 8)
    target = torch.randint(0, 2, (2, 8, 8))
    terms = inaccurate_label_loss(logits, target, image)
    assert terms["loss"].item() == pytest.approx((0.9 * terms["ce"] + 0.1 * terms["sc"]).item())
    terms["loss"].backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert "sc" not in inaccurate_label_loss(logits, target, image, pairwise=0.0)


def test_a_batch_without_nerve_has_a_finite_loss() -> None:
    logits = torch.randn(1, 2, 4, 4)
    assert cross_entropy(logits, torch.zeros(1, 4, 4, dtype=torch.long)).item() == pytest.approx(0, abs=1e-6)


def test_isolated_pixels_are_pushed_down_and_lines_held_up() -> None:
    p = torch.full((9, 9), 0.1)
    p[2, 2] = p[5:8, :] = 0.9
    probabilities = two_class(p).requires_grad_()
    spatial_constraint(probabilities, torch.zeros(1, 1, 9, 9)).mean().backward()
    assert probabilities.grad is not None
    foreground = probabilities.grad[0, 1]
    assert foreground[2, 2] > 0
    assert foreground[6, 4] < 0
