"""Colours of TIFF files as they are shown: palettes, inks, opacity, white."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError, one_line
from napari_medseg.io.pictures import OPAQUE, as_stored, grays_of, is_empty, numbers_of, on_white, open_picture
from napari_medseg.io.tiff.ome import number_of

WHITE_IS_ZERO = "Large numbers are dark in this picture (WhiteIsZero); the numbers are kept as stored."
JPEG = (6, 7, 33007, 34892)  # compressions whose decoder returns RGB
MINISWHITE, PALETTE, SEPARATED, YCBCR, CIELAB = 0, 3, 5, 6, 8
ASSOCIATED, UNASSOCIATED = 1, 2  # kinds of opacity among ExtraSamples


def colours_last(data: np.ndarray, axes: str) -> tuple[np.ndarray, str]:
    """Return numbers with the samples of a pixel as last axis ``C``, wherever the file keeps them (axis ``S``)."""
    if "S" not in axes:
        return data, axes
    if "C" in axes and data.shape[axes.index("C")] == 1:
        data, axes = data.squeeze(axes.index("C")), axes.replace("C", "")
    if "C" in axes:
        return data, axes
    at = axes.index("S")
    return np.moveaxis(data, at, -1), axes.replace("S", "") + "C"


def shown_colours(
    path: Path, tiff: Any, page: Any, data: np.ndarray, axes: str
) -> tuple[np.ndarray, str, np.ndarray | None, tuple[str, ...]]:
    """Return a series as it is shown (RGB, on white where transparent), numbers where these may be labels, and notes.

    Raises
    ------
    ReadError
        If inks, lightness and colour differences, or Lab cannot be turned into RGB.
    """
    kind = int(page.photometric)
    if kind == PALETTE and page.colormap is not None and not tiff.is_imagej and "C" not in axes:
        shown = palette_colours(data, _bytes_of(np.asarray(page.colormap).T))
        return (data, axes, None, ()) if shown is None else (shown, axes + "C" * (shown.ndim > data.ndim), data, ())
    if not holds_rgb(page) and axes.endswith("C"):
        return as_rgb(path, page, len(tiff.series)), "YXC", None, ()
    extra = [int(sample) for sample in page.extrasamples]
    n = data.shape[-1] - len(extra)
    if not (axes.endswith("C") and extra and n in (1, 3)):
        return data, axes, None, ()
    empty = extra[0] in (ASSOCIATED, UNASSOCIATED) and is_empty(data[..., : n + 1])
    if empty or extra[0] not in (ASSOCIATED, UNASSOCIATED):  # samples of no stated meaning are no opacity
        colours, letters = (data[..., :3], axes) if n == 3 else (data[..., 0], axes[:-1])
        return colours, letters, None, (OPAQUE,) if empty else ()
    laid = on_white(data[..., : n + 1], extra[0] == ASSOCIATED)
    labels = numbers_of(data[..., : n + 1], laid)
    return (laid, axes, labels, ()) if n == 3 else (laid[..., 0], axes[:-1], labels, ())


def stated_white(page: Any, described: Mapping[str, Any]) -> float | None:
    """Return the highest number of colours: SMaxSampleValue, else of the bits that the tags or OME count.

    Of grays SMaxSampleValue is what the picture reaches, as many programs write it, and says nothing of white.
    """
    gray = page.samplesperpixel < 3
    tag = page.tags["SMaxSampleValue"].value if "SMaxSampleValue" in page.tags and not gray else ()
    stated = {number_of(value) for value in (tag if isinstance(tag, tuple) else (tag,))} if tag != () else set()
    if len(stated) == 1 and min(stated) > 0:
        return float(min(stated))
    if page.dtype is None or page.dtype.kind != "u":
        return None
    bits = int(number_of(described.get("Pixels", {}).get("SignificantBits"))) or page.bitspersample
    return 2.0**bits - 1 if isinstance(bits, int) and 8 < bits < page.dtype.itemsize * 8 else None


def holds_rgb(page: Any) -> bool:
    """Whether the colours of a page, decoded, are red, green and blue: no inks, colour differences or Lab."""
    kind = int(page.photometric)
    return kind not in (SEPARATED, CIELAB) and not (kind == YCBCR and int(page.compression) not in JPEG)


def _bytes_of(colormap: np.ndarray) -> np.ndarray:
    """Return a TIFF's palette in 8 bits: of its 16, but where none is above 255, for some programs fill in bytes."""
    return colormap if colormap.max(initial=0) < 256 else colormap >> 8


def palette_colours(indices: np.ndarray, palette: np.ndarray) -> np.ndarray | None:
    """Return colours uint8 (..., 3), or grays (...), of a palette (n, 3); ``None`` where they are the indices."""
    if indices.dtype.kind not in "bu":
        return None
    if (grays := grays_of(palette.astype(np.uint8))) is not None:
        gray = grays[indices] if indices.dtype == np.uint8 else indices
        return None if np.array_equal(gray, indices) else gray
    colours: np.ndarray = palette.astype(np.uint8)[np.clip(indices, 0, len(palette) - 1)]
    return colours


def as_rgb(path: Path, page: Any, n_series: int) -> np.ndarray:
    """Let Pillow turn the one picture of a file into RGB."""
    try:
        if n_series > 1 or page.dtype != np.uint8:
            raise ValueError(f"{n_series} series of {page.dtype}")
        with open_picture(path) as picture:
            return as_stored(picture, "RGB")
    except (OSError, ValueError) as error:
        raise ReadError(
            f"{path.name} holds colours as {page.photometric.name}, which cannot be turned into red, green and blue "
            f"({one_line(error)}). Save it as RGB."
        ) from error
