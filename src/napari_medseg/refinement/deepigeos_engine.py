"""The DeepIGeoS engine: R-Net on image, present mask and the geodesic maps of all scribbles."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.jobs import Job, Progress
from napari_medseg.preprocessing.volumes import unit_range
from napari_medseg.refinement.geodesic_engine import Answer
from napari_medseg.refinement.maps import ScribbleMaps, surroundings, unit_features
from napari_medseg.refinement.settings import RefinementSettings

if TYPE_CHECKING:
    from napari_medseg.method import Model


class DeepIGeoSEngine:
    """R-Net of one image; the geodesic maps are kept between rounds.

    R-Net sees, and changes, what lies within ``roi_margin`` of strokes and mask: beyond there is neither, and the mask
    stays background.

    Raises
    ------
    DataError
        If there is no refinement model, or it does not fit the image or the classes.
    """

    def __init__(self, image: Image, model: Model | None, settings: RefinementSettings) -> None:
        if model is None or not hasattr(model.method, "prepare_refinement"):
            given = "none was given" if model is None else f"{model.method.title} is not one"
            raise DataError(f"The DeepIGeoS engine needs an R-Net model; {given}. Give one, or choose engine geodesic.")
        classes = model.method.out_channels - 1
        if classes != settings.classes:
            raise DataError(f"The R-Net model has {classes} foreground classes. Set classes to {classes}.")
        model.method.check(image)
        self._image, self._model, self._settings = image, model, settings
        self._maps: ScribbleMaps | None = None
        self._probabilities: np.ndarray | None = None

    @property
    def features(self) -> np.ndarray:
        """Normalised intensities float32 (C, *spatial) in [0, 1]."""
        return unit_features(self._image)

    def prepare(self) -> None:
        """Make the maps of the image, so that the first stroke answers sooner."""
        self._distances(np.zeros(self._image.spatial_shape, np.uint8))

    def refine(self, scribbles: np.ndarray, before: np.ndarray, mask: np.ndarray, given: np.ndarray) -> Job[Answer]:
        """Return R-Net's labels for all scribbles, with `mask` as its proposal (all uint8)."""
        from napari_medseg.inference.network import fast_settings, infer

        method: Any = self._model.method
        start = time.perf_counter()
        yield Progress(0, 2, "geodesic distances")
        distances = self._distances(scribbles)
        array = method.prepare_refinement(self._image, mask, scribbles, distances)
        timings = {"geodesic": time.perf_counter() - start}
        start = time.perf_counter()
        box = surroundings(scribbles, mask, self._image, self._settings.roi_margin)
        probabilities = np.zeros((method.out_channels, *mask.shape), np.float32)
        probabilities[0] = 1
        inside, settings = (slice(None), *box), fast_settings(method, self._settings.predict_settings())
        probabilities[inside] = yield from infer(self._model, array[inside], settings)
        labels = np.asarray(method.postprocess(probabilities, self._image).data, np.uint8)
        self._probabilities = probabilities
        timings["network"] = time.perf_counter() - start
        return Answer(labels, timings)

    def uncertainty(self) -> np.ndarray | None:
        """Return 1 - (best - second probability) of the last round, float32 (*spatial) in [0, 1]."""
        return None if self._probabilities is None else undecided(self._probabilities)

    def _distances(self, scribbles: np.ndarray) -> np.ndarray | None:
        """Return up-to-date maps (L, *spatial), or ``None`` where the method must compute them itself."""
        method: Any = self._model.method
        if getattr(method.settings, "metric", "") != "geodesic" or not hasattr(method, "spacing"):
            return None
        if self._maps is None:
            x = method.prepare(self._image)[: self._image.n_channels]
            features = unit_range(x)
            self._maps = ScribbleMaps(features, method.spacing, method.settings.weight, "linear", method.out_channels)
        return np.stack(self._maps.update(scribbles))


def undecided(probabilities: np.ndarray) -> np.ndarray:
    """Return 1 - (best - second) of probabilities (K, *spatial); with K = 1 of p and 1 - p."""
    if len(probabilities) == 1:
        return np.asarray(1 - np.abs(2 * probabilities[0] - 1), np.float32)
    top = np.partition(probabilities, -2, axis=0)
    return np.asarray(1 - (top[-1] - top[-2]), np.float32)
