"""What every method must do. A new method adds its lines to the tables below."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_medseg.image import Image
from napari_medseg.inference.network import predict
from napari_medseg.inference.tiling import pad_to
from napari_medseg.jobs import run
from napari_medseg.method import Method, Model
from napari_medseg.methods import METHODS, get_method
from napari_medseg.settings import PredictSettings

# trainable parameters under default settings, from the papers' specifications
PARAMETERS = {
    "afm-unet": 1_943_985, "sc-dcnn": 2_161_856, "fullnet": 1_780_233, "p-net": 485_122, "r-net": 486_850,
    "double-unet": 29_290_274, "frame-classifier": 18_092_928 + 5_763,
}  # fmt: skip
# settings that make a method quick to test
SMALL: dict[str, dict[str, Any]] = {
    "p-net": {"width": 8, "modern": True},
    "r-net": {"width": 8, "modern": True},
    "afm-unet": {"architecture": "unet2", "dropout": 0.0},
    "sc-dcnn": {"width": 4, "patch": 64},
    "fullnet": {"n_layers": 2, "growth": 4, "crop": 32},
    "double-unet": {"input_size": 32, "encoder_weights": "none"},
    "frame-classifier": {"backbone": "densenet121", "input_size": 32, "encoder_weights": "none"},
}
# spatial shape of a test image where (37, 45) or (19, 21, 22) will not do
SHAPES: dict[str, tuple[int, ...]] = {}
# methods whose augmentation ends with a crop
CROPPING = {"fullnet"}
# methods whose loss labels components, which is done on the CPU
LABELS_ON_THE_CPU = {"fullnet"}
# maker of one training case (x, y) where a blob on a dark ground will not do
CASES: dict[str, Callable[[Method], tuple[np.ndarray, np.ndarray]]] = {
    "frame-classifier": lambda method: (method.prepare(_images(method)[0]), np.array(1)),
}


@pytest.fixture(params=METHODS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def method(name: str) -> Method:
    torch.manual_seed(0)
    cls = get_method(name)
    return cls(cls.Settings.parse(SMALL.get(name, {})))


def _images(method: Method) -> tuple[Image, Image]:
    """Make a noisy image with a bright ball in the middle, and its label."""
    shape = SHAPES.get(method.name, (37, 45) if method.ndim == 2 else (19, 21, 22))
    centred = [np.linspace(-1, 1, n) for n in shape]
    ball = (np.sqrt(sum(g**2 for g in np.meshgrid(*centred, indexing="ij"))) < 0.6).astype(np.uint8)
    rng = np.random.default_rng(0)
    n_channels = getattr(method.settings, "modalities", method.in_channels)  # R-Net adds proposal and scribbles itself
    channels = [60 + 120 * ball + rng.integers(0, 40, shape) for _ in range(n_channels)]
    axes = "ZYX"[-len(shape) :]
    scale, units = (0.5, 0.25, 0.25)[-len(shape) :], ("micrometer",) * len(shape)
    image = Image(np.stack(channels, -1).astype(np.uint8), axes + "C", scale, units, name="ball")
    return image, Image(ball, axes, scale, units, kind="labels", name="ball")


def _case(method: Method) -> tuple[np.ndarray, np.ndarray]:
    if method.name in CASES:
        return CASES[method.name](method)
    image, labels = _images(method)
    return method.prepare(image), method.target(labels)


def _batch(method: Method) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(0)
    pairs = [method.sample(*_case(method), rng) for _ in range(2)]
    return tuple(torch.from_numpy(np.stack(arrays)) for arrays in zip(*pairs, strict=True))


def test_class_says_what_it_is(name: str) -> None:
    cls = get_method(name)
    assert cls.name == name
    assert cls.title
    assert cls.doi.startswith("10.")
    assert cls.ndim in (2, 3)


def test_parameter_count_is_the_papers(name: str) -> None:
    network = get_method(name)().build_network()
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == PARAMETERS[name]


def test_settings_survive_json(name: str) -> None:
    cls = get_method(name)
    for settings in (cls.Settings(), cls.Settings.parse(SMALL.get(name, {}))):
        assert cls.Settings.parse(json.loads(json.dumps(settings.model_dump(mode="json")))) == settings
        assert cls.Settings.model_validate_json(settings.model_dump_json()) == settings


def test_input_and_target_have_the_declared_form(method: Method) -> None:
    x, y = _case(method)
    assert x.dtype == np.float32
    assert x.shape[0] == method.in_channels
    assert x.ndim == method.ndim + 1
    assert np.isfinite(x).all()
    assert np.isfinite(y).all()


def test_forward_and_backward(method: Method) -> None:
    network = method.build_network().train()
    x, y = _batch(method)
    output = network(x)
    assert output.shape[:2] == (len(x), method.out_channels)
    terms = method.loss(output, y, x)
    assert all(torch.isfinite(value) for value in terms.values())
    terms["loss"].backward()
    gradients = [p.grad for p in network.parameters() if p.requires_grad]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    assert any(g.any() for g in gradients)


def test_network_and_loss_follow_the_device_of_their_input(method: Method) -> None:
    network = (
        method.build_network().train().to("meta")
    )  # stands in for a GPU: sums and products refuse to mix with the CPU
    x, y = (tensor.to("meta") for tensor in _batch(method))
    output = network(x)
    assert method.activate(output).device.type == "meta"
    if method.name not in LABELS_ON_THE_CPU:
        assert {term.device.type for term in method.loss(output, y, x).values()} == {"meta"}


def test_loss_falls_on_one_repeated_batch(method: Method) -> None:
    network = method.build_network().train()
    optimizer = method.optimizer(network, method.training, 0)
    x, y = _batch(method)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = method.loss(network(x), y, x)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert max(losses[-3:]) < losses[0]


def test_augmentation_keeps_shape_type_and_seed(method: Method) -> None:
    x, y = method.sample(*_case(method), np.random.default_rng(0))
    first, second = (method.augment(x, y, np.random.default_rng(3)) for _ in range(2))
    crop = getattr(method.settings, "crop", 0) if method.name in CROPPING else 0
    for result, given in zip(first, (x, y), strict=True):
        shape = (*given.shape[: given.ndim - method.ndim], *(crop,) * method.ndim) if crop else given.shape
        assert (result.shape, result.dtype) == (shape, given.dtype)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_any_size_after_padding(method: Method) -> None:
    x, _ = _case(method)
    m = method.size_multiple
    shape = tuple(-(-n // m) * m for n in x.shape[1:])
    with torch.no_grad():
        output = method.build_network().eval()(torch.from_numpy(pad_to(x, shape))[None])
    assert output.shape[1] == method.out_channels
    if output.ndim > 2 and method.tiled:
        assert tuple(output.shape[2:]) == shape


def test_prediction_keeps_shape_scale_and_units(method: Method) -> None:
    if method.name in CASES:
        pytest.skip("this method has no image-to-label prediction of its own")
    image, _ = _images(method)
    model = Model(method, method.build_network().eval(), {})
    labels = run(predict(model, image, PredictSettings(device="cpu"))).labels
    assert labels.kind == "labels"
    assert labels.data.dtype.kind in "iu"
    assert labels.spatial_shape == image.spatial_shape
    assert (labels.scale, labels.units) == (image.scale, image.units)
