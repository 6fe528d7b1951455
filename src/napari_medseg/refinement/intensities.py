"""Intensities of an image in [0, 1], a box at a time: of a volume of gigabytes there is room for no copy."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from napari_medseg.image import Image
from napari_medseg.refinement.boxes import Box, whole

LOW, HIGH = 0.5, 99.5  # percentiles that become 0 and 1
SAMPLE = 1_000_000
ROUNDING = 4 * np.finfo(np.float64).eps  # share of a value by which equal ones may differ
SINGLE = 1e-30, 1e30  # differences that single precision holds
KEPT = 2**22  # values of an image that is kept as a whole


class Intensities:
    """The channels of an image between two percentiles of each; what is not finite becomes 0."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._channels = image.channels_first()

    @cached_property
    def ranges(self) -> list[tuple[float, float]]:
        """Least and largest intensity of each channel that are told apart."""
        return [_range(channel, self._image) for channel in self._channels]

    def inside(self, box: Box) -> np.ndarray:
        """Return float32 (C, *box) in [0, 1], to be read only."""
        small = self._channels.size <= KEPT
        return self._all[(slice(None), *box)] if small else self._made(box)

    @cached_property
    def _all(self) -> np.ndarray:
        return self._made(whole(self._channels.shape[1:]))

    def _made(self, box: Box) -> np.ndarray:
        parts = self._channels[(slice(None), *box)]
        out = np.empty(parts.shape, np.float32)
        for values, part, (low, high) in zip(out, parts, self.ranges, strict=True):
            span = high - low
            span = span if span > ROUNDING * max(abs(low), abs(high)) else 0.0
            if span > 0 and not SINGLE[0] < span < SINGLE[1]:
                part, low, span = np.asarray(part, np.float64) / span, low / span, 1.0
            # offsets such as 2^31 leave no digits in float32: subtract in double precision
            np.subtract(part, low, out=values, casting="unsafe", dtype=np.float64)
            values *= np.float32(1 / span if span > 0 else 1)
            np.clip(values, 0, 1, out=values)
            if part.dtype.kind == "f":
                np.nan_to_num(values, copy=False, nan=0.0)
        return out


def _range(channel: np.ndarray, image: Image) -> tuple[float, float]:
    flat = channel.reshape(-1)
    sample = np.asarray(flat[:: max(1, flat.size // SAMPLE)])
    sample = sample[image.measured(sample)].astype(np.float64)
    if not sample.size:
        return 0.0, 1.0
    low, high = np.percentile(sample, (LOW, HIGH))
    if high <= low:
        low, high = sample.min(), sample.max()
    return float(low), float(high)
