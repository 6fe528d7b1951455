"""One incremental geodesic map per class, kept in step with the scribbles."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from napari_medseg.geodesic import GeodesicMap
from napari_medseg.refinement.history import Box, box_of, union

GRID = 16  # regions begin and end at multiples of this many voxels, which suits the strides of networks


def surroundings(scribbles: np.ndarray, mask: np.ndarray, margin: int) -> Box:
    """Return the box `margin` voxels around strokes and mask, in steps of `GRID` voxels.

    The whole image where there is neither, or where the margin is 0.
    """
    found = union(box_of(scribbles > 0), box_of(mask > 0))
    if found is None or not margin:
        return tuple(slice(0, n) for n in mask.shape)
    return tuple(
        slice(max(0, s.start - margin) // GRID * GRID, min(n, -(-(s.stop + margin) // GRID) * GRID))
        for s, n in zip(found, mask.shape, strict=True)
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
