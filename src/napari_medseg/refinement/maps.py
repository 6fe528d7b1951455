"""One incremental geodesic map per class, kept in step with the scribbles."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from napari_medseg.geodesic import GeodesicMap
from napari_medseg.image import Image

LOW, HIGH = 0.5, 99.5
SAMPLE = 1_000_000


def unit_features(image: Image) -> np.ndarray:
    """Return float32 (C, *spatial) in [0, 1] between the percentiles 0.5 and 99.5 of each channel; NaN becomes 0."""
    return np.stack([_unit(np.asarray(channel)) for channel in image.channels_first()])


def _unit(channel: np.ndarray) -> np.ndarray:
    data = channel.astype(np.float32)
    flat = data.reshape(-1)
    sample = flat[:: max(1, flat.size // SAMPLE)]
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return np.zeros_like(data)
    low, high = np.percentile(sample, (LOW, HIGH))
    if high <= low:
        low, high = float(sample.min()), float(sample.max())
    data -= np.float32(low)
    data /= np.float32(max(high - low, 1e-12))
    return np.nan_to_num(np.clip(data, 0, 1, out=data), copy=False, nan=0.0)


class ScribbleMaps:
    """Geodesic distances (float32, infinite without strokes) to the strokes of each class.

    Parameters
    ----------
    features
        (C, *spatial) in about [0, 1], finite.
    spacing, weight, metric
        As for `napari_medseg.geodesic.geodesic_distance`.
    n_classes
        Classes, background included.
    """

    def __init__(
        self, features: np.ndarray, spacing: tuple[float, ...], weight: float, metric: str, n_classes: int
    ) -> None:
        self._empty = GeodesicMap(features, spacing=spacing, weight=weight, metric=metric, channels=True)
        self._maps = [self._empty.like() for _ in range(n_classes)]
        self._pool = ThreadPoolExecutor(2)

    def update(self, scribbles: np.ndarray) -> list[np.ndarray]:
        """Bring the maps to `scribbles` (*spatial) and return one distance map per class.

        The maps know their own seeds, so an update that was interrupted is made good by the next one.
        """
        return list(self._pool.map(lambda k: self._follow(k, scribbles == k + 1), range(len(self._maps))))

    def _follow(self, k: int, seeds: np.ndarray) -> np.ndarray:
        known = self._maps[k].seeds
        gone, new = known & ~seeds, seeds & ~known
        try:
            if gone.any() and not seeds.any():
                self._maps[k] = self._empty.like()
            elif gone.any():
                self._maps[k].remove(gone)
            if new.any():
                self._maps[k].add(new)
        except BaseException:
            self._maps[k] = self._empty.like()
            raise
        return self._maps[k].distance
