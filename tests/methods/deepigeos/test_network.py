"""P-Net and R-Net: published parameter counts, receptive field, equality with concatenation, memory."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from shorthand import trainable

from napari_medseg.methods.deepigeos.crf import HARD, CRFNet
from napari_medseg.methods.deepigeos.network import InstanceNorm, PRNet, RefinedNet, fold, unfold


@pytest.mark.parametrize(
    ("ndim", "channels", "expected"), [(2, 1, 485_122), (2, 4, 486_850), (3, 1, 48_262), (3, 4, 49_558)]
)
def test_parameter_counts_are_the_papers(ndim: int, channels: int, expected: int) -> None:
    assert trainable(PRNet(channels, ndim=ndim)) == expected


@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize("ndim", [2, 3])
def test_output_has_the_input_size_whatever_it_is(ndim: int, modern: bool) -> None:
    shape = (7, 9, 11)[-ndim:]
    net = PRNet(2, 3, ndim=ndim, width=8, modern=modern)
    output = net(torch.randn(2, 2, *shape))
    assert output.shape == (2, 3, *shape)
    output.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize(("ndim", "size"), [(2, (191, 191)), (3, (41, 95, 95))])
def test_receptive_field(ndim: int, size: tuple[int, ...]) -> None:
    net = PRNet(1, 2, ndim=ndim, width=4).eval()
    for p in net.parameters():
        p.data.abs_()
    x = torch.ones(1, 1, *size, requires_grad=True)
    centre = tuple(n // 2 for n in size)
    net(x)[(0, 0, *centre)].backward()
    reach = [int((index - c).abs().max()) for index, c in zip(x.grad[0, 0].nonzero().T, centre, strict=True)]
    assert tuple(reach) == net.receptive_radius()
    assert net.receptive_radius() == ((90, 90) if ndim == 2 else (16, 43, 43))


@pytest.mark.parametrize("ndim", [2, 3])
def test_summed_classifier_equals_concatenation(ndim: int) -> None:
    net = PRNet(1, 2, ndim=ndim, width=8).eval()
    x = torch.randn(1, 1, *(6, 12, 10)[-ndim:])
    sides, y = [], x
    for block, side in zip(net.blocks, net.sides, strict=True):
        y = block(y)
        sides.append(side(y))
    torch.testing.assert_close(net(x), net.classify(F.relu(net.mix(torch.cat(sides, 1)))))


def test_a_wrong_3d_dilation_would_show() -> None:
    net = PRNet(ndim=3)
    kernels = [(m.kernel_size, m.dilation) for m in net.blocks.modules() if isinstance(m, torch.nn.Conv3d)]
    assert kernels[:5] == [((3, 3, 3), (1, 1, 1)), ((1, 3, 3), (1, 1, 1)), ((3, 3, 3), (2, 2, 2)),
                           ((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (3, 3, 3))]  # fmt: skip
    assert len(kernels) == 13


def test_inference_holds_no_more_feature_maps_than_stated() -> None:
    net = PRNet(ndim=3).eval()
    alive: list[weakref.ref[torch.Tensor]] = []
    worst = 0

    def note(_module: object, _inputs: object, output: torch.Tensor) -> None:
        nonlocal worst
        alive.append(weakref.ref(output))
        storages = {t.data_ptr(): t.numel() for ref in alive if (t := ref()) is not None}
        worst = max(worst, sum(storages.values()))

    for module in net.modules():
        if isinstance(module, torch.nn.Conv3d | torch.nn.ReLU):
            module.register_forward_hook(note)
    gc.collect()
    shape = (8, 12, 10)
    with torch.no_grad():
        net(torch.randn(1, 1, *shape))
    assert 0 < 4 * worst <= net.peak_bytes(shape)


def test_stated_memory_of_a_full_brats_volume() -> None:
    assert PRNet(ndim=3).peak_bytes((240, 240, 155)) == pytest.approx(1.857e9, rel=1e-3)


@pytest.mark.parametrize("downsample", [1, 2])
def test_scribbles_hold_at_full_resolution(downsample: int) -> None:
    net = RefinedNet(
        PRNet(4, ndim=3, width=4), CRFNet(ndim=3, kernel="gaussian"), downsample=downsample, constrained=True
    )
    x = torch.randn(1, 5, 4, 8, 6)
    x[:, -1] = 0
    x[0, -1, 1, 2, 3], x[0, -1, 2, 5, 5] = 2, 1
    logits = net.eval()(x)
    assert logits.shape == (1, 2, 4, 8, 6)
    assert logits[0, :, 1, 2, 3].tolist() == [-HARD, HARD]
    assert logits[0, :, 2, 5, 5].tolist() == [HARD, -HARD]


def test_downsampled_network_answers_on_the_input_grid() -> None:
    net = RefinedNet(PRNet(1, ndim=3, width=4), downsample=2)
    assert net(torch.randn(1, 1, 8, 12, 16)).shape == (1, 2, 8, 12, 16)


def test_inactive_crf_is_left_out() -> None:
    net = RefinedNet(PRNet(1, width=4), CRFNet(kernel="bilateral")).eval()
    x = torch.randn(1, 1, 8, 8)
    with_crf = net(x)
    net.crf_active.fill_(0)
    torch.testing.assert_close(net(x), net.net(x))
    assert not torch.allclose(with_crf, net(x))
    assert "crf_active" in net.state_dict()


@pytest.mark.parametrize("shape", [(6, 8), (4, 6, 8)])
def test_folding_keeps_every_value_and_orders_blocks_as_pixel_unshuffle(shape: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *shape)
    folded = fold(x, 2)
    assert folded.shape == (2, 3 * 2 ** len(shape), *(n // 2 for n in shape))
    assert torch.equal(unfold(folded, 2), x)
    if len(shape) == 2:
        assert torch.equal(folded, F.pixel_unshuffle(x, 2))
    assert torch.equal(folded[1, 0].ravel(), x[1, 0][(slice(None, None, 2),) * len(shape)].ravel())


def test_packed_net_is_equivariant_to_shifts_by_whole_blocks() -> None:
    torch.manual_seed(0)
    net = RefinedNet(PRNet(4, 8, width=8), pack=2).eval()
    x = torch.zeros(1, 1, 420, 16)
    x[..., 208:212, 6:10] = torch.randn(4, 4)
    moved = torch.roll(x, 2, 2)
    torch.testing.assert_close(torch.roll(net(x), 2, 2)[..., 190:230, :], net(moved)[..., 190:230, :])


@pytest.mark.parametrize("shape", [(1, 5, 4, 6), (1, 5, 4, 6, 3), (3, 5, 4, 6)])
def test_instance_norm_is_torchs(shape: tuple[int, ...]) -> None:
    ours, x = InstanceNorm(5), torch.randn(shape) * 3 + 1
    theirs = (torch.nn.InstanceNorm2d if len(shape) == 4 else torch.nn.InstanceNorm3d)(5, affine=True)
    ours.weight.data.uniform_()
    ours.bias.data.uniform_()
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
