"""Intensities of an image in [0, 1], a box at a time: of a volume of gigabytes there is room for no copy."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from napari_medseg.image import Image
from napari_medseg.refinement.history import Box, whole

LOW, HIGH = 0.5, 99.5  # percentiles that become 0 and 1
SAMPLE = 1_000_000
KEPT = 2**22  # values of an image that is kept as a whole


class Intensities:
    """The channels of an image between two percentiles of each; what is not finite becomes 0."""

    def __init__(self, image: Image) -> None:
        self._channels = image.channels_first()

    @cached_property
    def ranges(self) -> list[tuple[float, float]]:
        """Least and largest intensity of each channel that are told apart."""
        return [_range(channel) for channel in self._channels]

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
            # offsets such as 2^31 leave no digits in float32: subtract in double precision
            np.subtract(part, low, out=values, casting="unsafe", dtype=np.float64)
            values *= np.float32(1 / max(high - low, 1e-12))
            np.clip(values, 0, 1, out=values)
            if part.dtype.kind == "f":
                np.nan_to_num(values, copy=False, nan=0.0)
        return out


def _range(channel: np.ndarray) -> tuple[float, float]:
    flat = channel.reshape(-1)
    sample = flat[:: max(1, flat.size // SAMPLE)].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return 0.0, 1.0
    low, high = np.percentile(sample, (LOW, HIGH))
    if high <= low:
        low, high = sample.min(), sample.max()
    return float(low), float(high)
