"""The geodesic engine: new strokes correct the mask as far as the image carries them; no network is needed.

A round has four steps: how far each class's new strokes reach (`reach`), which voxels look like which class
(`appearance`), the rule that joins both with the geodesic distances (`rule`), and smoothing along edges (`smooth`). It
depends on image, strokes and mask alone. A stroke inside its own class changes nothing and guards what is there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from napari_medseg.image import Image
from napari_medseg.jobs import Job, Progress
from napari_medseg.refinement.appearance import Appearance, log_density, separability
from napari_medseg.refinement.history import Box, box_of, changed_box, union
from napari_medseg.refinement.maps import ScribbleMaps, surroundings, unit_features
from napari_medseg.refinement.overreach import too_far
from napari_medseg.refinement.reach import clearest_border, erasing, likely_size, reach_alone, reach_into_mask
from napari_medseg.refinement.rule import CORRECT, MOST_ODDS, decide, joined
from napari_medseg.refinement.settings import RefinementSettings
from napari_medseg.refinement.smooth import MAX_LOGIT, mean_field

ONLY_BACKGROUND = "Only background strokes: paint a foreground stroke too."
GRID = 16


@dataclass
class Answer:
    """What an engine makes of scribbles: labels uint8 (*spatial), seconds per step, a message."""

    labels: np.ndarray
    timings: dict[str, float]
    message: str = ""


class GeodesicEngine:
    """Geodesic maps of one image, kept between rounds."""

    def __init__(self, image: Image, settings: RefinementSettings) -> None:
        self._image, self._settings = image, settings
        self._features: np.ndarray | None = None
        self._appearance: Appearance | None = None
        self._maps: ScribbleMaps | None = None
        self._box: Box = ()
        self._margin: np.ndarray | None = None
        self._margin_box: Box = ()

    @property
    def features(self) -> np.ndarray:
        """Normalised intensities float32 (C, *spatial), computed once."""
        if self._features is None:
            self._features = unit_features(self._image)
        return self._features

    @property
    def appearance(self) -> Appearance:
        """Quantised intensities, computed once."""
        if self._appearance is None:
            self._appearance = Appearance(self.features)
        return self._appearance

    def prepare(self) -> None:
        """Normalise the image and load the compiled kernels, so that the first stroke answers at once."""
        _ = self.appearance
        corner = np.zeros((GRID,) * len(self._image.spatial_shape), bool)
        corner[(0,) * corner.ndim] = True
        flat = np.zeros((len(self.features), *corner.shape), np.float32)
        ScribbleMaps(flat, self._image.scale, self._settings.weight, self._settings.metric, 1).update(corner)

    def refine(self, scribbles: np.ndarray, before: np.ndarray, mask: np.ndarray, given: np.ndarray) -> Job[Answer]:
        """Return the labels for all scribbles, given the `mask` that the scribbles `before` led to from `given`."""
        start = time.perf_counter()
        yield Progress(0, 2, "geodesic distances")
        box = surroundings(scribbles, mask, self._image, self._settings.roi_margin, GRID)
        distances = self._distances(scribbles, box)
        new = np.where(scribbles != before, scribbles, np.uint8(0))[box]
        far = too_far(distances, mask[box], given[box], scribbles[box], new, self._image.scale)
        if far is not None and not self._settings.reach:
            mask = mask.copy()
            mask[box][far] = 0
        densities = self.appearance.densities(scribbles[box], mask[box], self._settings.classes + 1, box)
        reaches = [self._reach(k, distances, mask[box], new, box, densities) for k in range(len(distances))]
        part = self._candidates(distances, mask[box], reaches)
        found = within(box, part)
        looks = None if self._settings.reach else log_density(densities)[:, self.appearance.codes[found]]
        labels, margin, rival = decide([d[part] for d in distances], mask[found], reaches, looks)
        joined(labels, mask[found], new[part])
        answer = mask.copy()
        answer[found] = labels
        timings = {"geodesic": time.perf_counter() - start}
        message = "" if answer.any() or (scribbles > 1).any() else ONLY_BACKGROUND
        margin /= self._settings.tau
        if self._settings.crf:
            yield Progress(1, 2, "smoothing")
            start = time.perf_counter()
            self._smooth(answer[found], mask[found], margin, rival, scribbles[found], found)
            timings["crf"] = time.perf_counter() - start
        self._margin, self._margin_box = margin, found
        return Answer(answer, timings, message)

    def uncertainty(self) -> np.ndarray | None:
        """Return how undecided each voxel was in the last round, float32 in [0, 1]."""
        if self._margin is None:
            return None
        out = np.zeros(self._image.spatial_shape, np.float32)
        out[self._margin_box] = 1 - np.abs(np.tanh(self._margin / 2))
        return out

    def _distances(self, scribbles: np.ndarray, box: Box) -> list[np.ndarray]:
        """Return one map per class in `box`; the maps themselves are kept in a box that only grows."""
        kept = union(box, self._box or None) or box
        if self._maps is None or kept != self._box:
            s = self._settings
            part = self.features[(slice(None), *kept)]
            self._maps = ScribbleMaps(part, self._image.scale, s.weight, s.metric, s.classes + 1)
            self._box = kept
        inner = tuple(slice(b.start - k.start, b.stop - k.start) for b, k in zip(box, kept, strict=True))
        return [d[inner] for d in self._maps.update(scribbles[kept])]

    # ---- reach
    def _reach(
        self, k: int, distances: list[np.ndarray], mask: np.ndarray, new: np.ndarray, box: Box, densities: np.ndarray
    ) -> float:
        """Return the reach of class `k`: -inf where it has no new stroke outside itself."""
        own, d, spacing = mask == k, distances[k], self._image.scale
        seeds = (new == k + 1) & ~own
        if not seeds.any():
            return -np.inf
        if self._settings.reach:
            return self._settings.reach
        open_ = ~own
        for other, theirs in enumerate(distances):
            if other != k:
                open_ &= d <= theirs
        open_ |= seeds
        if own.any():
            most = int(np.count_nonzero(mask if k == 0 else own))
            reach = reach_into_mask(d, seeds, own, open_, spacing, most)
            return reach * erasing(separability(densities, 0)) if k == 0 else reach
        features = self.features[(slice(None), *box)]
        lit = features.max(0) > 0
        # a constant dark surround is the clearest border of all: it counts only where nothing else does
        inside = open_ & lit if lit[seeds].all() else open_
        likely = likely_size(seeds, open_, spacing)
        found = clearest_border(d[inside], features[:, inside], likely, d.ndim)
        if found is None and inside is not open_:
            found = clearest_border(d[open_], features[:, open_], likely, d.ndim)
        if found is not None:
            return found
        bounded = any(np.isfinite(theirs).any() for other, theirs in enumerate(distances) if other != k)
        return np.inf if bounded else reach_alone(d, seeds, open_, spacing)

    def _candidates(self, distances: list[np.ndarray], mask: np.ndarray, reaches: list[float]) -> Box:
        """Return the box of all voxels that may change."""
        near = np.zeros(mask.shape, bool)
        for k, (d, reach) in enumerate(zip(distances, reaches, strict=True)):
            if reach > 0:
                near |= (mask != k) & (d < reach * np.exp(CORRECT * MOST_ODDS))
        return box_of(near) or (slice(0, 1),) * mask.ndim

    # ---- smoothing
    def _smooth(
        self, labels: np.ndarray, mask: np.ndarray, margin: np.ndarray, rival: np.ndarray, strokes: np.ndarray, box: Box
    ) -> None:
        """Smooth `labels` in place by a mean-field CRF in the box where they differ from `mask`."""
        found = changed_box(labels, mask)
        if found is None:
            return
        found = tuple(slice(max(0, s.start - 2), s.stop + 2) for s in found)
        logits = np.clip(margin[found], -MAX_LOGIT, MAX_LOGIT)
        logits = np.where((labels[found] == mask[found]) & (logits > 0), -MAX_LOGIT, logits)
        features = self.features[(slice(None), *box)][(slice(None), *found)]
        n_classes = self._settings.classes + 1
        labels[found] = mean_field(logits, mask[found], rival[found], features, strokes[found], n_classes)


def within(box: Box, part: Box) -> Box:
    """Return the box in the image of the box `part` inside `box`."""
    return tuple(slice(b.start + p.start, b.start + p.stop) for b, p in zip(box, part, strict=True))
