"""Atomic force microscopy: vendor files, one `Image` per channel, heights in nm on a micrometre grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.image import Image
from napari_medseg.io.afm import asd as _asd
from napari_medseg.io.afm import gwyddion as _gwyddion
from napari_medseg.io.afm import igor as _igor
from napari_medseg.io.afm import jpk as _jpk
from napari_medseg.io.afm import nanoscope as _nanoscope
from napari_medseg.io.afm import park as _park
from napari_medseg.io.afm import wsxm as _wsxm
from napari_medseg.io.afm.scan import Channel, is_height, to_images
from napari_medseg.io.pairs import FIRST_NUMBER, NUMBERED, SCANS

PATTERNS = (*(f"*{suffix}" for suffix in SCANS if suffix != FIRST_NUMBER), "*.[0-9][0-9][0-9]")


def matches(path: Path) -> bool:
    """Whether this reader takes `path`: by suffix, and by content where other programs use the suffix too."""
    suffix = path.suffix.lower()
    if not path.is_file():
        return False
    if NUMBERED.fullmatch(suffix):
        return _nanoscope.is_nanoscope(path)
    if suffix in (".top", ".stp"):
        return _wsxm.is_wsxm(path)
    if suffix in _park.SUFFIXES:
        return _park.is_park(path)
    return suffix in LOADERS


def read(path: Path) -> list[Image]:
    """Read all channels of a scan, the best height channel first; see `to_images` for units and order."""
    suffix = path.suffix.lower()
    load = _nanoscope.read_channels if NUMBERED.fullmatch(suffix) else (LOADERS | PARK)[suffix]
    with np.errstate(over="ignore", invalid="ignore"):  # damaged heights become infinite or NaN and show as such
        return to_images(path, load(path))


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


def _read_topostats(path: Path) -> list[Channel]:
    import h5py

    with h5py.File(path, "r") as file:
        names = [name for name in ("image", "image_original") if name in file]
        step = float(file["pixel_to_nm_scaling"][()]) if "pixel_to_nm_scaling" in file else 0.0
        return [Channel(name, np.asarray(file[name]), "nm", (step, step), "nm") for name in names]


LOADERS: dict[str, Callable[[Path], list[Channel]]] = {
    ".gwy": _gwyddion.read_gwy_channels,
    ".gsf": _gwyddion.read_gsf_channels,
    ".ibw": _igor.read_channels,
    ".jpk": _jpk.read_tiff_channels,
    ".jpk-qi-image": _jpk.read_tiff_channels,
    ".h5-jpk": _jpk.read_hdf5_channels,
    ".spm": _nanoscope.read_channels,
    ".stp": _wsxm.read_channels,
    ".top": _wsxm.read_channels,
    ".topostats": _read_topostats,
    ".asd": _asd.read_channels,
}
PARK = dict.fromkeys(_park.SUFFIXES, _park.read_channels)
