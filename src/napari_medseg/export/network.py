"""The network as it is given away: normalised input in, probabilities out; sizes to try it with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.method import Method, Model, RefinementMethod
from napari_medseg.methods import create
from napari_medseg.models.purpose import PixelSize

SMALLEST = {2: 32, 3: 16}


class Exported(nn.Module):
    """A network with its activation: normalised input (B, C, *spatial) -> probabilities (B, K, *spatial).

    Parameters
    ----------
    method
        The method; its `activate` ends the network.
    network
        The trained network, or ``None`` to build a new one.
    """

    def __init__(self, method: Method, network: nn.Module | None = None) -> None:
        super().__init__()
        self.method = method
        self.network = method.build_network() if network is None else network

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 probabilities."""
        return self.method.activate(self.network(x).float())


def load_exported(method: str, settings: dict[str, Any]) -> Exported:
    """Build the network that a bioimage.io package's state dict belongs to."""
    return Exported(create(method, settings))


def exported(model: Model) -> Exported:
    """Return the model's network on the CPU in evaluation mode, probabilities included."""
    return Exported(model.method, model.network.cpu()).eval()


def left_out(method: Method, card: Mapping[str, Any]) -> str:
    """Say in sentences what this program does around the network and an exported file does not; "" if nothing."""
    said = []
    if method.adapt:
        said.append(
            "Batch norm has the statistics of training: napari-medseg moves them towards each image (setting adapt), "
            "which a file cannot, so results differ, as with --no-adapt."
        )
    if method.views:
        said.append("It answers for one view: napari-medseg averages over flips and turns.")
    if size := PixelSize.of_card(card):
        said.append(f"It was trained at {size}: bring images of other pixel sizes there first, and labels back.")
    return " ".join(said)


def fixed_size(method: Method) -> int:
    """Return the edge of a network that takes one size only, else 0."""
    return 0 if method.tiled else int(getattr(method.settings, "input_size", 0))


def sizes(method: Method, at_least: int = 0) -> tuple[int, ...]:
    """Return the smallest fitting network input (*spatial), not below `at_least`."""
    edge = max(SMALLEST[method.ndim], at_least)
    edge = fixed_size(method) or math.ceil(edge / method.size_multiple) * method.size_multiple
    return (edge,) * method.ndim


def other_sizes(method: Method) -> tuple[int, ...]:
    """Return other sizes, different on each axis where the network allows it."""
    step = 0 if fixed_size(method) else method.size_multiple
    return tuple(size + (index + 1) * step for index, size in enumerate(sizes(method)))


def random_input(method: Method, shape: tuple[int, ...], batch: int, spread: float = 1.0, seed: int = 0) -> np.ndarray:
    """Draw network input float32 (batch, C, *shape); the last channel of a refinement network holds scribbles."""
    rng = np.random.default_rng(seed)
    x = (spread * rng.standard_normal((batch, method.in_channels, *shape))).astype(np.float32)
    if isinstance(method, RefinementMethod):
        x[:, -1] = rng.integers(0, method.out_channels + 1, x[:, -1].shape)
    return x


@torch.no_grad()
def reference(network: Exported, x: np.ndarray) -> np.ndarray:
    """Return the network's probabilities of `x` (B, C, *spatial)."""
    result: np.ndarray = network(torch.from_numpy(x)).numpy()
    return result


def normalisation(method: Method, raw: np.ndarray) -> dict[str, Any] | None:
    """Return the normalisation of a method where it is one that other programs know, else ``None``.

    It is found by trying: `method.prepare` of `raw` (C, *spatial), 0 to 255, as 8-bit and, for grey images, as float
    values of another range, must be the z-score of each channel, or one and the same linear map.
    """
    pictures: list[Any] = [raw.astype(np.uint8)] + ([] if method.in_channels == 3 else [raw * 7.3 + 11])
    try:
        prepared = [method.prepare(_as_image(x)) for x in pictures]
    except DataError:
        return None
    if any(y.shape != raw.shape for y in prepared):
        return None
    flat = [x.reshape(len(x), -1).astype(np.float64) for x in pictures]
    found = [y.reshape(len(y), -1) for y in prepared]
    scores = [(x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True) for x in flat]
    if all(np.allclose(y, z, atol=1e-4) for y, z in zip(found, scores, strict=True)):
        return {"id": "zero_mean_unit_variance"}
    gain, offset = np.transpose([np.polyfit(x, y, 1) for x, y in zip(flat[0], found[0], strict=True)])
    if all(np.allclose(y, x * gain[:, None] + offset[:, None], atol=1e-4) for x, y in zip(flat, found, strict=True)):
        return {"id": "scale_linear", "gain": gain.tolist(), "offset": offset.tolist()}
    return None


def _as_image(data: np.ndarray) -> Image:
    axes = "CZYX" if data.ndim == 4 else "CYX"
    return Image(data, axes) if len(data) > 1 else Image(data[0], axes[1:])
