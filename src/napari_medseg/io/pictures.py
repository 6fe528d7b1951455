"""Open pictures through Pillow: their headers alone, and their colours as they are shown."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from napari_medseg.errors import ReadError

_LIMIT = threading.Lock()
PICTURES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
CONVERTED = {"1": "L", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB"}
ORIENTATION, UPRIGHT = 274, 1  # tag of EXIF and TIFF
TURNS = {  # orientation -> rows and columns are swapped, then rows and columns are reversed
    1: (False, False, False), 2: (False, False, True), 3: (False, True, True), 4: (False, True, False),
    5: (True, False, False), 6: (True, False, True), 7: (True, True, True), 8: (True, True, False),
}  # fmt: skip
ON_ITS_SIDE, BACK = (5, 6, 7, 8), {6: 8, 8: 6}
WIDTH, LENGTH = 256, 257  # tags of TIFF
TURNED = (
    "The picture is shown upright, as its orientation tag says; labels of it must be drawn on the upright picture, not "
    "on the pixels as they are stored."
)
GRAY = ("L", "LA", "La")
SIXTEEN = ";16"  # in Pillow's name of samples of 16 bits, of which it keeps 8 where a pixel has several
NARROW = 64  # of 255: what 14 of 16 bits reach
REDUCED = "Of the 16 bits of each colour 8 are read."
FEW_BITS = {"1": 1, "L;1": 1, "L;2": 2, "L;4": 4}  # Pillow's names of samples that it spreads over 0..255
TRANSPARENT = ("RGBA", "LA", "PA", "La", "RGBa")
OPAQUE = (
    "The opacity (alpha) of the picture is 0 everywhere and says nothing: its colours are shown as if it were opaque."
)


def open_picture(path: Path) -> Any:
    """Open a picture of any size; nothing is decoded yet. Whoever decodes it checks its size before."""
    from PIL import Image as Pillow

    with _LIMIT, warnings.catch_warnings():
        warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
        limit, Pillow.MAX_IMAGE_PIXELS = Pillow.MAX_IMAGE_PIXELS, None
        try:
            picture = Pillow.open(path)
            picture.filename = ""  # a file without a name is not mapped: Pillow 13 scrambles mapped grays that it turns
            return picture
        finally:
            Pillow.MAX_IMAGE_PIXELS = limit


def picture_size(path: Path) -> tuple[int, int]:
    """Return height and width of a picture, upright, by its header."""
    with open_picture(path) as picture:
        tags = getattr(picture, "tag_v2", None)  # Pillow gives the size of TIFF as shown or as stored, by its version
        sides = (picture.height, picture.width) if tags is None else (tags[LENGTH], tags[WIDTH])
        return sides[::-1] if orientation_of(picture) in ON_ITS_SIDE else sides


def as_stored(picture: Any, mode: str = "") -> np.ndarray:
    """Return the pixels of a picture, in a mode, as they are stored: Pillow turns those of TIFF when it loads them."""
    turn = orientation_of(picture) if hasattr(picture, "tag_v2") else UPRIGHT
    return upright(np.asarray(picture.convert(mode) if mode else picture), BACK.get(turn, turn))


def orientation_of(picture: Any) -> int:
    """Return the EXIF orientation of a picture, 1 (upright) where it states none."""
    try:
        found = picture.getexif().get(ORIENTATION, UPRIGHT)
    except Exception:  # EXIF of any damage: the picture is there all the same
        return UPRIGHT
    return found if found in TURNS else UPRIGHT


def upright(data: np.ndarray, orientation: int, y: int = 0) -> np.ndarray:
    """Return an array, whose rows are axis `y` and whose columns are the next, as its EXIF orientation is shown."""
    swap, flip_y, flip_x = TURNS[orientation]
    data = data.swapaxes(y, y + 1) if swap else data
    data = np.flip(data, y) if flip_y else data
    return np.flip(data, y + 1) if flip_x else data


def few_bits(picture: Any) -> int:
    """Return how many bits the grays of a PNG have where Pillow spreads them over 0..255, else 0.

    To be asked before its pixels are read.
    """
    if picture.format != "PNG" or picture.mode not in ("1", "L") or not picture.tile:
        return 0
    return FEW_BITS.get(str(picture.tile[0][3]), 0)


def unspread(grays: np.ndarray, bits: int) -> np.ndarray:
    """Return the numbers of so many bits of which Pillow made grays 0..255 (or, of one bit, true and false)."""
    if grays.dtype == bool:
        return grays.astype(np.uint8)
    return grays // np.uint8(255 // (2**bits - 1))


def shown(picture: Any) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Return gray (Y, X) or RGB (Y, X, 3) as a picture is shown, numbers (Y, X) where these may be labels, and notes.

    What is transparent is laid on white, the glass of a slide; grays that change by it, what is drawn in one colour on
    a transparent ground, and the numbers of a palette, may be labels.
    """
    bits = few_bits(picture)
    indices = np.asarray(picture) if picture.mode == "P" or bits else None
    if bits and indices is not None:
        indices = unspread(indices, bits)
        clear = picture.info.get("transparency")
        spread = indices * np.uint8(255 // (2**bits - 1))
        return np.where(indices == (-1 if clear is None else clear), 255, spread).astype(np.uint8), indices, ()
    if indices is not None and (grays := grays_of(np.array(picture.getpalette("RGB") or [], np.uint8))) is not None:
        gray = grays[indices]
        return gray, None if np.array_equal(gray, indices) else indices, ()
    if picture.mode in TRANSPARENT or "transparency" in picture.info:
        colours = np.asarray(picture.convert("RGBA"))
        empty = is_empty(colours)
        laid = colours[..., :3] if empty else on_white(colours)
        gray = picture.mode in GRAY and bool((colours[..., :3] == colours[..., :1]).all())
        numbers = indices if indices is not None else None if empty else numbers_of(colours, laid)
        return laid[..., 0] if gray else laid, numbers, (OPAQUE,) if empty else ()
    mode = "RGB" if picture.mode == "P" else CONVERTED.get(picture.mode)
    return np.asarray(picture.convert(mode) if mode else picture), indices, ()


def is_empty(colours: np.ndarray) -> bool:
    """Whether opacity, the last sample of gray or RGB (..., 2 or 4), is 0 everywhere although the colours differ.

    Programs write so that fill four samples and mean three.
    """
    if colours.size == 0 or colours[..., -1].any():
        return False
    flat = colours.reshape(-1, colours.shape[-1])
    return bool((flat != flat[0]).any())


def numbers_of(colours: np.ndarray, laid: np.ndarray) -> np.ndarray | None:
    """Return what may be labels of gray or RGB whose last sample is opacity (..., 2 or 4), laid on white (..., 1 or 3).

    That is the part, 0 and 1, that is drawn in one colour on a transparent ground, whatever colour lies hidden there;
    else the grays as they are stored, if they change on white.
    """
    stored, opacity = colours[..., 0], colours[..., -1]
    top = 1.0 if colours.dtype.kind == "f" else float(np.iinfo(colours.dtype).max)
    opaque = opacity > top / 2
    drawn = colours[opacity == top] if not opaque.all() else colours[:0, 0]
    gray = bool((colours[..., :-1] == stored[..., None]).all())
    if len(drawn) and (drawn == drawn[0]).all() and not (gray and np.array_equal(stored > 0, opaque)):
        return opaque.astype(np.uint8)
    return stored if gray and not np.array_equal(laid[..., 0], stored) else None


def on_white(colours: np.ndarray, premultiplied: bool = False) -> np.ndarray:
    """Return gray or RGB (..., 1 or 3) of colours whose last sample is opacity, laid on white."""
    top = 1.0 if colours.dtype.kind == "f" else float(np.iinfo(colours.dtype).max)
    opacity = colours[..., -1:]
    if (opacity == top).all():
        return colours[..., :-1]
    part = opacity / top
    shown = colours[..., :-1] * (1.0 if premultiplied else part) + top * (1 - part)
    return shown.astype(colours.dtype) if colours.dtype.kind == "f" else np.rint(shown).astype(colours.dtype)


def is_reduced(picture: Any) -> bool:
    """Whether Pillow keeps 8 of the 16 bits of the samples of a picture; to be asked before its pixels are read."""
    return picture.mode in ("RGB", *TRANSPARENT) and any(SIXTEEN in str(tile[3]) for tile in picture.tile)


def refuse_narrow(name: str, highest: int) -> None:
    """Refuse colours of 16 bits, of which 8 were read, that reach only `highest` of 255: most of them is lost.

    Cameras of 10, 12 and 14 bits leave the upper bits of the 16 empty.

    Raises
    ------
    ReadError
        If `highest` is below a quarter of the range.
    """
    if highest < NARROW:
        raise ReadError(
            f"{name} has 16 bits for each colour and uses the lower ones only, as of a camera of 10 to 14 bits; of a "
            "PNG the upper 8 can be read. Save it as gray without opacity (labels), as .tif, or with 8 bits for each."
        )


def refuse_reduced(name: str) -> NoReturn:
    """Raise `ReadError`: the numbers of a picture of 16 bits, with opacity or in colours, cannot be read."""
    raise ReadError(
        f"{name} has 16 bits for each gray or colour, of which 8 could be read beside opacity or other colours: its "
        "numbers would be wrong. Save it as gray without opacity (alpha), or as .tif."
    )


def grays_of(palette: np.ndarray) -> np.ndarray | None:
    """Return the 256 grays of a palette uint8 (n, 3) or (3 n,), as long as it is; ``None`` if it holds colours."""
    colours = palette.reshape(-1, 3)
    grays = np.arange(256, dtype=np.uint8)
    grays[: len(colours)] = colours[:256, 0]
    return grays if bool((colours == colours[:, :1]).all()) else None
