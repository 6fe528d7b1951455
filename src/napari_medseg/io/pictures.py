"""Open pictures through Pillow: their headers alone, and their colours as they are shown."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np

_LIMIT = threading.Lock()
CONVERTED = {"1": "L", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB"}
GRAY = ("L", "LA", "La")
TRANSPARENT = ("RGBA", "LA", "PA", "La", "RGBa")


def open_picture(path: Path) -> Any:
    """Open a picture of any size; nothing is decoded yet. Whoever decodes it checks its size before."""
    from PIL import Image as Pillow

    with _LIMIT, warnings.catch_warnings():
        warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
        limit, Pillow.MAX_IMAGE_PIXELS = Pillow.MAX_IMAGE_PIXELS, None
        try:
            return Pillow.open(path)
        finally:
            Pillow.MAX_IMAGE_PIXELS = limit


def picture_size(path: Path) -> tuple[int, int]:
    """Return height and width of a picture by its header."""
    with open_picture(path) as picture:
        return picture.height, picture.width


def shown(picture: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Return gray (Y, X) or RGB (Y, X, 3) as a picture is shown, and its numbers (Y, X) where these may be labels.

    What is transparent is laid on white, the glass of a slide; grays that change by it, and the numbers of a palette,
    may be labels. With a palette of grays the numbers count.
    """
    indices = np.asarray(picture) if picture.mode == "P" else None
    if picture.mode == "P" and _is_gray(picture):
        return np.asarray(picture), None
    if picture.mode in TRANSPARENT or "transparency" in picture.info:
        colours = np.asarray(picture.convert("RGBA"))
        laid, stored = on_white(colours), colours[..., 0]
        gray = bool((colours[..., :3] == stored[..., None]).all())
        shown = laid[..., 0] if gray and picture.mode in GRAY else laid
        return shown, stored if indices is None and gray and not np.array_equal(laid[..., 0], stored) else indices
    mode = "RGB" if picture.mode == "P" else CONVERTED.get(picture.mode)
    return np.asarray(picture.convert(mode) if mode else picture), indices


def on_white(colours: np.ndarray, premultiplied: bool = False) -> np.ndarray:
    """Return gray or RGB (..., 1 or 3) of colours whose last sample is opacity, laid on white."""
    top = 1.0 if colours.dtype.kind == "f" else float(np.iinfo(colours.dtype).max)
    opacity = colours[..., -1:]
    if (opacity == top).all():
        return colours[..., :-1]
    part = opacity / top
    shown = colours[..., :-1] * (1.0 if premultiplied else part) + top * (1 - part)
    return shown.astype(colours.dtype) if colours.dtype.kind == "f" else np.rint(shown).astype(colours.dtype)


def _is_gray(picture: Any) -> bool:
    """Whether a palette holds grays only: the numbers are then values or labels, no colours."""
    palette = np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())
