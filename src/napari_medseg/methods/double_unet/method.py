"""DoubleU-Net on nerve-reflectance frames (network: Jha et al. 2020; use: He et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_medseg.augment import intensity, spatial
from napari_medseg.augment.elastic import elastic
from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io import read_one
from napari_medseg.io.pairs import PairList, find_pairs
from napari_medseg.measure.labels import foreground, without_small
from napari_medseg.method import Method, Recipe
from napari_medseg.methods.double_unet.settings import MULTIPLE, PAPER_WIDTH, DoubleUnetSettings, names
from napari_medseg.methods.double_unet.similarity import similarity_groups
from napari_medseg.nn import frames
from napari_medseg.nn.blocks import batch_norm, conv_block
from napari_medseg.nn.encoders import VGG
from napari_medseg.nn.pretrained import load_imagenet
from napari_medseg.settings import TrainSettings

DILATIONS = (6, 12, 18)


class SqueezeExcite(nn.Module):
    """Scale channels by sigmoid(W2 relu(W1 mean(x))), without biases (Hu et al. 2018), reduction 8."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        reduced = max(channels // reduction, 1)
        self.down = nn.Conv2d(channels, reduced, 1, bias=False)
        self.up = nn.Conv2d(reduced, channels, 1, bias=False)
        for layer in (self.down, self.up):
            nn.init.kaiming_normal_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        weights = self.up(F.relu(self.down(x.mean((-2, -1), keepdim=True))))
        return x * torch.sigmoid(weights)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: the whole map's mean, a 1x1 and three dilated 3x3 convolutions, merged."""

    def __init__(self, in_channels: int, channels: int = PAPER_WIDTH) -> None:
        super().__init__()
        self.pooled = _unit(in_channels, channels, bias=True)
        self.branches = nn.ModuleList(
            [_unit(in_channels, channels), *(_unit(in_channels, channels, dilation) for dilation in DILATIONS)]
        )
        self.merge = _unit(channels * (2 + len(DILATIONS)), channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, channels, H, W)."""
        pooled = self.pooled[0](x.mean((-2, -1), keepdim=True))
        # enlarged before the normalisation, which is the same but works for a batch of one too
        mean = self.pooled[1:](pooled.expand(-1, -1, *x.shape[-2:]).contiguous())
        merged: Tensor = self.merge(torch.cat([mean, *(branch(x) for branch in self.branches)], 1))
        return merged


class Decoder(nn.Module):
    """Four times: double the size, append the skips of that size, `conv_block` with squeeze and excite."""

    def __init__(self, width: int, *skip_widths: tuple[int, ...]) -> None:
        super().__init__()
        skips = [sum(level) for level in zip(*skip_widths, strict=True)]
        self.blocks = nn.ModuleList()
        before = width
        for channels, skip in zip((4 * width, 2 * width, width, width // 2), skips, strict=True):
            self.blocks.append(_block(before + skip, channels))
            before = channels
        self.head = nn.Conv2d(before, 1, 1)

    def forward(self, x: Tensor, *skips: list[Tensor]) -> Tensor:
        """Map (B, width, H/16, W/16) and lists of skips, deepest first, to logits (B, 1, H, W)."""
        for block, *level in zip(self.blocks, *skips, strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(torch.cat([x, *level], 1))
        logits: Tensor = self.head(x)
        return logits


class DoubleUnetNet(nn.Module):
    """Two U-Nets in a row; with the paper's width 29,297,570 values, of which 29,290,274 trainable.

    The first has the VGG19 encoder. Its probability, times the image, is the input of the second, which also sees the
    first one's skips. Any image size: it is padded at bottom and right to a multiple of 16 by repeating the border.

    Parameters
    ----------
    width
        Channels of VGG19's first stage and of the pyramids, from which all others follow; an even number.
    mirror
        In evaluation, average the logits of the image and of its mirror image.
    """

    def __init__(self, width: int = PAPER_WIDTH, *, mirror: bool = False) -> None:
        super().__init__()
        self.mirror = mirror
        self.encoder1 = VGG("vgg19", width=width)
        self.aspp1 = ASPP(self.encoder1.widths[-1], width)
        skip1 = tuple(self.encoder1.widths[3::-1])
        self.decoder1 = Decoder(width, skip1)
        second = (width // 2, width, 2 * width, 4 * width)
        self.encoder2 = nn.ModuleList(_block(a, b) for a, b in pairwise((3, *second)))
        self.aspp2 = ASPP(second[-1], width)
        self.decoder2 = Decoder(width, skip1, second[::-1])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to logits (B, 2, H, W): first the mask of network 1, last the one to use, of network 2."""
        logits = self._logits(x)
        if self.mirror and not self.training:
            logits = (logits + self._logits(x.flip(-1)).flip(-1)) / 2
        return logits

    def _logits(self, x: Tensor) -> Tensor:
        """Return the logits of both networks (B, 2, H, W), of sizes that are padded meanwhile."""
        height, width = x.shape[-2:]
        bottom, right = -height % MULTIPLE, -width % MULTIPLE
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        *skips1, deep = self.encoder1(x)
        skips1 = skips1[::-1]
        output1 = self.decoder1(self.aspp1(deep), skips1)
        y = x * torch.sigmoid(output1)
        skips2: list[Tensor] = []
        for block in self.encoder2:
            y = block(y)
            skips2.insert(0, y)
            y = F.max_pool2d(y, 2)
        output2 = self.decoder2(self.aspp2(y), skips1, skips2)
        return torch.cat([output1, output2], 1)[..., :height, :width]


