"""A tiny method for engine tests: one 3x3 convolution that learns to find bright squares."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from napari_medseg.image import Image
from napari_medseg.method import Method
from napari_medseg.settings import TrainSettings


class ToyMethod(Method):
    name = "toy"
    title = "Toy"
    doi = "none"
    training: ClassVar[TrainSettings] = TrainSettings(epochs=3, batch_size=2, learning_rate=0.05)

    @property
    def size_multiple(self) -> int:
        return 4

    @property
    def halo(self) -> int:
        return 2

    def build_network(self) -> nn.Module:
        hidden = nn.Conv2d(1, 4, 3, padding=1)
        return nn.Sequential(hidden, nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Conv2d(4, 1, 3, padding=1))

    def normalise(self, block: np.ndarray, statistics: Any) -> np.ndarray:
        return block.astype(np.float32) / 255

    def target(self, labels: Image) -> np.ndarray:
        return (np.asarray(labels.data) > 0).astype(np.float32)

    def augment(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return (x[..., ::-1].copy(), y[..., ::-1].copy()) if rng.random() < 0.5 else (x, y)

    def loss(self, output: Tensor, target: Tensor, image: Tensor) -> dict[str, Tensor]:
        loss = nn.functional.binary_cross_entropy_with_logits(output[:, 0], target)
        return {"loss": loss}

    def postprocess(self, probabilities: np.ndarray, image: Image) -> Image:
        return image.labels_like((probabilities[0] > 0.5).astype(np.uint8))


class Identity(ToyMethod):
    """A network that returns its input."""

    def build_network(self) -> nn.Module:
        network = nn.Conv2d(1, 1, 1)
        with torch.no_grad():
            network.weight.fill_(1)
            network.bias.fill_(0)  # type: ignore[union-attr]
        return network

    def activate(self, output: Tensor) -> Tensor:
        return output


def write_cases(folder: Path, n: int = 6, size: int = 16) -> Path:
    """Write n noisy pictures with a bright square and their masks."""
    from PIL import Image as Pillow

    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for index in range(n):
        mask = np.zeros((size, size), np.uint8)
        row, column = rng.integers(1, size - 7, 2)
        mask[row : row + 6, column : column + 6] = 255
        picture = np.clip(mask * 0.6 + rng.normal(60, 20, mask.shape), 0, 255).astype(np.uint8)
        Pillow.fromarray(picture).save(folder / "images" / f"case{index}.png")
        Pillow.fromarray(mask).save(folder / "labels" / f"case{index}_label.png")
    return folder
