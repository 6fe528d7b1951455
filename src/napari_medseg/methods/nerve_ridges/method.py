"""Corneal nerves by line filters, two thresholds and the shortest line; nothing is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io.ccm import to_grey
from napari_medseg.measure.lines import keep_lines
from napari_medseg.method import TrainingFreeMethod
from napari_medseg.methods.nerve_ridges.network import LineFilter, reach
from napari_medseg.methods.nerve_ridges.settings import NerveRidgesSettings


class NerveRidges(TrainingFreeMethod):
    """Oriented line filters, hysteresis threshold, shortest line; labels 0 background, 1 nerve."""

    name = "nerve-ridges"
    title = "Line filter (corneal nerves, no training)"
    doi = "10.1109/42.34715"
    Settings = NerveRidgesSettings
    measure = "nerve"
    metrics = ("f1_1px", "f1_2px", "f1_3px", "dice", "cldice")

    def build_network(self) -> LineFilter:
        """Build the filters."""
        s = self.settings
        return LineFilter(s.width, s.length, s.surroundings)

    @property
    def halo(self) -> int:
        """Reach of the filters."""
        return reach(self.settings.width, self.settings.length, self.settings.surroundings)

    def check(self, image: Image) -> None:
        """Refuse images of another dimension and channel counts other than grey, RGB and RGBA."""
        super().check(image)
        if image.n_channels not in (1, 3, 4):
            raise DataError(f"{self.title} takes grey or RGB images; {image.name or 'this image'} has "
                            f"{image.n_channels} channels. Give one of them.")  # fmt: skip

    def statistics(self, image: Image) -> float:
        """Return the SD of the whole (grey) image."""
        deviation = float(to_grey(np.asarray(image.channels_first())).std(dtype=np.float64))
        if not np.isfinite(deviation):
            raise DataError(f"{image.name or 'The image'} holds NaN or infinite values. Replace them first.")
        return deviation

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
