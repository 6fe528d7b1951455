"""FullNet's own layers for bfloat16 on a processor agree with torch's in float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_medseg.methods.fullnet.network import Conv, Dropout, FullNetNetwork, Norm

LAST = torch.channels_last


def maps(channels: int, seed: int = 0) -> torch.Tensor:
    x = torch.randn(2, channels, 24, 20, generator=torch.Generator().manual_seed(seed))
    return x.bfloat16().to(memory_format=LAST)


@pytest.mark.parametrize("channels", [16, 20, 66])
@pytest.mark.parametrize("dilation", [1, 2, 7])
def test_gradients_of_dilated_convolution(channels: int, dilation: int) -> None:
    layer = Conv(channels, 12, 3, padding=dilation, dilation=dilation, bias=False)
    plain = nn.Conv2d(channels, 12, 3, padding=dilation, dilation=dilation, bias=False)
    plain.load_state_dict({"weight": layer.weight.detach().bfloat16().float()})
    x = maps(channels).requires_grad_()
    exact = x.detach().float().contiguous().requires_grad_()
    g = maps(12, 1)
    with torch.autocast("cpu", torch.bfloat16):
        layer(x).backward(g)
    plain(exact).backward(g.float().contiguous())
    for ours, true in ((layer.weight.grad, plain.weight.grad), (x.grad, exact.grad)):
        assert ours is not None
        assert true is not None
        assert float((ours.float() - true).abs().max()) < 0.02 * float(true.abs().max())


def test_norm_is_batch_normalisation() -> None:
    ours, true = Norm(20), nn.BatchNorm2d(20)
    for norm in (ours, true):
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.uniform_(norm.bias, -1, 1)
    true.load_state_dict(ours.state_dict())
    x = (maps(20) * 3 + 1).detach().requires_grad_()
    exact = x.detach().float().contiguous().requires_grad_()
    g = maps(20, 1)
    got, expected = ours(x), true(exact)
    got.backward(g)
    expected.backward(g.float().contiguous())
    assert got.is_contiguous(memory_format=LAST)
    torch.testing.assert_close(got.float(), expected, rtol=0.02, atol=0.03)
    assert x.grad is not None
    torch.testing.assert_close(x.grad.float(), exact.grad, rtol=0.03, atol=0.02)
    torch.testing.assert_close(ours.weight.grad, true.weight.grad, rtol=0.02, atol=1.5)
    torch.testing.assert_close(ours.bias.grad, true.bias.grad, rtol=0.02, atol=1.5)
    torch.testing.assert_close(ours.running_mean, true.running_mean, rtol=0.01, atol=1e-3)
    torch.testing.assert_close(ours.running_var, true.running_var, rtol=0.01, atol=1e-3)
    ours.momentum = None
    ours.reset_running_stats()
    ours(x)
    torch.testing.assert_close(ours.running_mean, exact.mean((0, 2, 3)), rtol=0.01, atol=5e-3)


def test_dropout_keeps_its_rate_and_mean() -> None:
    layer, x = Dropout(0.25), torch.ones(4, 12, 64, 64, dtype=torch.bfloat16).to(memory_format=LAST).requires_grad_()
    torch.manual_seed(0)
    y = layer(x)
    dropped = float((y == 0).float().mean())
    assert abs(dropped - 0.25) < 4 * (0.25 * 0.75 / y.numel()) ** 0.5
    assert float(y.detach().max()) == pytest.approx(4 / 3, rel=0.01)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, y.detach())
    torch.manual_seed(0)
    torch.testing.assert_close(layer(x), y)
    layer.eval()
    torch.testing.assert_close(layer(x), x)


def test_network_trains_in_bfloat16_as_in_float32() -> None:
    torch.manual_seed(0)
    net = FullNetNetwork(2, 12, dropout=0.0)
    x = torch.randn(2, 3, 40, 48)
    wanted = (x.mean(1) > 0).long()

    def gradient(halves: bool) -> torch.Tensor:
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=halves):
            output = net(x)
        assert output.dtype == torch.float32
        nn.functional.cross_entropy(output, wanted).backward()
        return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])

    exact, rounded = gradient(False), gradient(True)
    assert bool(torch.isfinite(rounded).all())
    assert float(torch.cosine_similarity(exact, rounded, 0)) > 0.85


def test_frozen_statistics_stay_and_are_what_training_sees() -> None:
    torch.manual_seed(0)
    net = FullNetNetwork(1, 4, dropout=0.0, freeze_norm=True).train()
    before = {name: value.clone() for name, value in net.named_buffers()}
    x = torch.randn(2, 3, 16, 16)
    seen = net(x)
    seen.sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in net.named_buffers())
    torch.testing.assert_close(net.eval()(x), seen)
    assert net.stages[0][0].weight.grad is not None
