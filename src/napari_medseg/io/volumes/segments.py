"""Segments, each a name and a mask on one grid, as label images: one if none overlap, else one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_medseg.image import SEGMENT_COLOURS, SEGMENT_NAMES, Image


@dataclass(frozen=True)
class Segment:
    """A `label` (> 0), its name, its mask (bool, *spatial) and its colour (red, green, blue, 0 to 255), if stated."""

    label: int
    name: str
    mask: np.ndarray
    colour: Sequence[int] = ()


def described(names: Mapping[str, str], colours: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return the metadata of labels with names and colours, each by its number as text; without any an empty dict."""
    shown = {label: [int(np.clip(v, 0, 255)) for v in colour] for label, colour in colours.items() if len(colour) == 3}
    return {**({SEGMENT_NAMES: dict(names)} if names else {}), **({SEGMENT_COLOURS: shown} if shown else {})}


def labels_of(grid: Image, segments: Sequence[Segment]) -> list[Image]:
    """Return label images on the grid of `grid`, with names and colours in their metadata.

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
        return [grid.labels_like(labels, **_facts(segments))]
    return [
        grid.labels_like(
            segment.mask.astype(dtype) * dtype.type(segment.label), f"{grid.name} {segment.name}",
            **_facts([segment]), overlapping=len(segments),
        )
        for segment in segments
    ]  # fmt: skip


def _facts(segments: Sequence[Segment]) -> dict[str, Any]:
    return described({str(s.label): s.name for s in segments}, {str(s.label): s.colour for s in segments})