def _block(in_channels: int, channels: int) -> nn.Sequential:
    """Return [3x3 convolution, batch normalisation, ReLU] x 2 and squeeze and excite."""
    return nn.Sequential(conv_block(in_channels, channels), SqueezeExcite(channels))


def _unit(in_channels: int, channels: int, dilation: int = 0, *, bias: bool = False) -> nn.Sequential:
    """Return a 1x1 (or dilated 3x3) convolution, batch normalisation and ReLU."""
    size = 3 if dilation else 1
    layer = nn.Conv2d(in_channels, channels, size, padding=dilation, dilation=max(dilation, 1), bias=bias)
    return nn.Sequential(layer, batch_norm(channels), nn.ReLU(inplace=True))


SMOOTH = 1.0
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
Arrays = tuple[np.ndarray, np.ndarray]
Augmentation = Callable[[np.ndarray, np.ndarray, np.random.Generator], Arrays]


class DoubleUnet(Method):
    """Binary nerve mask of a frame: DoubleU-Net on median-centred pixels; the second output is the answer."""

    name = "double-unet"
    title = DoubleUnetSettings.title
    doi = "10.1109/CBMS49503.2020.00111"
    Settings = DoubleUnetSettings
    training = DoubleUnetSettings.training
    recipe = Recipe(
        {"width": 16, "input_size": 128, "encoder_weights": "none", "loss": "bce_dice", "mirror": True,
         "augmentations": "hflip,rotate,crop,elastic,brightness_contrast,gamma,blur,noise"},
        TrainSettings(epochs=13, steps_per_epoch=200, batch_size=4, learning_rate=2e-3, schedule="one-cycle",
                      ema=0.995),
    )  # fmt: skip
    tiled = False
    halves = True
    colours = True
    measure = "video"
    metrics = ("dice", "iou", "precision", "recall", "specificity", "accuracy")
    out_channels = 2

    def build_network(self) -> nn.Module:
        """Build `DoubleUnetNet` with random weights."""
        return DoubleUnetNet(self.settings.width, mirror=self.settings.mirror)

    def initialise(self, network: nn.Module) -> str:
        """Load ImageNet weights into the first encoder if it has the paper's width; warn when they cannot be had."""
        if self.settings.width != PAPER_WIDTH:
            return f"There are no ImageNet weights of width {self.settings.width}; the encoder starts from random ones."
        return load_imagenet(network.encoder1, "vgg19", self.settings.encoder_weights)  # type: ignore[arg-type]

    @property
    def in_channels(self) -> int:
        """Three: grey frames are repeated."""
        return 3

    @property
    def size_multiple(self) -> int:
        """Four poolings by 2."""
        return MULTIPLE

    def check(self, image: Image) -> None:
        """Refuse values that are not finite."""
        super().check(image)
        if np.dtype(image.data.dtype).kind == "f" and not np.isfinite(np.asarray(image.data)).all():
            raise DataError(f"{image.name or 'The image'} holds NaN or infinite values. Replace them first.")

    def encode(self, batch: Tensor) -> Tensor:
        """Map frames (B, c, Y, X) to network input float32 (B, 3, size, size): resize, then centre the median."""
        size = (self.settings.input_size,) * 2
        return frames.median_centre(frames.shrink(batch, size, antialias=self.settings.mode == "fixed"))

    def normalise(self, block: np.ndarray, statistics: Any) -> np.ndarray:
        """Return `encode` of one frame (c, Y, X)."""
        return np.asarray(self.encode(frames.from_numpy(block)[None])[0].numpy())

    def activate(self, output: Tensor) -> Tensor:
        """Return the sigmoid of both outputs."""
        return torch.sigmoid(output)

    def decode(self, probabilities: Tensor, size: tuple[int, int]) -> Tensor:
        """Upsample the second output of (B, 2, h, w) bilinearly to (B, *size) and threshold it."""
        probability = frames.resize(probabilities[:, -1:], size, antialias=False)[:, 0]
        return torch.gt(probability, self.settings.threshold)

    def clean(self, mask: np.ndarray) -> np.ndarray:
        """Fill holes and drop small pieces of a mask (Y, X) as the settings say."""
        from scipy import ndimage

        if self.settings.fill_holes:
            mask = np.asarray(ndimage.binary_fill_holes(mask))
        return without_small(mask, self.settings.min_area, 2)

    def postprocess(self, probabilities: np.ndarray, image: Image) -> Image:
        """Bring the probability to the image's size, threshold, clean; labels 0 background, 1 nerve."""
        height, width = image.spatial_shape
        mask = self.decode(torch.from_numpy(np.ascontiguousarray(probabilities))[None], (height, width))[0].numpy()
        return image.labels_like(self.clean(mask).astype(np.uint8), f"{image.name}_nerve")

    # ---- training
    def find_pairs(self, folder: Any) -> PairList:
        """Pair frames with masks; groups are movies (the text before ``_<number>``), or frames of one scene."""
        found = find_pairs(folder, lambda stem: stem.rpartition("_")[0] or stem)
        if self.settings.group == "name":
            return found
        groups = similarity_groups([np.asarray(read_one(pair.image).data) for pair in found.pairs])
        pairs = tuple(replace(p, subject=f"scene{k}") for p, k in zip(found.pairs, groups, strict=True))
        return PairList(pairs, found.unpaired)

    def target(self, labels: Image) -> np.ndarray:
        """Return float32 (1, size, size) in [0, 1]; every label above 0 is nerve."""
        nerve = torch.from_numpy(foreground(labels.data)).float()[None, None]
        size = (self.settings.input_size,) * 2
        if self.settings.mode == "paper":
            return np.asarray(frames.resize(nerve, size, antialias=False)[0].numpy())
        return np.asarray(F.interpolate(nerve, size, mode="nearest-exact")[0].numpy())

    def augment(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Arrays:
        """Apply each augmentation of the settings with probability 1/2."""
        for name in names(self.settings.augmentations):
            if rng.random() < 0.5:
                x, y = AUGMENT[name](x, y, rng)
        return np.clip(x, 0, 1), y

    def loss(self, output: Tensor, target: Tensor, image: Tensor) -> dict[str, Tensor]:
        """Compare both outputs with the mask.

        Dice D = (2 sum(yp) + 1) / (sum y + sum p + 1); ``paper`` sums over batch, outputs and pixels together,
        ``fixed`` over the pixels of each image and output and then averages. BCE + Dice adds the mean cross entropy;
        focal is -alpha_t (1 - p_t)^2 log p_t with alpha .25.
        """
        target = target.expand_as(output)
        dice = 1 - self._dice(torch.sigmoid(output), target)
        if self.settings.loss == "dice":
            return {"loss": dice}
        if self.settings.loss == "focal":
            return {"loss": _focal(output, target), "dice_loss": dice}
        bce = F.binary_cross_entropy_with_logits(output, target)
        return {"loss": bce + dice, "bce": bce, "dice_loss": dice}

    def score(self, probabilities: Tensor, target: Tensor) -> dict[str, float]:
        """Dice and IoU of the thresholded second output; two empty masks score 1."""
        predicted, truth = probabilities[:, -1:] > self.settings.threshold, target > 0.5
        overlap, total = int((predicted & truth).sum()), int(predicted.sum() + truth.sum())
        dice = 2 * overlap / total if total else 1.0
        return {"score": dice, "dice": dice, "iou": overlap / (total - overlap) if total else 1.0}

    def _dice(self, p: Tensor, y: Tensor) -> Tensor:
        axes = (-2, -1) if self.settings.mode == "fixed" else tuple(range(p.ndim))
        overlap, total = (p * y).sum(axes), p.sum(axes) + y.sum(axes)
        return ((2 * overlap + SMOOTH) / (total + SMOOTH)).mean()


def _focal(logits: Tensor, y: Tensor) -> Tensor:
    p = torch.sigmoid(logits)
    right = p * y + (1 - p) * (1 - y)
    weight = FOCAL_ALPHA * y + (1 - FOCAL_ALPHA) * (1 - y)
    cross = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
    return (weight * (1 - right) ** FOCAL_GAMMA * cross).mean()


def _rotate(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Arrays:
    return spatial.affine(x, y, spatial.random_matrix(rng, x.shape[1:], rotate=np.deg2rad(20)))


def _crop(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Arrays:
    """Show a random part of 70 to 100 % of the frame's edges, enlarged to the frame."""
    return spatial.affine(x, y, spatial.random_matrix(rng, x.shape[1:], zoom=(0.7, 1.0), shift=0.1))


def _elastic(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Arrays:
    x, mask = elastic(x, y[0], rng)
    return x, mask[None]


def _transpose(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Arrays:
    return np.ascontiguousarray(x.swapaxes(-2, -1)), np.ascontiguousarray(y.swapaxes(-2, -1))


def _dropout(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Arrays:
    """Blacken up to 8 boxes of at most an eighth of the frame's edge."""
    x = x.copy()
    for _ in range(int(rng.integers(1, 9))):
        height, width = (int(rng.integers(1, max(n // 8, 1) + 1)) for n in x.shape[1:])
        top, left = (int(rng.integers(0, n)) for n in x.shape[1:])
        x[:, top : top + height, left : left + width] = 0
    return x, y


def _pixels(function: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Augmentation:
    return lambda x, y, rng: (function(x, rng), y)


AUGMENT: dict[str, Augmentation] = {
    "hflip": lambda x, y, rng: spatial.random_flip(x, y, rng, axes=(-1,), probability=1),
    "vflip": lambda x, y, rng: spatial.random_flip(x, y, rng, axes=(-2,), probability=1),
    "rotate": _rotate,
    "rotate90": spatial.random_rot90,
    "transpose": _transpose,
    "elastic": _elastic,
    "crop": _crop,
    "brightness_contrast": _pixels(intensity.brightness_contrast),
    "gamma": _pixels(intensity.gamma),
    "blur": _pixels(intensity.blur),
    "noise": _pixels(intensity.gaussian_noise),
    "channel_shuffle": _pixels(lambda x, rng: x[rng.permutation(len(x))]),
    "dropout": _dropout,
}
