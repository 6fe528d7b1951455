"""The fields that models are made for, and which one an image seems to be of."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from napari_medseg.image import Image

Field = Literal["afm", "cornea", "tissue", "movie", "volume", "ultrasound"]
FIELDS: tuple[Field, ...] = get_args(Field)
TITLES: dict[Field, str] = {
    "afm": "cells on glass (AFM)",
    "cornea": "corneal nerves",
    "tissue": "nuclei and glands in stained tissue",
    "movie": "nerves in movies",
    "volume": "volumes (MR, CT)",
    "ultrasound": "nerves in ultrasound",
}
CORNEAL_PIXEL_UM = 0.8  # corneal microscopes show 400 um on 384 pixels; scans of cells are finer
CORNEAL_FRAME = (384, 384)
HEIGHTS = ("nm", "um", "m")
LOOK = 64  # pixels along an edge that are looked at to tell colour from grey


def likely_field(image: Image) -> Field | None:
    """Return the field that axes, units, pixel size and colours of an image speak for; ``None``: they say nothing."""
    if image.value_unit in HEIGHTS and "Z" not in image.axes:  # a film of heights is one of cells
        return "afm"
    if "T" in image.axes or "video" in image.metadata:
        return "movie"
    if len(image.spatial_shape) == 3:
        return "volume"
    if image.value_unit:  # a signal in volts, a phase
        return None
    if image.n_channels >= 3 and not _grey(image):
        return "tissue"
    if image.units[-1] == "micrometer" and image.scale[-1] >= CORNEAL_PIXEL_UM:
        return "cornea"
    return "cornea" if image.units[-1] == "pixel" and image.spatial_shape == CORNEAL_FRAME else None


def _grey(image: Image) -> bool:
    """Whether the colours of a picture are all alike, as where a grey picture was saved as RGB."""
    steps = tuple(slice(None, None, max(1, size // LOOK)) for size in image.spatial_shape)
    colours = np.asarray(image.channels_first()[(slice(0, 3), *steps)])
    return bool((colours == colours[:1]).all())
