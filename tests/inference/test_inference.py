"""Inference: any size, tiled equals whole, memory fallback, test-time views."""

from __future__ import annotations

import sys
import threading
from typing import ClassVar

import numpy as np
import pytest
import torch
from toy import Identity, ToyMethod

from napari_medseg.errors import DataError, DeviceError, MissingDependencyError
from napari_medseg.image import Image
from napari_medseg.inference.network import infer, predict
from napari_medseg.jobs import Progress, run
from napari_medseg.method import Model
from napari_medseg.methods import create
from napari_medseg.settings import PredictSettings

RNG = np.random.default_rng(1)


def model(cls: type[ToyMethod] = ToyMethod) -> Model:
    torch.manual_seed(0)
    method = cls()
    return Model(method, method.build_network().eval(), {})


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (33, 37), (64, 64)])
@pytest.mark.parametrize("tta", [False, True])
def test_identity_network_returns_its_input(shape: tuple[int, int], tta: bool) -> None:
    x = RNG.random((1, *shape), np.float32)
    settings = PredictSettings(tile=32, overlap=8, device="cpu", tta=tta, batch=3)
    np.testing.assert_allclose(run(infer(model(Identity), x, settings)), x, atol=1e-6)


def test_tiled_equals_whole() -> None:
    x = RNG.random((1, 90, 75), np.float32)
    whole = run(infer(model(), x, PredictSettings(tile=512, device="cpu")))
    tiled = run(infer(model(), x, PredictSettings(tile=32, device="cpu")))
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_predict_keeps_geometry_and_shape() -> None:
    image = Image(RNG.integers(0, 255, (21, 34), np.uint8), "YX", (0.5, 0.25), ("micrometer",) * 2, name="a")
    result = run(predict(model(), image, PredictSettings(device="cpu")))
    assert result.labels.spatial_shape == image.spatial_shape
    assert (result.labels.scale, result.labels.units) == (image.scale, image.units)
    assert result.probabilities.shape == (1, 21, 34)


def test_a_3d_image_is_refused_in_plain_words() -> None:
    with pytest.raises(DataError, match=r"works on 2D images"):
        run(predict(model(), Image(np.zeros((4, 8, 8)), "ZYX")))


class Adaptive(ToyMethod):
    """Batch norm alone, which an image of 2400 pixels moves halfway."""

    adapt = 2400

    def build_network(self) -> torch.nn.Module:
        return torch.nn.BatchNorm2d(1, affine=False)

    def normalise(self, block: np.ndarray, statistics: object) -> np.ndarray:
        return block.astype(np.float32)

    def activate(self, output: torch.Tensor) -> torch.Tensor:
        return output


def test_batch_norm_adapts_to_an_image_but_not_to_parts_of_one() -> None:
    data = RNG.normal(7, 3, (40, 60)).astype(np.float32)
    ours, settings = model(Adaptive), PredictSettings(device="cpu", precision="float32", tile=32)
    mean, variance = 0.5 * data.mean(), 0.5 * data.var(ddof=1) + 0.5
    found = run(predict(ours, Image(data, "YX"), settings)).probabilities[0]
    np.testing.assert_allclose(found, (data - mean) / np.sqrt(variance + 1e-5), atol=1e-4)
    part = run(predict(ours, Image(data, "YX"), settings, statistics=())).probabilities[0]
    np.testing.assert_allclose(part, data / np.sqrt(1 + 1e-5), atol=1e-4)
    plain = run(predict(ours, Image(data, "YX"), settings.updated(adapt=False))).probabilities[0]
    np.testing.assert_array_equal(plain, part)


def test_one_pixel_has_no_variance_to_adapt_to() -> None:
    ours, settings = model(Adaptive), PredictSettings(device="cpu", precision="float32")
    found = run(predict(ours, Image(np.full((1, 1), 7, np.float32), "YX"), settings)).probabilities
    np.testing.assert_allclose(found, [[[7 / np.sqrt(1 + 1e-5)]]], rtol=1e-6)


GPU = torch.device("meta")  # stands for one: tensors go there, and no network does


class _LargeNorm(torch.nn.BatchNorm2d):
    """Batch norm that does not fit into the memory of a GPU."""

    def to(self, *args: object, **options: object) -> _LargeNorm:
        return self if args and args[0] == GPU else super().to(*args, **options)  # type: ignore[call-overload,no-any-return]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device == GPU:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(x)


def test_adapting_goes_to_the_cpu_when_the_gpu_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    data, settings = RNG.normal(7, 3, (40, 60)).astype(np.float32), PredictSettings(precision="float32")
    expected = run(predict(model(Adaptive), Image(data, "YX"), settings.updated(device="cpu"))).probabilities
    full = Model(Adaptive(), _LargeNorm(1, affine=False), {})
    for module in ("network", "adaptation"):
        monkeypatch.setattr(f"napari_medseg.inference.{module}.choose_device", lambda wanted: (GPU, "a GPU"))
    said: list[Progress] = []
    found = run(predict(full, Image(data, "YX"), settings), said.append)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    messages = [p.message for p in said]
    first = messages.index("adapting to the image")
    assert messages[first + 1 : first + 3] == ["memory ran out on the GPU: going on with the CPU", messages[first]]
    assert found.device == "cpu"


