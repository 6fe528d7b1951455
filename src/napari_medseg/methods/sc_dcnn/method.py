"""Spatially constrained DCNN: nerve fibres learnt from inaccurate traces (Zhang et al., ISBI 2020)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_medseg import settings as base
from napari_medseg.augment.spatial import random_crop
from napari_medseg.errors import DataError
from napari_medseg.evaluate.metrics.tolerance import tolerance_f1
from napari_medseg.image import Image
from napari_medseg.io.ccm import parse_name, to_grey
from napari_medseg.io.pairs import Pair, PairList, find_pairs
from napari_medseg.measure.labels import foreground, without_small
from napari_medseg.measure.lines import keep_lines
from napari_medseg.method import Method, Recipe
from napari_medseg.methods.sc_dcnn.network import ScDcnnNet, inaccurate_label_loss, receptive_radius
from napari_medseg.methods.sc_dcnn.settings import ScDcnnSettings
from napari_medseg.preprocessing.ground import continued, unseen
from napari_medseg.settings import TrainSettings

LEVELS = 5
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 0.9, 0.95, 0.97, 0.985, 0.993)  # that `ScDcnn.choose` tries
SHORTEST = (0, 25, 40, 60)
DEFAULT_CROP = {2: 384, 3: 64}


class ScDcnn(Method):
    """Residual U-Net trained with balanced cross entropy and the spatial constraint; labels 0 background, 1 nerve."""

    name = "sc-dcnn"
    title = ScDcnnSettings.title
    doi = "10.48550/arXiv.2004.09443"
    Settings = ScDcnnSettings
    training = ScDcnnSettings.training
    recipe = Recipe(
        {"width": 8, "crop": 128, "balanced": False, "dilate_labels": 1, "surroundings": 20.0, "flips": True},
        TrainSettings(epochs=15, steps_per_epoch=60, batch_size=4, learning_rate=2e-3, schedule="one-cycle", ema=0.99,
                      smooth_score=3, choose_on=6),
    )  # fmt: skip
    measure = "nerve"
    halves = True
    colours = True
    metrics = ("f1_1px", "f1_2px", "f1_3px", "dice", "iou", "precision", "recall", "specificity", "accuracy", "cldice")
    out_channels = 2

    def __init__(self, settings: base.Settings | None = None) -> None:
        super().__init__(settings)
        self.ndim = self.settings.ndim  # type: ignore[misc]

    def build_network(self) -> nn.Module:
        """Build `ScDcnnNet`."""
        s = self.settings
        return ScDcnnNet(s.ndim, s.width, LEVELS, dropout=s.dropout, logit_relu=s.logit_relu)

    @property
    def size_multiple(self) -> int:
        """Four poolings by 2."""
        return int(2 ** (LEVELS - 1))

    @property
    def halo(self) -> int:
        """Radius of the receptive field."""
        return receptive_radius(LEVELS)

    def preprocess(self, image: Image) -> Image:
        """Even out the whole (grey) image and make dark lines bright, when the settings ask for it.

        What is `unseen` of a 2D image mirrors what lies beside it: its edge would be taken for a nerve.
        """
        s = self.settings
        outside = _unseen(image)
        if not s.surroundings and not s.dark and outside is None:
            return image
        grey = to_grey(np.asarray(image.channels_first())).astype(np.float32)
        _require_finite(grey, image)
        grey = grey if outside is None else continued(grey, outside)
        grey = even_out(grey, s.surroundings) if s.surroundings else grey
        return image.replace(data=-grey if s.dark else grey, axes=image.spatial_axes, channels=())

    def statistics(self, image: Image) -> tuple[float, float]:
        """Return mean and population SD of the whole (grey) image."""
        grey = to_grey(np.asarray(image.channels_first()))
        mean, deviation = float(grey.mean(dtype=np.float64)), float(grey.std(dtype=np.float64))
        _require_finite(np.array([mean, deviation]), image)
        return mean, deviation

    def normalise(self, block: np.ndarray, statistics: Any) -> np.ndarray:
        """Return z-scores of the grey values, 0 where the image is constant."""
        mean, deviation = statistics
        grey = to_grey(block).astype(np.float32)
        return ((grey - mean) / deviation if deviation > 0 else np.zeros_like(grey))[None].astype(np.float32)

    def postprocess(self, probabilities: np.ndarray, image: Image) -> Image:
        """Keep what is likelier than ``threshold`` and somewhere than ``strong``; drop what is short, small, unseen."""
        nerve, outside = probabilities[1], _unseen(image)
        nerve = nerve if outside is None else np.where(outside, 0, nerve)
        return image.labels_like(self._mask(nerve).astype(np.uint8))

    def _mask(self, nerve: np.ndarray) -> np.ndarray:
        s = self.settings
        mask = keep_lines(nerve, s.threshold, s.strong, s.shortest)
        return without_small(mask, s.min_size, mask.ndim)

    def choose(self, found: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
        """Return the thresholds, then the shortest nerve, of the best mean 3-pixel F1."""

        def f1(weak: float, strong: float, shortest: int) -> float:
            return float(np.mean([tolerance_f1(keep_lines(p[1], weak, strong, shortest), y) for p, y in found]))

        pairs = [(weak, strong) for weak in THRESHOLDS for strong in THRESHOLDS if strong >= weak]
        weak, strong = max(pairs, key=lambda pair: f1(pair[0], pair[1], SHORTEST[1]))
        return {"threshold": weak, "strong": strong, "shortest": max(SHORTEST, key=lambda n: f1(weak, strong, n))}

    @property
    def views(self) -> bool:
        """As the settings say."""
        return bool(self.settings.flips)

    def find_pairs(self, folder: Path) -> PairList:
        """Find pairs in `folder` or its ``train`` sub-folder; identical images share one subject."""
        folder = Path(folder)
        found = find_pairs(folder / "train" if (folder / "train").is_dir() else folder, subject_of)
        return replace(found, pairs=merge_identical(found.pairs))

    def target(self, labels: Image) -> np.ndarray:
        """Return int64 (*spatial), 1 for nerve, dilated by ``dilate_labels`` pixels."""
        mask = foreground(labels.data)
        if self.settings.dilate_labels:
            from scipy.ndimage import distance_transform_edt

            mask = distance_transform_edt(~mask) <= self.settings.dilate_labels if mask.any() else mask
        return mask.astype(np.int64)

    def sample(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Cut a random crop; smaller images are mirrored up to its size."""
        size = max(self.settings.crop or DEFAULT_CROP[self.ndim], 2 * self.size_multiple)
        return random_crop(x, y, size, 1, rng)

    def augment(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Flip, turn by quarters in the last two axes, change the gamma by up to 15 %."""
        for axis in range(1, y.ndim + 1):
            if rng.random() < 0.5:
                x, y = np.flip(x, -axis), np.flip(y, -axis)
        turns = int(rng.integers(4)) if y.shape[-1] == y.shape[-2] else 0
        x, y = np.rot90(x, turns, (-2, -1)), np.rot90(y, turns, (-2, -1))
        return change_gamma(x, float(rng.uniform(0.85, 1.15))), np.ascontiguousarray(y)

    def loss(self, output: Tensor, target: Tensor, image: Tensor) -> dict[str, Tensor]:
        """Return ``weight_unary * ce + weight_pairwise * sc`` and its terms."""
        s = self.settings
        return inaccurate_label_loss(
            output, target.long(), image,
            unary=s.weight_unary, pairwise=s.weight_pairwise, sigma=s.sigma, balanced=s.balanced,
        )  # fmt: skip

    def optimizer(self, network: nn.Module, settings: TrainSettings, phase: int) -> torch.optim.Optimizer:
        """Adam with Keras's epsilon 1e-7."""
        rate, decay = settings.learning_rate, settings.weight_decay
        return torch.optim.Adam(network.parameters(), rate, eps=1e-7, weight_decay=decay)

    @property
    def selects_by_loss(self) -> bool:
        """Whether the total loss on held-out images picks the best epoch, as in the paper."""
        return bool(self.settings.select == "loss")

    def score(self, probabilities: Tensor, target: Tensor) -> dict[str, float]:
        """Return the 3-pixel F1 as score, and Dice, which says little against 1-pixel traces."""
        mask = self._mask(probabilities[0, 1].cpu().numpy())
        f1 = tolerance_f1(mask, target[0].cpu().numpy(), tolerance=3.0)
        return {"score": f1, "f1_3px": f1, "dice": super().score(probabilities, target)["dice"]}


def _require_finite(values: np.ndarray, image: Image) -> None:
    if not np.isfinite(values).all():
        raise DataError(f"{image.name or 'The image'} holds NaN or infinite values. Replace them first.")


def _unseen(image: Image) -> np.ndarray | None:
    """Return what is `unseen` of a 2D image without colours (Y, X), ``None`` where that is nothing."""
    channels = np.asarray(image.channels_first())
    if len(image.spatial_shape) != 2 or (channels != channels[:1]).any():
        return None
    outside = unseen(to_grey(channels))
    return outside if outside.any() else None


def even_out(grey: np.ndarray, surroundings: float) -> np.ndarray:
    """Return a picture less its mean and divided by its SD, both over Gaussians of SD `surroundings` pixels."""
    from scipy.ndimage import gaussian_filter

    detail = grey - gaussian_filter(grey, surroundings, truncate=3)
    deviation = np.sqrt(gaussian_filter(detail**2, surroundings, truncate=3))
    return np.asarray(
        np.divide(detail, deviation, out=np.zeros_like(detail), where=deviation > 1e-6 * np.abs(grey).max())
    )


def subject_of(stem: str) -> str:
    """Return the subject that a file name states, or the stem."""
    return parse_name(stem).get("subject", stem)


def merge_identical(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """Give pairs whose image files are byte-identical, and all of their subjects, one common subject."""
    first: dict[str, str] = {}
    joined = {pair.subject: pair.subject for pair in pairs}
    for pair in pairs:
        digest = hashlib.sha256(pair.image.read_bytes()).hexdigest()
        one, other = joined[first.setdefault(digest, pair.subject)], joined[pair.subject]
        joined = {name: one if group == other else group for name, group in joined.items()}
    return tuple(replace(pair, subject=joined[pair.subject]) for pair in pairs)


def change_gamma(x: np.ndarray, gamma: float) -> np.ndarray:
    """Raise grey values, scaled to [0, 1], to `gamma`, and z-score again."""
    low, high = float(x.min()), float(x.max())
    if high <= low:
        return np.ascontiguousarray(x)
    y = ((x - low) / (high - low)) ** gamma
    return np.ascontiguousarray((y - y.mean()) / y.std(), np.float32)
