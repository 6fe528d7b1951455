from __future__ import annotations

import pytest
import torch

from napari_medseg.method import count_parameters
from napari_medseg.nn.encoders import VGG, Xception

# positions of the convolutions in torchvision's `features`
VGG_CONVOLUTIONS = {
    "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "vgg19": (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
}
VGG_PARAMETERS = {"vgg16": 14_714_688, "vgg19": 20_024_384}  # Keras' summaries without top


@pytest.mark.parametrize("name", VGG_PARAMETERS)
def test_vgg_has_torchvisions_names_and_size(name: str) -> None:
    vgg = VGG(name)
    names = {f"features.{i}.{kind}" for i in VGG_CONVOLUTIONS[name] for kind in ("weight", "bias")}
    assert set(vgg.state_dict()) == names
    assert count_parameters(vgg)[1] == VGG_PARAMETERS[name]


def test_vgg_returns_the_stages_before_each_pool() -> None:
    vgg = VGG("vgg16").eval()
    with torch.no_grad():
        stages = vgg(torch.rand(1, 3, 32, 48))
    assert [tuple(s.shape[1:]) for s in stages] == [
        (64, 32, 48), (128, 16, 24), (256, 8, 12), (512, 4, 6), (512, 2, 3)
    ]  # fmt: skip
    assert all(s.min() >= 0 for s in stages)


@pytest.mark.parametrize("blocks", [1, 3])
def test_xception_sizes_follow_keras(blocks: int) -> None:
    with torch.no_grad():
        stages = Xception().eval()(torch.rand(1, 3, 32 * blocks, 32))
    m = blocks
    assert [s.shape[2] for s in stages] == [16 * m - 3, 8 * m - 1, 4 * m, 2 * m]
    assert [s.shape[1] for s in stages] == [128, 256, 728, 1024]


def test_xception_has_timms_names() -> None:
    keys = Xception().state_dict()
    assert keys["conv1.weight"].shape == (32, 3, 3, 3)
    assert keys["block1.rep.0.conv1.weight"].shape == (64, 1, 3, 3)
    assert keys["block1.rep.0.pointwise.weight"].shape == (128, 64, 1, 1)
    assert keys["block1.rep.4.running_var"].shape == (128,)
    assert keys["block2.rep.1.pointwise.weight"].shape == (256, 128, 1, 1)
    assert keys["block3.skipbn.weight"].shape == (728,)
    assert keys["block11.rep.7.conv1.weight"].shape == (728, 1, 3, 3)
    assert keys["block12.rep.4.pointwise.weight"].shape == (1024, 728, 1, 1)
    assert "block12.skip.weight" not in keys
