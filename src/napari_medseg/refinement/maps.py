"""One incremental geodesic map per class, kept in step with the scribbles."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from napari_medseg.geodesic import GeodesicMap
from napari_medseg.image import Image
from napari_medseg.refinement.history import Box, box_of, union

LOW, HIGH = 0.5, 99.5
SAMPLE = 1_000_000


def unit_features(image: Image) -> np.ndarray:
    """Return float32 (C, *spatial) in [0, 1] between the percentiles 0.5 and 99.5 of each channel; NaN becomes 0."""
    channels = image.channels_first()
    out = np.empty(channels.shape, np.float32)
    for values, channel in zip(out, channels, strict=True):
        values[...] = channel
        _to_unit(values, bool(np.dtype(channel.dtype).kind == "f"))
    return out


def _to_unit(values: np.ndarray, may_be_nan: bool) -> None:
    """Normalise `values` in place: of a volume of gigabytes there is room for no second copy."""
    flat = values.reshape(-1)
    sample = flat[:: max(1, flat.size // SAMPLE)]
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        values[...] = 0
        return
    low, high = np.percentile(sample, (LOW, HIGH))
    if high <= low:
        low, high = float(sample.min()), float(sample.max())
    values -= np.float32(low)
    values /= np.float32(max(high - low, 1e-12))
    np.clip(values, 0, 1, out=values)
    if may_be_nan:
        np.nan_to_num(values, copy=False, nan=0.0)


def surroundings(scribbles: np.ndarray, mask: np.ndarray, image: Image, margin: float, grid: int = 16) -> Box:
    """Return the box that an engine sees: `margin` (physical) around strokes and mask, in steps of `grid` voxels.

    The whole image where there is neither, or where the margin is 0.
    """
    whole = tuple(slice(0, n) for n in mask.shape)
    found = union(box_of(scribbles > 0), box_of(mask > 0))
    if found is None or not margin:
        return whole
    margins = [margin / s for s in image.scale]
    return tuple(
        slice(max(0, int(s.start - m) // grid * grid), min(n, -(-int(s.stop + m) // grid) * grid))
        for s, m, n in zip(found, margins, mask.shape, strict=True)
    )


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
        self._maps: list[GeodesicMap | None] = [None] * n_classes
        self._pool = ThreadPoolExecutor(2)

    def update(self, scribbles: np.ndarray) -> list[np.ndarray]:
        """Bring the maps to `scribbles` (*spatial) and return one distance map per class.

        A map whose update fails or is interrupted is forgotten, and made anew by the next update.
        """
        return list(self._pool.map(lambda k: self._follow(k, scribbles == k + 1), range(len(self._maps))))

    def _follow(self, k: int, seeds: np.ndarray) -> np.ndarray:
        kept, self._maps[k] = self._maps[k] or self._empty.like(), None
        gone, new = kept.seeds & ~seeds, seeds & ~kept.seeds
        if gone.any() and not seeds.any():
            kept = self._empty.like()
        elif gone.any():
            kept.remove(gone)
        if new.any():
            kept.add(new)
        self._maps[k] = kept
        return kept.distance
