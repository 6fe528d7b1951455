"""The geodesic engine: new strokes correct the mask as far as the image carries them; no network is needed.

The rule is that of `refinement_rule`; a stroke inside its own class changes nothing and guards what is there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from napari_medseg.image import Image
from napari_medseg.jobs import Job, Progress
from napari_medseg.refinement.history import Box, box_of, changed_box, union
from napari_medseg.refinement.maps import ScribbleMaps, unit_features
from napari_medseg.refinement.rule import clearest_border, decide, joined
from napari_medseg.refinement.smooth import MAX_LOGIT, mean_field
from napari_medseg.refinement.state import RefinementSettings

ONLY_BACKGROUND = "Only background strokes: paint a foreground stroke too."
GRID = 16
CRF_VOXELS = 3_000_000
SHARE, PER_VOXEL = 0.25, 60


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

    def prepare(self) -> None:
        """Normalise the image and load the compiled kernels, so that the first stroke answers at once."""
        corner = np.zeros((GRID,) * len(self._image.spatial_shape), bool)
        corner[(0,) * corner.ndim] = True
        flat = np.zeros((len(self.features), *corner.shape), np.float32)
        ScribbleMaps(flat, self._image.scale, self._settings.weight, self._settings.metric, 1).update(corner)

    def refine(self, scribbles: np.ndarray, before: np.ndarray, mask: np.ndarray) -> Job[Answer]:
        """Return the labels for all scribbles, given the `mask` that the scribbles `before` led to (all uint8)."""
        start = time.perf_counter()
        yield Progress(0, 2, "geodesic distances")
        box = self._region(scribbles, mask)
        distances = self._maps_of(box).update(scribbles[box])
        new = np.where(scribbles != before, scribbles, np.uint8(0))[box]
        labels, margin, rival = decide(distances, mask[box], self._reaches(distances, mask[box], new, box))
        joined(labels, mask[box], new)
        answer = mask.copy()
        answer[box] = labels
        timings = {"geodesic": time.perf_counter() - start}
        message = "" if answer.any() or (scribbles > 1).any() else ONLY_BACKGROUND
        if self._settings.crf:
            yield Progress(1, 2, "smoothing")
            start = time.perf_counter()
            message = self._smooth(answer[box], mask[box], margin, rival, scribbles[box], box) or message
            timings["crf"] = time.perf_counter() - start
        self._margin, self._margin_box = margin, box
        return Answer(answer, timings, message)

    def uncertainty(self) -> np.ndarray | None:
        """Return how undecided each voxel was in the last round, float32 in [0, 1]."""
        if self._margin is None:
            return None
        out = np.zeros(self._image.spatial_shape, np.float32)
        out[self._margin_box] = 1 - np.abs(np.tanh(self._margin / (2 * self._settings.tau)))
        return out

    # ---- region and maps
    def _region(self, scribbles: np.ndarray, mask: np.ndarray) -> Box:
        """Return the box in which maps are kept: around strokes and mask, growing with them in steps."""
        whole = tuple(slice(0, n) for n in mask.shape)
        if not self._settings.roi_margin:
            return whole
        wanted = union(box_of(scribbles > 0), box_of(mask > 0)) or whole
        margins = [self._settings.roi_margin / s for s in self._image.scale]
        grown = tuple(
            slice(max(0, int(s.start - m) // GRID * GRID), min(n, -(-int(s.stop + m) // GRID) * GRID))
            for s, m, n in zip(wanted, margins, mask.shape, strict=True)
        )
        return union(grown, self._box or None) or whole

    def _maps_of(self, box: Box) -> ScribbleMaps:
        if self._maps is None or box != self._box:
            s = self._settings
            part = self.features[(slice(None), *box)]
            self._maps = ScribbleMaps(part, self._image.scale, s.weight, s.metric, s.classes + 1)
            self._box = box
        return self._maps

    def _reaches(self, distances: list[np.ndarray], mask: np.ndarray, new: np.ndarray, box: Box) -> list[float]:
        """Return the reach of each class: -inf where it has no new stroke outside itself."""
        features = self.features[(slice(None), *box)]
        lit = features.max(0) > 0
        voxels = int(np.count_nonzero(mask))
        reaches = []
        for k, d in enumerate(distances):
            seeds = int(np.count_nonzero((new == k + 1) & (mask != k)))
            if not seeds:
                reaches.append(-np.inf)
                continue
            if self._settings.reach:
                reaches.append(self._settings.reach)
                continue
            open_ = mask != k
            for other, theirs in enumerate(distances):
                if other != k:
                    open_ &= d <= theirs
            most = max(PER_VOXEL * seeds, SHARE * voxels) if voxels else np.inf
            # a constant dark surround is the clearest border of all: it counts only where nothing else does
            within = open_ & lit if not (open_ & ~lit & (d == 0)).any() else open_
            reach = clearest_border(d[within], features[:, within], most)
            if reach is None and within is not open_:
                reach = clearest_border(d[open_], features[:, open_], most)
            reaches.append(np.inf if reach is None else reach)
        return reaches

    # ---- smoothing
    def _smooth(
        self, labels: np.ndarray, mask: np.ndarray, margin: np.ndarray, rival: np.ndarray, strokes: np.ndarray, box: Box
    ) -> str:
        """Smooth `labels` in place by a mean-field CRF in the box where they differ from `mask`."""
        found = changed_box(labels, mask)
        if found is None:
            return ""
        found = tuple(slice(max(0, s.start - 2), s.stop + 2) for s in found)
        if mask[found].size > CRF_VOXELS:
            return "The change is too large to be smoothed at once."
        logits = np.clip(margin[found] / self._settings.tau, -MAX_LOGIT, MAX_LOGIT)
        logits = np.where((labels[found] == mask[found]) & (logits > 0), -MAX_LOGIT, logits)
        features = self.features[(slice(None), *box)][(slice(None), *found)]
        n_classes = self._settings.classes + 1
        labels[found] = mean_field(logits, mask[found], rival[found], features, strokes[found], n_classes)
        return ""
