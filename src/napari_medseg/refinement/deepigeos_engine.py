"""The DeepIGeoS engine: R-Net on image, present mask and the geodesic maps of all scribbles."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_medseg.errors import DataError
from napari_medseg.geodesic.incremental import GeodesicMap
from napari_medseg.image import Image
from napari_medseg.jobs import Job, Progress
from napari_medseg.preprocessing.volumes import unit_range
from napari_medseg.refinement.boxes import Box, box_of, union
from napari_medseg.refinement.engine import Answer, Engine, Known
from napari_medseg.refinement.settings import RefinementSettings
from napari_medseg.refinement.state import elements

if TYPE_CHECKING:
    from napari_medseg.method import Model

GRID = 16  # regions begin and end at multiples of this many voxels, which suits the strides of networks
# Without the two, three rounds on ten hippocampi (which chose R-Net's epoch) ended at Dice .922, with them at .927.
PEEL, SHARE = 1.0, 0.05
KEPT = "R-Net would have removed {} that no stroke speaks against; they stay."


class DeepIGeoSEngine(Engine):
    """R-Net of one image; the geodesic maps are kept between rounds.

    R-Net sees what lies within ``roi_margin`` voxels of strokes and mask, and more where its answer comes to the edge
    of that. What it would remove of the mask without being asked by a stroke stays, and the answer says so.

    Raises
    ------
    DataError
        If there is no refinement model, or it does not fit the image or the classes.
    """

    border_doubt = False

    def __init__(self, image: Image, model: Model | None, settings: RefinementSettings) -> None:
        if model is None or not hasattr(model.method, "prepare_refinement"):
            given = "none was given" if model is None else f"{model.method.title} is not one"
            raise DataError(f"The DeepIGeoS engine needs an R-Net model; {given}. Give one, or choose engine geodesic.")
        classes = model.method.out_channels - 1
        if classes != settings.classes:
            raise DataError(f"The R-Net model has {classes} foreground classes. Set classes to {classes}.")
        model.method.check(image)
        super().__init__(image)
        self._model, self._settings = model, settings
        self._maps: ScribbleMaps | None = None
        self._probabilities: np.ndarray | None = None

    def prepare(self) -> None:
        """Make the maps of the image, so that the first stroke answers sooner."""
        self._distances(np.zeros(self.image.spatial_shape, np.uint8))

    def refine(
        self, scribbles: np.ndarray, before: np.ndarray, mask: np.ndarray, given: np.ndarray, locked: np.ndarray,
        known: Known | None = None,
    ) -> Job[Answer]:  # fmt: skip
        """Return R-Net's labels for all scribbles, with `mask` as its proposal (all uint8)."""
        from napari_medseg.inference.network import fast_settings, infer

        method: Any = self._model.method
        start = time.perf_counter()
        yield Progress(0, 2, "geodesic distances")
        distances = self._distances(scribbles)
        array = method.prepare_refinement(self.image, mask, scribbles, distances)
        timings = {"geodesic": time.perf_counter() - start}
        start = time.perf_counter()
        margin, settings = self._settings.roi_margin, fast_settings(method, self._settings.predict_settings())
        while True:
            box = surroundings(scribbles, mask, margin)
            probabilities = np.zeros((method.out_channels, *mask.shape), np.float32)
            probabilities[0] = 1
            inside = (slice(None), *box)
            probabilities[inside] = yield from infer(self._model, array[inside], settings)
            labels = np.asarray(method.postprocess(probabilities, self.image).data, np.uint8)
            if not _at_edge(labels, box):
                break
            margin *= 2
        self._probabilities = probabilities
        kept = unasked(labels, mask, scribbles)
        labels[kept] = mask[kept]
        timings["network"] = time.perf_counter() - start
        count = int(np.count_nonzero(kept))
        return Answer(labels, timings, KEPT.format(elements(count, mask.ndim)) if count else "")

    def uncertainty(self) -> np.ndarray | None:
        """Return 1 - (best - second probability) of the last round, float32 (*spatial) in [0, 1]."""
        return None if self._probabilities is None else undecided(self._probabilities)

    def _distances(self, scribbles: np.ndarray) -> np.ndarray | None:
        """Return up-to-date maps (L, *spatial), or ``None`` where the method must compute them itself."""
        method: Any = self._model.method
        settings = method.settings
        own = getattr(settings, "metric", "") == "geodesic" and getattr(settings, "distance_engine", "numba") == "numba"
        if not own or not hasattr(method, "spacing"):
            return None
        if self._maps is None:
            x = method.prepare(self.image)[: self.image.n_channels]
            features = unit_range(x)
            cost = getattr(settings, "cost", "linear")
            self._maps = ScribbleMaps(features, method.spacing, settings.weight, cost, method.out_channels)
        return np.stack(self._maps.update(scribbles))


def _at_edge(labels: np.ndarray, box: Box) -> bool:
    """Whether a mask comes to an edge of `box` that is none of the image."""
    inside = labels[box]
    sides = [np.moveaxis(inside, axis, 0) for axis in range(inside.ndim)]
    return any(
        (s.start > 0 and side[0].any()) or (s.stop < n and side[-1].any())
        for side, s, n in zip(sides, box, labels.shape, strict=True)
    )


def unasked(labels: np.ndarray, mask: np.ndarray, scribbles: np.ndarray) -> np.ndarray:
    """Return what `labels` lacks of `mask` in pieces that no stroke of another class touches, bool (*spatial).

    A better border is what R-Net is for: pieces that are `PEEL` voxels deep and `SHARE` of the mask at most may go.
    """
    gone = (mask > 0) & (labels != mask)
    pieces, count = ndimage.label(gone, np.ones((3,) * mask.ndim))
    asked = np.zeros(count + 1, bool)
    asked[pieces[(scribbles > 0) & (scribbles != mask + 1)]] = True
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    small = sizes <= SHARE * np.count_nonzero(mask)
    small[pieces[gone & (ndimage.distance_transform_edt(mask > 0) > PEEL)]] = False
    return np.asarray(gone & ~(asked | small)[pieces])


def undecided(probabilities: np.ndarray) -> np.ndarray:
    """Return 1 - (best - second) of probabilities (K, *spatial); with K = 1 of p and 1 - p."""
    if len(probabilities) == 1:
        return np.asarray(1 - np.abs(2 * probabilities[0] - 1), np.float32)
    top = np.partition(probabilities, -2, axis=0)
    return np.asarray(1 - (top[-1] - top[-2]), np.float32)


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
