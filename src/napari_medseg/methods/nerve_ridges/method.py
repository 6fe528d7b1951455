"""Corneal nerves by line filters, two thresholds and the shortest line; nothing is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field
from torch import Tensor

from napari_medseg import settings as base
from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io.ccm import to_grey
from napari_medseg.measure.lines import keep_lines
from napari_medseg.method import TrainingFreeMethod
from napari_medseg.methods.nerve_ridges.network import LineFilter, reach


class NerveRidgesSettings(base.Settings):
    """What counts as a nerve; the defaults were found by ``benchmarks ccm ridges`` on images 1 to 10 of Nottingham."""

    width: float = Field(
        2.0, ge=0.5, le=20, title="Width", description="Half the width of a nerve in pixels (SD of the filter across)",
        json_schema_extra={"step": 0.25},
    )  # fmt: skip
    length: float = Field(
        6.0, ge=0.5, le=50, title="Length", description="How far along a nerve is averaged, pixels (SD)",
        json_schema_extra={"step": 1.0},
    )  # fmt: skip
    surroundings: float = Field(
        12.0, ge=2, le=200, title="Surroundings", description="Brightness and noise are taken over so many pixels (SD)",
        json_schema_extra={"step": 1.0},
    )  # fmt: skip
    strong: float = Field(
        9.0, gt=0, le=100, title="Strong", description="As strong as this a nerve is somewhere, in SD around it",
        json_schema_extra={"step": 0.5},
    )  # fmt: skip
    weak: float = Field(
        5.5, gt=0, le=100, title="Weak", description="A strong nerve goes on where it is at least this strong",
        json_schema_extra={"step": 0.5},
    )  # fmt: skip
    shortest: int = Field(
        40, ge=0, le=10_000, title="Shortest", description="Lines of fewer pixels of centreline are dropped"
    )
    dark: bool = Field(False, title="Dark lines", description="Lines are darker than their surroundings")


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
