"""Segments, each a name and a mask on one grid, as label images: one if none overlap, else one for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_medseg.image import Image


@dataclass(frozen=True)
class Segment:
    """A `label` (> 0), its name and its mask (bool, *spatial)."""

    label: int
    name: str
    mask: np.ndarray


def labels_of(grid: Image, segments: Sequence[Segment]) -> list[Image]:
    """Return label images on the grid of `grid`, with the names in ``metadata["segments"]``.

    Segments that overlap cannot be one label map: there is one image for each, which says so in
    ``metadata["overlapping"]`` (how many there are).
    """
    covered = np.zeros(grid.spatial_shape, np.uint16)
    for segment in segments:
        covered += segment.mask
    top = max((s.label for s in segments), default=1)
    dtype = np.min_scalar_type(top)
    if covered.max(initial=0) <= 1:
        labels = np.zeros(grid.spatial_shape, dtype)
        for segment in segments:
            labels[segment.mask] = segment.label
        names = {str(s.label): s.name for s in segments}
        return [grid.labels_like(labels, segments=names)]
    return [
        grid.labels_like(
            segment.mask.astype(dtype) * dtype.type(segment.label), f"{grid.name} {segment.name}",
            segments={str(segment.label): segment.name}, overlapping=len(segments),
        )
        for segment in segments
    ]  # fmt: skip
