"""Cells in AFM height scans by their height above the glass; nothing is trained.

Polynomial background and line correction as scanning probe software does them (Necas and Klapetek, Gwyddion, Central
European Journal of Physics 2012;10:181-188), fitted to what is no cell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.measure.labels import without_small
from napari_medseg.method import TrainingFreeMethod
from napari_medseg.methods.afm_threshold.settings import AfmThresholdSettings
from napari_medseg.preprocessing.levelling import above_glass, remove_scars

FEW, MOST = 0.005, 0.85  # shares of a scan that cells seldom cover less, or more, of


class AfmThreshold(TrainingFreeMethod):
    """Glass found and subtracted, heights above it thresholded; labels 0 glass, 1 cell."""

    name = "afm-threshold"
    title = AfmThresholdSettings.title
    doi = "10.2478/s11534-011-0096-2"
    Settings = AfmThresholdSettings
    measure = "afm"
    metrics = ("accuracy", "precision", "recall", "specificity", "dice", "iou", "mcc")

    def check(self, image: Image) -> None:
        """Refuse all but one channel of a 2D scan."""
        super().check(image)
        if image.n_channels != 1:
            raise DataError(
                f"{self.title} takes one height channel; {image.name or 'this image'} has {image.n_channels}. "
                "Choose the height channel."
            )

    def preprocess(self, image: Image) -> Image:
        """Turn heights into heights above the glass, in SD of the glass."""
        heights = np.asarray(image.channels_first())[0]
        heights = above_glass(remove_scars(heights) if self.settings.remove_scars else heights).relative()
        return image.replace(data=heights.astype(np.float32), axes=image.spatial_axes, channels=())

    def normalise(self, block: np.ndarray, statistics: Any) -> np.ndarray:
        """Return the heights as they are."""
        return np.asarray(block, np.float32)

    def activate(self, output: Tensor) -> Tensor:
        """Map height h to h / (h + threshold): half at the threshold."""
        height, threshold = output.clamp(min=0), float(self.settings.threshold)
        return height / (height + threshold)

    def postprocess(self, probabilities: np.ndarray, image: Image) -> Image:
        """Threshold to labels uint8 {0, 1}, drop small objects, fill small gaps."""
        mask = without_small(probabilities[0] > 0.5, self.settings.min_area, connectivity=2)
        mask = ~without_small(~mask, self.settings.fill_holes, connectivity=1)
        return image.labels_like(mask.astype(np.uint8))

    def doubt(self, labels: Image) -> str:
        """Doubt a scan with hardly any cells or hardly any glass."""
        share = float(np.mean(np.asarray(labels.data) > 0))
        if share < FEW:
            found = f"Only {share:.1%} of the scan is called cell." if share else "No cell was found."
            return (
                f"{found} If there are more, check that this is a height channel, lower the threshold in the method's "
                "settings (--threshold 3), or draw them in Refine with scribbles."
            )
        if share > MOST:
            return f"{share:.0%} of the scan is called cell: the glass was perhaps not found. Look at the result."
        return ""
