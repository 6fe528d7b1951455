"""Corneal nerves by line filters, two thresholds and the shortest line; nothing is trained."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io.ccm import to_grey
from napari_medseg.measure.lines import keep_lines
from napari_medseg.method import TrainingFreeMethod
from napari_medseg.methods.nerve_ridges.settings import NerveRidgesSettings
from napari_medseg.preprocessing.ground import unseen

CUTOFF_SD = 3  # a Gaussian ends here


class LineFilter(nn.Module):
    """Strength of the brightest line through each pixel, in SD of the picture around it.

    The picture is first evened out (less its local mean, divided by its local SD); its strength is the largest answer
    of second derivatives of Gaussians, stretched along the line, over `directions` (the matched filter of Chaudhuri
    et al., IEEE TMI 8(3), 1989).

    Parameters
    ----------
    width, length
        SD of the filter across and along the line, pixels.
    surroundings
        SD of the Gaussian that takes local mean and SD, pixels.
    """

    def __init__(self, width: float, length: float, surroundings: float, directions: int = 16) -> None:
        super().__init__()
        self.around: Tensor
        self.lines: Tensor
        self.register_buffer("around", gaussian(surroundings), persistent=False)
        self.register_buffer("lines", line_kernels(width, length, directions), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map a picture (B, 1, Y, X) to strengths (B, 1, Y, X), 0 or more; NaN was not seen and counts nothing."""
        seen, nothing = torch.isfinite(x), torch.zeros_like(x)
        share = self._mean(seen.to(x.dtype)).clamp_min(1e-3)
        detail = torch.where(seen, x - self._mean(torch.where(seen, x, nothing)) / share, nothing)
        deviation = (self._mean(detail**2) / share).clamp_min(1e-12).sqrt()
        even = torch.where(deviation > 1e-5, detail / deviation, nothing)
        strengths = _padded(even, self.lines.to(x.dtype)).amax(1, keepdim=True).clamp_min(0)
        return torch.where(seen, strengths, nothing)

    def _mean(self, x: Tensor) -> Tensor:
        row = self.around.to(x.dtype)[None, None]
        return _padded(_padded(x, row[..., None, :]), row[..., :, None])


def receptive_radius(width: float, length: float, surroundings: float) -> int:
    """Return the radius of `LineFilter` in pixels: of a line, and of the mean within the SD around it."""
    return math.ceil(CUTOFF_SD * max(width, length)) + 2 * math.ceil(CUTOFF_SD * surroundings)


def gaussian(sd: float) -> Tensor:
    """Return a Gaussian of sum 1 (n,)."""
    n = math.ceil(CUTOFF_SD * sd)
    values = torch.exp(-(torch.arange(-n, n + 1.0) ** 2) / (2 * sd**2))
    return values / values.sum()


def line_kernels(width: float, length: float, directions: int) -> Tensor:
    """Return filters (directions, 1, n, n) of sum 0 and norm 1: a bright line with dark sides, in each direction."""
    n = math.ceil(CUTOFF_SD * max(width, length))
    steps = torch.arange(-n, n + 1.0)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    kernels = []
    for k in range(directions):
        angle = math.pi * k / directions
        along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
        kernel = (1 - (across / width) ** 2) * torch.exp(-((across / width) ** 2 + (along / length) ** 2) / 2)
        kernel = kernel - kernel.mean()
        kernels.append(kernel / kernel.norm())
    return torch.stack(kernels)[:, None]


def _padded(x: Tensor, kernels: Tensor) -> Tensor:
    """Convolve with the border repeated."""
    rows, columns = (n // 2 for n in kernels.shape[-2:])
    return F.conv2d(F.pad(x, (columns, columns, rows, rows), mode="replicate"), kernels)


class NerveRidges(TrainingFreeMethod):
    """Oriented line filters, hysteresis threshold, shortest line; labels 0 background, 1 nerve."""

    name = "nerve-ridges"
    title = NerveRidgesSettings.title
    doi = "10.1109/42.34715"
    Settings = NerveRidgesSettings
    measure = "nerve"
    colours = True
    metrics = ("f1_1px", "f1_2px", "f1_3px", "dice", "cldice")

    def build_network(self) -> LineFilter:
        """Build the filters."""
        s = self.settings
        return LineFilter(s.width, s.length, s.surroundings)

    @property
    def halo(self) -> int:
        """Reach of the filters."""
        return receptive_radius(self.settings.width, self.settings.length, self.settings.surroundings)

    def preprocess(self, image: Image) -> Image:
        """Return the image, in which NaN stands for what is `unseen`.

        Raises
        ------
        DataError
            If it holds NaN or infinite values.
        """
        grey = to_grey(np.asarray(image.channels_first()))
        if grey.dtype.kind == "f" and not np.isfinite(grey).all():
            raise DataError(f"{image.name or 'The image'} holds NaN or infinite values. Replace them first.")
        outside = unseen(grey)
        if not outside.any():
            return image
        return image.replace(
            data=np.where(outside, np.nan, grey).astype(np.float32), axes=image.spatial_axes, channels=()
        )

    def statistics(self, image: Image) -> float:
        """Return the SD of what was seen of the whole (grey) image."""
        grey = to_grey(np.asarray(image.channels_first()))
        seen = grey[np.isfinite(grey)]
        return float(seen.std(dtype=np.float64)) if seen.size else 0.0

    def normalise(self, block: np.ndarray, statistics: Any) -> np.ndarray:
        """Return grey values in SD of the image, negative for dark lines."""
        grey = to_grey(block).astype(np.float32)[None]
        unit = statistics if statistics > 0 else 1.0
        return np.asarray(-grey / unit if self.settings.dark else grey / unit, np.float32)

    def activate(self, output: Tensor) -> Tensor:
        """Map strength s to s / (s + weak): half where a line may go on."""
        weak: float = self.settings.weak
        return output / (output + weak)

    def postprocess(self, probabilities: np.ndarray, image: Image) -> Image:
        """Keep lines that are strong somewhere, as far as they are not weak, and long enough."""
        s = self.settings
        mask = keep_lines(probabilities[0], 0.5, s.strong / (s.strong + s.weak), s.shortest)
        return image.labels_like(mask.astype(np.uint8))
