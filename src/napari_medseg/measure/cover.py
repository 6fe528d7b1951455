"""Which part of a mosaic its frames cover: densities are per area that was looked at."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from napari_medseg.image import Image

LEAST = 0.05  # of a field: smaller plain pieces may lie within a frame
PART = 0.005  # of a field: plain pieces from which a drawing's ground is made up, between nerves that cut through it
NERVE = 0.05  # of a field's side: what is narrower, between plain pieces, is a nerve on plain ground and no frame
UNKNOWN = "area of the whole image: without its picture, what lies between the frames of a mosaic is not known"
HELD = "plain parts of the image count as area: nerves lie in them"


def covered(picture: Image, nerves: np.ndarray, field: float) -> tuple[float, str]:
    """Return the share of a mosaic (Y, X), of any channels, that its frames cover, and what to say of it or ``""``.

    Not covered are large pieces that were not measured (NaN), or of exactly the lowest or highest value: programs that
    join frames leave black between them, white where the ground is transparent. Where a nerve runs through such a
    piece, the whole piece was looked at: it is the ground of a drawing, or nerves were traced across it. A nerve that
    ends at the edge of a frame, or runs along it, says nothing of what lies behind.

    Parameters
    ----------
    picture
        The mosaic.
    nerves
        Where the centrelines of nerves are, bool (Y, X).
    field
        Side of one frame in pixels.
    """
    parts, ground = np.zeros(nerves.shape, bool), np.zeros(nerves.shape, bool)
    for plain in _plain(picture):
        pieces, _ = ndimage.label(plain)
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        parts |= (sizes >= PART * field**2)[pieces]
        ground |= (sizes >= LEAST * field**2)[pieces]
    if not ground.any() or ground.all():
        return 1.0, ""
    half = max(round(NERVE * field / 2), 1)
    wide = ndimage.maximum_filter(parts, 2 * half + 1)
    closed = ndimage.minimum_filter(wide, 2 * half + 1)
    pieces, _ = ndimage.label(closed)
    held = np.unique(pieces[nerves & ndimage.minimum_filter(closed, 2 * half + 1)])
    looked_at = np.isin(pieces, held[held > 0])
    note = HELD if (ground & looked_at).any() else ""
    return 1.0 - float((ground & ~looked_at).mean()), note


def _plain(picture: Image) -> Iterator[np.ndarray]:
    """Yield where all channels were not measured, are of the lowest, and are of the highest value, bool (Y, X)."""
    values = np.asarray(picture.channels_first())
    varied = [channel for channel in values if channel.min() != channel.max()]  # not so an opacity of 255
    values = np.stack(varied) if varied else values
    known = picture.measured(values)
    yield np.asarray(~known.any(0))
    if known.any():
        for end in (values[known].min(), values[known].max()):
            yield np.asarray((values == end).all(0))
