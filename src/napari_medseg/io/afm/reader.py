"""Atomic force microscopy: vendor files, one `Image` per channel, heights in nm on a micrometre grid."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.image import Image
from napari_medseg.io.afm.scan import is_height, to_images
from napari_medseg.io.pairs import FIRST_NUMBER, NUMBERED, SCANS

PATTERNS = (*(f"*{suffix}" for suffix in SCANS if suffix != FIRST_NUMBER), "*.[0-9][0-9][0-9]")
LOADERS = {  # suffix -> function of a module beside this one; a format's module is imported on first use
    ".gwy": "gwyddion:read_gwy_channels",
    ".gsf": "gwyddion:read_gsf_channels",
    ".ibw": "igor:read_channels",
    ".jpk": "jpk:read_tiff_channels",
    ".jpk-qi-image": "jpk:read_tiff_channels",
    ".h5-jpk": "jpk:read_hdf5_channels",
    ".spm": "nanoscope:read_channels",
    ".stp": "wsxm:read_channels",
    ".top": "wsxm:read_channels",
    ".topostats": "scan:read_topostats",
    ".asd": "asd:read_channels",
    ".tif": "park:read_channels",
    ".tiff": "park:read_channels",
}
NUMBERS = "nanoscope:read_channels"
TESTS = {  # suffixes that other programs use too
    ".top": "wsxm:is_wsxm",
    ".stp": "wsxm:is_wsxm",
    ".tif": "park:is_park",
    ".tiff": "park:is_park",
}


def matches(path: Path) -> bool:
    """Whether this reader takes `path`: by suffix, and by content where other programs use the suffix too."""
    suffix = path.suffix.lower()
    if not path.is_file():
        return False
    if NUMBERED.fullmatch(suffix):
        return bool(_function("nanoscope:is_nanoscope")(path))
    return bool(_function(TESTS[suffix])(path)) if suffix in TESTS else suffix in LOADERS


def read(path: Path) -> list[Image]:
    """Read all channels of a scan, the best height channel first; see `to_images` for units and order."""
    suffix = path.suffix.lower()
    load = _function(NUMBERS if NUMBERED.fullmatch(suffix) else LOADERS[suffix])
    with np.errstate(over="ignore", invalid="ignore"):  # damaged heights become infinite or NaN and show as such
        return to_images(path, load(path))


def _function(place: str) -> Any:
    module, name = place.split(":")
    return getattr(importlib.import_module(f"napari_medseg.io.afm.{module}"), name)


def read_channel(path: str | Path, channel: str) -> Image:
    """Read one channel by its name (upper and lower case alike).

    Raises
    ------
    ReadError
        If the file cannot be read, or has no such channel; the message lists those there are.
    """
    from napari_medseg import io

    images = io.read(path)
    for image in images:
        if channel.lower() in (name.lower() for name in image.channels):
            return image
    names = ", ".join(name for image in images for name in image.channels) or "one without a name"
    raise ReadError(f"{Path(path).name} has no channel {channel!r}. Channels there are: {names}.")


def read_heights(path: str | Path, channel: str = "") -> Image:
    """Read the channel of a scan that is to be measured; a note says which where there are several of heights.

    Parameters
    ----------
    path
        A scan, or any picture of heights.
    channel
        Name of the channel; by default the first, which is the measured height where there is one.

    Raises
    ------
    ReadError
        If the file cannot be read, or has no such channel.
    """
    from napari_medseg import io

    if channel:
        return read_channel(path, channel)
    image, *others = io.read(path)
    heights = [name for other in others for name in other.channels if is_height(name)]
    if not heights:
        return image
    note = (
        f"{Path(path).name}: heights of the channel {image.channels[0]} (others: {', '.join(heights)}; see --channel)."
    )
    return image.replace(metadata={**image.metadata, "notes": [*image.metadata.get("notes", []), note]})