def test_adapting_that_fails_is_an_error_in_words() -> None:
    with pytest.raises(DeviceError, match="smallest tile"):
        run(predict(Model(Adaptive(), _Greedy(3), {}), Image(np.zeros((8, 8), np.float32), "YX")))


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(DataError, match="has no pixels"):
        run(predict(model(Adaptive), Image(np.zeros((0, 5), np.float32), "YX")))


class _Greedy(torch.nn.Module):
    """Fails like the CPU allocator when it gets more than `limit` values."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.weight = limit, torch.nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.numel() > self.limit:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return x * self.weight


class _Layers(torch.nn.Sequential):
    """Many layers, each of which takes a moment, as a large network does."""

    class Layer(torch.nn.Module):
        done: ClassVar[int] = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            threading.Event().wait(0.005)
            type(self).done += 1
            return x

    def __init__(self) -> None:
        super().__init__(*(self.Layer() for _ in range(400)))


@pytest.mark.parametrize("tiled", [True, False])
def test_within_one_tile_progress_is_told_and_stop_is_heard(tiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_medseg.inference.network.LOOK", 0.02)
    monkeypatch.setattr(Identity, "tiled", tiled)
    network = _Layers()
    job = infer(Model(Identity(), network, {}), np.zeros((1, 16, 16), np.float32), PredictSettings(device="cpu"))
    _Layers.Layer.done = 0
    seen: list[Progress] = []
    while len(seen) < 3:
        progress = next(job)
        seen += [progress] if "about" in progress.message else []
    assert [p.step for p in seen] == sorted(p.step for p in seen)
    assert 0 < seen[-1].step < seen[-1].total
    job.close()
    assert 0 < _Layers.Layer.done < 400  # it was left in the middle
    assert not any(layer._forward_pre_hooks for layer in network)


def test_memory_fallback_halves_batch_then_tile_and_says_so() -> None:
    greedy = Model(Identity(), _Greedy(64 * 64), {})
    x = RNG.random((1, 200, 130), np.float32)
    said: list[Progress] = []
    result = run(infer(greedy, x, PredictSettings(tile=128, batch=4, device="cpu", overlap=8)), said.append)
    np.testing.assert_allclose(result, x, atol=1e-6)
    notes = [p.message for p in said if "memory ran out" in p.message]
    assert notes[0].endswith("batches of 2")
    assert notes[-1].endswith("tiles of 64")


def test_memory_that_never_suffices_is_an_error_in_words() -> None:
    with pytest.raises(DeviceError, match="smallest tile"):
        run(infer(Model(Identity(), _Greedy(3), {}), np.zeros((1, 64, 64), np.float32), PredictSettings(device="cpu")))


@pytest.mark.parametrize(
    ("name", "chosen", "shape"),
    [
        ("afm-unet", {"architecture": "unet3"}, (70, 90)),
        ("sc-dcnn", {"width": 4, "flips": True}, (50, 61)),
        ("p-net", {"width": 4, "ndim": 3}, (20, 34, 41)),
        ("p-net", {"width": 4, "modern": True, "downsample": 2}, (70, 90)),
        ("fullnet", {"preset": "light"}, (100, 130)),
        ("double-unet", {"encoder_weights": "none", "width": 4}, (64, 64)),
    ],
)
def test_openvino_answers_as_torch(name: str, chosen: dict[str, object], shape: tuple[int, ...]) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    torch.manual_seed(0)
    method = create(name, chosen)
    ours = Model(method, method.build_network().eval(), {})
    x = np.random.default_rng(0).standard_normal((method.in_channels, *shape)).astype(np.float32)
    settings = PredictSettings(device="cpu", tile=48, precision="float32", batch=2)
    expected, found = (run(infer(ours, x, settings.updated(openvino=on))) for on in (False, True))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.mean((found > 0.5) != (expected > 0.5)) <= 1e-3


def test_openvino_that_is_missing_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    ours, settings = model(), PredictSettings(device="cpu", openvino=True)
    with pytest.raises(MissingDependencyError, match=r"napari-medseg\[openvino\]"):
        run(infer(ours, np.zeros((1, 32, 32), np.float32), settings))


def test_big_inputs_are_read_block_by_block() -> None:
    """The network input of a lazily read image is never made as a whole."""
    largest = 0

    class Watching(Identity):
        def normalise(self, block: np.ndarray, statistics: object) -> np.ndarray:
            nonlocal largest
            largest = max(largest, block.size)
            return super().normalise(block, statistics)

    image = Image(np.full((300, 300), 255, np.uint8), "YX")
    result = run(predict(model(Watching), image, PredictSettings(tile=64, device="cpu")))
    assert result.labels.data.all()
    assert largest <= 64 * 64


def test_unavailable_device_is_named() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(DeviceError, match="cuda"):
        run(infer(model(), np.zeros((1, 8, 8), np.float32), PredictSettings(device="cuda")))
