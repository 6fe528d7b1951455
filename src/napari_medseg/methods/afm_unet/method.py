"""Cells in atomic force microscopy: scratch U-nets, U-VGG16/19 and U-Xception.

Tiryaki et al., Cytometry A 2022;101:507-520, doi:10.1002/cyto.a.24533.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from napari_medseg import settings as base
from napari_medseg.augment.spatial import affine, random_crop, random_flip, random_matrix
from napari_medseg.errors import DataError
from napari_medseg.evaluate.metrics.compare import mcc
from napari_medseg.image import Image
from napari_medseg.io.pairs import PairList, find_pairs
from napari_medseg.measure.labels import foreground, without_small
from napari_medseg.method import Method
from napari_medseg.methods.afm_unet.network import build_unet, receptive_radius
from napari_medseg.methods.afm_unet.settings import AfmUnetSettings
from napari_medseg.nn.losses import LOSSES, bce_with_logits
from napari_medseg.nn.pretrained import STATISTICS, load_imagenet
from napari_medseg.preprocessing.levelling import above_glass, level

SAMPLE_PIXELS = 4_000_000
PERCENTILES = (0.1, 99.9)
LUMA = np.array([0.299, 0.587, 0.114], np.float32).reshape(3, 1, 1)
COLOURS = ("red", "green", "blue")
KNEE = 4.5  # in SD of the glass
BELOW, ABOVE = 0.5, 6.0  # arsinh of the depth that becomes 0 and of the height that becomes 1 (908 SD)
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
PAPERS_THRESHOLD = 0.5
DATE = re.compile(r"\d{1,2}[a-z]{3}\d{2}", re.IGNORECASE)


@dataclass(frozen=True)
class Range:
    """Values (channels, 1, 1) that become 0 and 1."""

    low: np.ndarray
    high: np.ndarray


class AfmUnet(Method):
    """Binary segmentation of cells on a flat substrate from AFM height, deflection and friction images.

    The learning rate of the training settings is that of the scratch nets; networks with an ImageNet encoder train
    at ``transfer_rate`` times it.
    """

    name = "afm-unet"
    title = AfmUnetSettings.title
    doi = "10.1002/cyto.a.24533"
    Settings = AfmUnetSettings
    training = AfmUnetSettings.training
    measure = "afm"
    halves = True
    metrics = ("accuracy", "precision", "recall", "specificity", "dice", "iou", "mcc")

    # ---- the network and its geometry
    def build_network(self) -> nn.Module:
        """Build the network: (B, C, Y, X) float32 -> (B, 1, Y, X) logits."""
        s = self.settings
        papers = 0.5 if s.architecture == "unet5" else 0.55
        return build_unet(s.architecture, self.in_channels, papers if s.dropout < 0 else s.dropout, s.width)

    def initialise(self, network: nn.Module) -> str:
        """Load ImageNet weights into the encoder; warn when they cannot be had.

        Raises
        ------
        CheckpointError
            If the given file is damaged or of another network.
        """
        if not self.settings.transfer:
            return ""
        return load_imagenet(network.encoder, self.settings.architecture, self.settings.encoder_weights)  # type: ignore[arg-type]

    @property
    def in_channels(self) -> int:
        """Channels of the network's input: those of the settings, 3 for ImageNet encoders."""
        return 3 if self.settings.transfer else int(self.settings.channels)

    @property
    def size_multiple(self) -> int:
        """Every spatial size given to the network is padded to a multiple of this."""
        if self.settings.transfer:
            return 32 if self.settings.architecture == "xception" else 16
        return 1 << (int(self.settings.architecture[-1]) - 1)

    @property
    def halo(self) -> int:
        """Radius of the receptive field in pixels."""
        return receptive_radius(self.settings.architecture)

    # ---- image -> network input
    def check(self, image: Image) -> None:
        """Raise `DataError` unless `image` is 2D with channels the network can take."""
        super().check(image)
        n, names = image.n_channels, tuple(c.lower() for c in image.channels)
        is_colour = n in (3, 4) and (not names or names[:3] == COLOURS)
        if n == 1 or is_colour or (n == 3 and self.settings.channels == 3):
            return
        listed = f" ({', '.join(image.channels)})" if names else ""
        raise DataError(
            f"{image.name or 'This image'} has {n} channels{listed}; this network takes {self.settings.channels}. "
            "Choose one channel, or three with the setting channels=3."
        )

    def preprocess(self, image: Image) -> Image:
        """Correct lines and level the whole image when the settings ask for it."""
        s, glass = self.settings, self.settings.scaling == "glass"
        if not (s.align_lines or s.remove_scars or s.level or glass):
            return image
        data = np.asarray(image.channels_first())
        _require_finite(data)
        data = self._content(data) if glass else data
        order = 2 if s.level and not glass else None
        levelled = [level(channel.astype(np.float32), order=order, lines=s.align_lines, scars=s.remove_scars)
                    for channel in data]  # fmt: skip
        levelled = list(map(_compressed, levelled)) if glass else levelled
        return image.replace(data=np.stack(levelled).astype(np.float32), axes="C" + image.spatial_axes, channels=())

    def statistics(self, image: Image) -> Range:
        """Return what becomes 0 and 1, from a regular subsample when the image has more than 4 Mpx."""
        data = image.channels_first()
        step = max(1, math.ceil(math.sqrt(math.prod(image.spatial_shape) / SAMPLE_PIXELS)))
        sample = self._content(np.asarray(data[:, ::step, ::step]))
        flat = sample.reshape(len(sample), -1)
        if self.settings.scaling == "glass":
            return Range(*(np.full((len(flat), 1, 1), value, np.float32) for value in (0, 1)))
        low, high = flat.min(1), flat.max(1)
        bytes_by_255 = data.dtype == np.uint8 and self.settings.scaling != "percentile"
        if bytes_by_255 and (low < high).any():
            low, high = np.zeros_like(low), np.full_like(high, 255)
        elif not bytes_by_255 and self.settings.scaling != "paper":
            low, high = np.percentile(flat, PERCENTILES, axis=1)
        return Range(*(np.asarray(v, np.float32).reshape(-1, 1, 1) for v in (low, high)))

    def normalise(self, block: np.ndarray, statistics: Range) -> np.ndarray:
        """Map raw (c, Y, X) values to network input float32 (C, Y, X); a constant channel becomes 0."""
        span = statistics.high - statistics.low
        scaled = (self._content(block) - statistics.low) / np.where(span > 0, span, 1)
        x = np.where(span > 0, np.clip(scaled, 0, 1), 0).astype(np.float32)
        x = np.repeat(x, self.in_channels, 0) if len(x) == 1 else x
        if not self._by_imagenet:
            return x
        mean, sd = (np.array(v, np.float32).reshape(3, 1, 1) for v in STATISTICS[self.settings.architecture])
        return np.asarray((x - mean) / sd)

    @property
    def _by_imagenet(self) -> bool:
        s = self.settings
        chosen = s.normalisation == "imagenet" or (s.normalisation == "auto" and s.encoder_weights != "none")
        return bool(s.transfer and chosen)

    def _content(self, block: np.ndarray) -> np.ndarray:
        """Return float32 (1, Y, X) or (3, Y, X): colour becomes luma for one channel, alpha is dropped."""
        _require_finite(block)
        block = np.asarray(block[:3], np.float32)
        return (block * LUMA).sum(0, keepdims=True) if len(block) == 3 and self.settings.channels == 1 else block

    # ---- network output -> result
    def postprocess(self, probabilities: np.ndarray, image: Image) -> Image:
        """Threshold to labels uint8 {0, 1}; small objects and gaps go only if the settings ask for it."""
        mask = np.asarray(probabilities[0] > self.settings.threshold)
        mask = without_small(mask, self.settings.min_area, connectivity=2)
        mask = ~without_small(~mask, self.settings.fill_holes, connectivity=1)
        return image.labels_like(mask.astype(np.uint8))

    def choose(self, found: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
        """Return the threshold nearest the paper's whose mean MCC is within one standard error of the best one's.

        Images that a network was trained on hardly tell thresholds apart, and the best one may be extreme by chance.
        """
        scores = np.array([[mcc(p[0] > threshold, y > 0.5) for threshold in THRESHOLDS] for p, y in found])
        worse = scores[:, [scores.mean(0).argmax()]] - scores
        error = worse.std(0, ddof=1) / math.sqrt(len(found)) if len(found) > 1 else 0.0
        good = np.array(THRESHOLDS)[worse.mean(0) <= error]
        return {"threshold": float(min(good, key=lambda threshold: abs(threshold - PAPERS_THRESHOLD)))}

    # ---- training
    def find_pairs(self, folder: Path) -> PairList:
        """Find the training cases below `folder`, grouped by image or by the date in the file name."""
        return find_pairs(Path(folder), _date if self.settings.group == "date" else str)

    def target(self, labels: Image) -> np.ndarray:
        """Return float32 (Y, X), 1 where the label is not 0 (so 0/1 and 0/255 masks are alike)."""
        return np.asarray(foreground(labels.data), np.float32)

    def sample(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Cut a random crop, or take the whole image; mirrored up to what the network divides."""
        return random_crop(x, y, self.settings.crop, self.size_multiple, rng)

    def augment(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Rotate +-45 degrees, shift and zoom 5 %, shear, flip: the same for image and mask."""
        papers = self.settings.augmentation == "paper"
        if self.settings.scaling == "glass" and (self.settings.height_jitter or self.settings.ripple):
            x = _other_scanner(x, self.settings.height_jitter, self.settings.ripple, rng)
        matrix = random_matrix(
            rng,
            y.shape,
            rotate=math.radians(45),
            shift=0.05,
            shear=math.radians(0.05) if papers else 0.05,
            zoom=(0.95, 1.05),
        )
        x, y = affine(x, y, matrix, mode="grid-wrap" if papers else "reflect", target_order=1 if papers else 0)
        return random_flip(x, (y > 0.5).astype(np.float32), rng)

    def loss(self, output: Tensor, target: Tensor, image: Tensor) -> dict[str, Tensor]:
        """Return the chosen loss and the soft Dice coefficient of a batch."""
        logits = output.float()
        truth, probabilities = target.reshape(logits.shape).float(), logits.sigmoid()
        chosen = self.settings.loss
        loss = bce_with_logits(logits, truth) if chosen == "bce" else LOSSES[chosen](probabilities, truth)
        return {"loss": loss, "dice": 1 - LOSSES["dice"](probabilities.detach(), truth)}

    def optimizer(self, network: nn.Module, settings: base.TrainSettings, phase: int) -> torch.optim.Optimizer:
        """Build Adam, at a tenth of the rate for ImageNet encoders."""
        rate = settings.learning_rate * (self.settings.transfer_rate if self.settings.transfer else 1)
        return torch.optim.Adam(network.parameters(), rate, weight_decay=settings.weight_decay)


def _compressed(height: np.ndarray) -> np.ndarray:
    """Map heights above the glass to about 0..1: linear below `KNEE` times its noise, logarithmic above."""
    return _compress(above_glass(height).relative())


def _compress(relative: np.ndarray) -> np.ndarray:
    return np.asarray((np.arcsinh(relative / KNEE) + BELOW) / (ABOVE + BELOW))


def _other_scanner(x: np.ndarray, gain: float, ripple: float, rng: np.random.Generator) -> np.ndarray:
    """Change how high a compressed scan (1, Y, X) stands above its noise, and make its glass uneven and blurred."""
    relative = KNEE * np.sinh(x * (ABOVE + BELOW) - BELOW) * np.exp(rng.uniform(-gain, gain))
    y, across = np.mgrid[: x.shape[1], : x.shape[2]].astype(np.float32)
    centre = rng.uniform(-0.5, 1.5, 2) * x.shape[1:]
    distance = np.hypot(y - centre[0], across - centre[1])
    waves = np.sin(distance / rng.uniform(1.5, 12) + rng.uniform(0, 2 * np.pi))
    waves = np.where(rng.uniform() < 0.5, np.sign(waves), waves)
    uneven = ndimage.gaussian_filter(rng.standard_normal(x.shape[1:]), rng.uniform(4, 20))
    uneven *= rng.uniform(0, ripple) / max(float(uneven.std()), 1e-9)
    relative = relative + rng.uniform(0, ripple) * waves + uneven
    if rng.uniform() < 0.5:
        relative = ndimage.gaussian_filter(relative, (0, *[rng.uniform(0, 1.2)] * 2))
    return np.asarray(np.clip(_compress(relative), 0, 1), np.float32)


def _require_finite(block: np.ndarray) -> None:
    bad = 0 if block.dtype.kind in "bui" else int(np.count_nonzero(~np.isfinite(block)))
    if bad:
        raise DataError(
            f"{bad} of {block.size} values are not numbers or infinite; every height must be finite. "
            "Fill or crop the missing part of the scan first."
        )


def _date(stem: str) -> str:
    found = DATE.search(stem)
    return found.group().lower() if found else stem
