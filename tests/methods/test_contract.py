"""What every method must do. A new method adds its lines to the tables below."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_medseg.image import Image
from napari_medseg.inference.network import infer, predict
from napari_medseg.inference.tiling import pad_to
from napari_medseg.io.pairs import Pair
from napari_medseg.jobs import Job, run
from napari_medseg.method import Method, Model
from napari_medseg.methods import METHODS, TRAINING_FREE, create, get_method
from napari_medseg.models.catalog import load_model
from napari_medseg.models.checkpoint import pack, read_checkpoint, write_checkpoint
from napari_medseg.settings import PredictSettings
from napari_medseg.training import fit
from napari_medseg.training.data import Store

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
    "sc-dcnn": {"width": 4, "crop": 64},
    "fullnet": {"n_layers": 2, "growth": 4, "crop": 32},
    "double-unet": {"input_size": 32, "width": 8, "encoder_weights": "none"},
    "frame-classifier": {"backbone": "densenet121", "input_size": 32, "encoder_weights": "none"},
}
# settings under which a network sees no farther than its `halo` (normalisation over the whole tile sees all of it)
EXACT: dict[str, dict[str, Any]] = {"p-net": {"width": 8}, "r-net": {"width": 8}}
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


def _seeing(name: str) -> Method:
    """Return a method with a network whose field of view is the declared one; skip what is not tiled."""
    torch.manual_seed(0)
    method = create(name, EXACT.get(name, SMALL.get(name, {})))
    if not method.tiled:
        pytest.skip("the network sees the whole image")
    return method


class _OneCase(Store):
    """Gives the case of this page, whatever files are asked for."""

    def load(self, pair: Pair, say: Callable[[str], None] = print) -> tuple[np.ndarray, np.ndarray]:
        return _case(self._method)


def _images(method: Method) -> tuple[Image, Image]:
    """Make a noisy image with a bright ball in the middle, and its label."""
    shape = SHAPES.get(method.name, (37, 45) if method.ndim == 2 else (19, 21, 22))
    centred = [np.linspace(-1, 1, n) for n in shape]
    ball = (np.sqrt(sum(g**2 for g in np.meshgrid(*centred, indexing="ij"))) < 0.6).astype(np.uint8)
    rng = np.random.default_rng(0)
    n_channels = getattr(method.settings, "channels", method.in_channels)  # R-Net adds proposal and scribbles itself
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
    assert not cls.doi or cls.doi.startswith("10.")
    assert cls.ndim in (2, 3)


def test_parameter_count_is_the_papers(name: str) -> None:
    assert name in PARAMETERS, f"add {name!r} to PARAMETERS at the top of this file"
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


@pytest.mark.parametrize("name", [*METHODS, *TRAINING_FREE])
def test_network_sees_as_far_as_the_halo_and_no_farther(name: str) -> None:
    method = _seeing(name)
    halo, step = method.halo, method.size_multiple
    edge = -(-(2 * halo + 2 * step + 8) // step) * step
    network = method.build_network().double().eval()
    x = torch.rand((1, method.in_channels, *(edge,) * method.ndim), dtype=torch.float64, requires_grad=True)
    output, reach = network(x), 0
    for middle in sorted({(edge - step) // 2, edge // 2}):
        output_there = output[(0, slice(None), *(middle,) * method.ndim)].sum()
        (gradient,) = torch.autograd.grad(output_there, x, retain_graph=True)
        seen = np.argwhere(gradient[0].abs().sum(0).numpy() > 0)
        reach = max(reach, int(np.abs(seen - middle).max()))
    assert halo / 2 <= reach <= halo


@pytest.mark.parametrize("name", [*METHODS, *TRAINING_FREE])
def test_tiled_answer_equals_the_whole_one(name: str) -> None:
    method = _seeing(name)
    step = method.size_multiple
    tile = -(-max(8 * method.halo // 3 + 1, 16) // step) * step
    shape = (tile + method.halo + 5, *(tile - 3,) * (method.ndim - 1))
    array = np.random.default_rng(0).random((method.in_channels, *shape), dtype=np.float32)
    model = Model(method, method.build_network().eval(), {})
    whole = run(infer(model, array, PredictSettings(device="cpu", tile=2 * tile + 2 * step)))
    tiled = run(infer(model, array, PredictSettings(device="cpu", tile=tile)))
    np.testing.assert_allclose(tiled, whole, atol=1e-4)


def test_saved_model_equals_the_loaded_one(method: Method, tmp_path: Path) -> None:
    network = method.build_network().eval()
    write_checkpoint(tmp_path / "m.pt", pack(method, network.state_dict()))
    loaded = load_model(tmp_path / "m.pt")
    assert (loaded.method.name, loaded.method.settings) == (method.name, method.settings)
    x, _ = _batch(method)
    with torch.no_grad():
        assert torch.equal(loaded.network(x), network(x))


def test_stopped_and_resumed_training_equals_an_uninterrupted_one(method: Method, tmp_path: Path) -> None:
    pairs = [Pair(tmp_path / f"{k}.png", tmp_path / f"{k}_label.png") for k in range(2)]
    settings = method.training.updated(epochs=2, steps_per_epoch=1, batch_size=2, device="cpu", validation_fraction=0.0)

    def training(folder: str, **options: Any) -> Job[Model]:
        return fit(method, pairs, (), settings, tmp_path / folder, store=_OneCase(method), **options)

    run(training("whole"))
    stopped = training("parts")
    while not (tmp_path / "parts" / "last.pt").exists():
        next(stopped)
    stopped.close()
    run(training("parts", resume=True))
    whole, parts = (read_checkpoint(tmp_path / name / "last.pt")["state_dict"] for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
