from __future__ import annotations

import math

import pytest
import torch

from napari_medseg.nn import losses
from napari_medseg.nn.losses import LOSSES

# TP = .9 + .2 = 1.1, FN = .1 + .8 = .9, FP = .6
P = torch.tensor([[[[0.9, 0.2], [0.6, 0.0]]]], dtype=torch.float64)
Y = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]], dtype=torch.float64)
BY_HAND = {
    "dice": 1 - (2 * 1.1 + 1) / (1.7 + 2 + 1),
    "bce": -(math.log(0.9) + math.log(0.2) + math.log(0.4) + math.log(1 - 1e-7)) / 4,
    "tversky": 1 - 1.1 / (1.1 + 0.7 * 0.9 + 0.3 * 0.6),
    "focal_tversky": (1 - 1.1 / (1.1 + 0.7 * 0.9 + 0.3 * 0.6)) ** 0.75,
    "log_cosh_dice": math.log(math.cosh(1 - 3.2 / 4.7)),
}


def test_every_loss_is_tested() -> None:
    assert LOSSES.keys() == BY_HAND.keys()


@pytest.mark.parametrize("name", LOSSES)
def test_value_by_hand(name: str) -> None:
    assert LOSSES[name](P, Y).item() == pytest.approx(BY_HAND[name], abs=1e-9)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("fill", ["half", "nothing", "all"])
def test_perfect_answer_is_about_zero(name: str, fill: str) -> None:
    target = torch.zeros(2, 1, 4, 4)
    target[:, :, : {"half": 2, "nothing": 0, "all": 4}[fill]] = 1
    assert LOSSES[name](target.clone(), target).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_finite_at_perfect_and_at_worst(name: str) -> None:
    target = torch.tensor([0.0, 1.0, 1.0, 0.0])
    for p in (target.clone(), 1 - target):
        p.requires_grad_()
        LOSSES[name](p, target).backward()
        assert torch.isfinite(p.grad).all()


@pytest.mark.parametrize("name", [n for n in LOSSES if n != "bce"])
def test_sums_run_over_the_whole_batch(name: str) -> None:
    torch.manual_seed(0)
    p, y = torch.rand(3, 1, 5, 5), (torch.rand(3, 1, 5, 5) > 0.6).float()
    assert LOSSES[name](p, y).item() == pytest.approx(LOSSES[name](p.ravel(), y.ravel()).item(), abs=1e-6)
    per_image = torch.stack([LOSSES[name](a, b) for a, b in zip(p, y, strict=True)]).mean()
    assert LOSSES[name](p, y).item() != pytest.approx(per_image.item(), abs=1e-6)


def test_published_log_cosh_value() -> None:
    assert losses.log_cosh(torch.tensor(0.3394)).item() == pytest.approx(0.0565, abs=5e-5)


def test_log_cosh_does_not_overflow() -> None:
    x = torch.tensor([-1000.0, 1000.0])
    torch.testing.assert_close(losses.log_cosh(x), torch.full((2,), 1000 - math.log(2)))


def test_cross_entropy_of_logits_equals_that_of_probabilities_and_stays_finite() -> None:
    logits, y = torch.linspace(-8, 8, 9), torch.tensor([0.0, 1, 0, 1, 0, 1, 0, 1, 0])
    torch.testing.assert_close(losses.bce_with_logits(logits, y), losses.bce_loss(logits.sigmoid(), y))
    assert losses.bce_with_logits(torch.tensor([1e4]), torch.tensor([0.0])).item() == pytest.approx(1e4)
    assert losses.bce_loss(torch.tensor([1.0]), torch.tensor([0.0])).item() == pytest.approx(16.118, abs=0.2)


def test_false_negatives_weigh_more_in_tversky() -> None:
    y = torch.tensor([1.0, 1, 0, 0])
    missed, invented = torch.tensor([1.0, 0, 0, 0]), torch.tensor([1.0, 1, 1, 0])
    assert losses.tversky_loss(missed, y).item() == pytest.approx(1 - 1 / 1.7)
    assert losses.tversky_loss(invented, y).item() == pytest.approx(1 - 2 / 2.3)


def test_dice_and_tversky_equal_monais() -> None:
    monai = pytest.importorskip("monai.losses")
    torch.manual_seed(1)
    p, y = torch.rand(2, 1, 6, 6), (torch.rand(2, 1, 6, 6) > 0.5).float()
    dice = monai.DiceLoss(batch=True, smooth_nr=1, smooth_dr=1)
    tversky = monai.TverskyLoss(alpha=0.3, beta=0.7, smooth_nr=1e-15, smooth_dr=1e-15, batch=True)
    torch.testing.assert_close(losses.dice_loss(p, y), dice(p, y))
    torch.testing.assert_close(losses.tversky_loss(p, y), tversky(p, y))
