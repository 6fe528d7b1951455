"""Whole slides as lazy multiscale images, through OpenSlide or, where that fails, tiffslide.

Of slides that state where the scanned part lies (SCN, MRXS) only that part is read, as QuPath shows and counts it.
"""

from __future__ import annotations

import importlib
import math
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import MissingDependencyError, ReadError, one_line, some_of
from napari_medseg.image import PIXEL, Image
from napari_medseg.io.files import file_stem
from napari_medseg.io.geometry import LEVELS
from napari_medseg.io.pictures import ON_ITS_SIDE, OPAQUE, TURNED, UPRIGHT, is_empty, on_white, upright
from napari_medseg.io.plain import check_size
from napari_medseg.io.tiff.colours import ASSOCIATED, UNASSOCIATED, colours_last, holds_rgb
from napari_medseg.io.tiff.files import TIFF_SUFFIXES
from napari_medseg.io.tiff.ome import Place
from napari_medseg.io.tiff.pages import main_series
from napari_medseg.io.tiff.stack import orientation_of, turn_of
from napari_medseg.io.tiff.steps import affine_of, is_printed, place_of, steps_of

SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide")
LIBRARIES = (("openslide", "OpenSlide"), ("tiffslide", "TiffSlide"))
GENERIC = "generic-tiff"
DICOM_SLIDE = b"1.2.840.10008.5.1.4.1.1.77.1.6"  # SOP class of whole slide microscopy
SOP_CLASS = re.compile(rb"\x02\x00\x02\x00UI(..)", re.DOTALL)  # element (0002,0002) and its length
DICOM_SUFFIXES = (".dcm", "")
PREMULTIPLIED, UNSTATED, EMPTY = "premultiplied", "unstated", "empty"
HEAD_BYTES = 2048
CHUNK = 1024
LARGE = 10_000 * 10_000
DAMAGED = (  # what tifffile and the codecs raise on damaged files; a slip of ours in a name is not among it
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError,
    ValueError, struct.error, zlib.error,
)  # fmt: skip


def is_slide(path: Path) -> bool:
    """Whether `path` has a slide suffix, is a DICOM slide, or a tiled RGB TIFF, a pyramid or too large to load.

    A TIFF whose first picture is a small copy of a later one is none: the slide libraries would read the copy.
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return True
    if suffix in DICOM_SUFFIXES:
        return is_dicom_slide(path)
    if suffix not in TIFF_SUFFIXES:
        return False
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            page, series = tiff.pages[0], tiff.series[0]
            rgb = page.samplesperpixel in (3, 4) and page.dtype == np.uint8
            pyramid = series.is_pyramidal or any(other.is_reduced for other in tiff.pages[1:2])
            first = main_series(tiff) == 0
            return bool(first and rgb and page.is_tiled and (pyramid or page.imagewidth * page.imagelength > LARGE))
    except (*DAMAGED, tifffile.TiffFileError):  # it is no slide then
        return False


def is_dicom_slide(path: Path) -> bool:
    """Whether a file's DICOM header names the class of whole slides."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    stated = SOP_CLASS.search(head)
    length = int.from_bytes(stated[1], "little") if stated else 0
    kind = head[stated.end() : stated.end() + length].rstrip(b"\0 ") if stated else b""
    return head[128:132] == b"DICM" and kind == DICOM_SLIDE  # a segmentation of a slide names that class elsewhere


def open_slide(path: Path) -> Any:
    """Open a slide with the first library that can; a TIFF's pyramid with the first that sees all its levels.

    Raises
    ------
    MissingDependencyError
        If neither library is installed.
    ReadError
        If none can read the file.
    """
    _check_tiles(path)
    problems, installed = [], False
    stored = _stored(path)
    for module, cls in LIBRARIES if stored.levels <= 1 else sorted(LIBRARIES, reverse=True):
        try:
            library = importlib.import_module(module)
        except (ImportError, OSError):  # OSError: the wrapper is there, the C library is not
            continue
        installed = True
        if cls == "TiffSlide" and not stored.rgb:
            problems.append(f"{module}: it takes the colours of this file for red, green and blue, which they are not")
            continue
        if cls == "OpenSlide" and stored.opacity in (UNSTATED, EMPTY):
            problems.append(f"{module}: it takes the fourth sample of this file for opacity, which it is not")
            continue
        if cls == "OpenSlide" and stored.tagged:
            problems.append(f"{module}: it turns each tile of this file for itself, as the orientation tag says")
            continue
        try:
            slide = getattr(library, cls)(str(path))
            if slide.level_dimensions:  # tiffslide notices only here that a file holds no picture
                return slide
        except _errors_of(library) as error:
            problems.append(f"{module}: {one_line(error)}")
    if not installed:
        raise MissingDependencyError(
            f"{path.name} is a whole slide; reading it needs openslide-python or tiffslide. "
            'Install them with: pip install "napari-medseg[slide]"'
        )
    raise ReadError(
        f"{path.name} cannot be opened as a whole slide ({'; '.join(problems)}). It is cut short, or stored in a "
        "way that is not read; copy it again or convert it to a pyramidal TIFF."
    )


@dataclass(frozen=True)
class Stored:
    """How a TIFF keeps its pixels.

    Parameters
    ----------
    levels
        How many levels lie in SubIFDs, which OpenSlide does not see; 0 for other files.
    rgb
        Whether the numbers are red, green and blue.
    opacity
        What a fourth sample is: opacity of colours as they are or `PREMULTIPLIED`, or none (`UNSTATED`, `EMPTY`).
    turn
        The orientation that is to be followed, of TIFFs of no maker.
    tagged
        Whether the file states an orientation, by which OpenSlide turns each tile for itself.
    """

    levels: int = 0
    rgb: bool = True
    opacity: str = ""
    turn: int = UPRIGHT
    tagged: bool = False


def _stored(path: Path) -> Stored:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            levels = len(file.series[0].levels) if page.subifds else 0
            plain = path.suffix.lower() in TIFF_SUFFIXES
            turn, tag = (turn_of(file, page), orientation_of(page)) if plain else (UPRIGHT, UPRIGHT)
            return Stored(levels, bool(holds_rgb(page)), _opacity(file), turn, tag != UPRIGHT)
    except (*DAMAGED, tifffile.TiffFileError):
        return Stored()


def _opacity(file: Any) -> str:
    """Return what the fourth sample of a TIFF's pixels is; whether it is empty, its smallest level tells."""
    extra = [int(sample) for sample in file.pages[0].extrasamples]
    if not extra or extra[0] not in (ASSOCIATED, UNASSOCIATED):
        return UNSTATED if extra else ""
    smallest = file.series[0].levels[-1]
    if smallest.keyframe.imagewidth * smallest.keyframe.imagelength <= LARGE:
        colours, _ = colours_last(smallest.asarray(), smallest.axes)
        if is_empty(colours[..., :4]):
            return EMPTY
    return PREMULTIPLIED if extra[0] == ASSOCIATED else ""


def _notes(path: Path) -> list[str]:
    """Return what is to be said of a TIFF whose first picture the slide libraries read.

    Raises
    ------
    ReadError
        If another picture of an OME-TIFF is larger than the first, which is an overview then.
    """
    import tifffile

    if path.suffix.lower() not in TIFF_SUFFIXES:
        return []
    try:
        with tifffile.TiffFile(path) as file:
            found = [(math.prod(one.shape), one.name or f"picture {k}") for k, one in enumerate(file.series, 1)]
            found = found if file.is_ome else found[:1]
    except (*DAMAGED, tifffile.TiffFileError):
        return []
    if found and max(found)[0] > found[0][0]:
        raise ReadError(
            f"{path.name} holds {len(found)} pictures, and the first ({found[0][1]}) is smaller than {max(found)[1]}: "
            "an overview, not the slide. Export the slide as a file of its own, in QuPath or with bfconvert -series."
        )
    notes, others = [], some_of([name for _, name in found[1:]])
    if others:
        notes.append(f"{path.name} holds {len(found)} pictures; the first is read, without {others}.")
    return notes


def _errors_of(library: Any) -> tuple[type[Exception], ...]:
    own = vars(library).get("OpenSlideError")
    return DAMAGED if own is None else (*DAMAGED, own)


def _check_tiles(path: Path) -> None:
    """Refuse a TIFF that is cut, or whose tiles do not cover its size, which would crash the slide library."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            damaged = [page.index for page in tiff.pages if page.is_tiled and _n_tiles(page) != len(page.dataoffsets)]
            short = next((page.index for page in tiff.pages if _is_short(tiff, page)), None)
    except (*DAMAGED, tifffile.TiffFileError):  # no TIFF, or one that tifffile cannot follow: the slide library decides
        return
    if damaged:
        raise ReadError(f"{path.name} declares a size that its tiles do not cover (page {damaged[0]}). Copy it again.")
    if short is not None:
        raise ReadError(f"{path.name} is cut short: its page {short} leads beyond the end of the file. Copy it again.")


def _is_short(tiff: Any, page: Any) -> bool:
    """Whether a page, or a level in its SubIFDs, leads beyond the end of the file: tifffile drops what lies there."""
    if tiff.tiff.is_ndpi:  # keeps the upper halves of its offsets elsewhere
        return False
    if _leads_beyond(tiff, page):
        return True
    if any(_end_of_directory(tiff, offset) > tiff.filehandle.size for offset in page.subifds or ()):
        return True
    return any(_leads_beyond(tiff, level) for level in page.pages or ())


def _end_of_directory(tiff: Any, offset: int) -> int:
    """Return where the directory at an offset ends, or at least where its count of tags does if that is cut off."""
    form, file = tiff.tiff, tiff.filehandle
    end: int = offset + form.tagnosize
    if end > file.size:
        return end
    file.seek(offset)
    (count,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
    return int(end + count * form.tagsize + form.offsetsize)


def _leads_beyond(tiff: Any, page: Any) -> bool:
    """Whether tiles, values or the next directory of a page lie beyond the end of the file."""
    import tifffile

    form, file = tiff.tiff, tiff.filehandle
    ends = [start + n for start, n in zip(page.dataoffsets, page.databytecounts, strict=False) if n]
    file.seek(page.offset)
    (count,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
    for _ in range(count):
        _, kind, n, value = struct.unpack(form.tagheaderformat, file.read(form.tagsize))
        size = n * struct.calcsize(tifffile.TIFF.DATA_FORMATS.get(kind, "0B"))
        if size > form.tagoffsetthreshold:
            ends.append(struct.unpack(form.offsetformat, value)[0] + size)
    (following,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
    if following:
        ends.append(_end_of_directory(tiff, following))
    return bool(max(ends, default=0) > file.size)


def _n_tiles(page: Any) -> int:
    if not page.tilewidth or not page.tilelength:
        return -1
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    return int(planes * -(-page.imagewidth // page.tilewidth) * -(-page.imagelength // page.tilelength))


def read_slide(path: Path) -> Image:
    """Read a slide as a ``YXC`` image of lazy 1024-pixel blocks; nothing is decoded yet.

    ``metadata["levels"]`` holds every resolution from the full one down, for a multiscale layer, and
    ``metadata["downsamples"]`` their factors; their pixels are means of those of full resolution, so the outer edges
    coincide. The scale is the stored microns per pixel. A TIFF of no maker is upright as its orientation tag says.
    """
    slide = open_slide(path)
    stored = _stored(path)
    opacity, turn = stored.opacity, stored.turn
    notes = [*_notes(path), *([OPAQUE] if opacity == EMPTY else []), *([TURNED] if turn != UPRIGHT else [])]
    if type(slide).__name__ == "OpenSlide":  # which gives the colours as they are
        opacity = ""
    for width, height in slide.level_dimensions:
        check_size(path, (height, width, 3), 1, most=None)
    top, left, height, width = _bounds(slide)
    part = (top, left), (height, width)
    levels = [upright(_level(slide, path, index, *part, opacity), turn) for index in range(slide.level_count)]
    step, place, said = _stated(slide, path)
    if turn != UPRIGHT:
        step, place = step[::-1] if step and turn in ON_ITS_SIDE else step, {}
    scale, units = step or (1.0, 1.0), ("micrometer", "micrometer") if step else (PIXEL, PIXEL)
    known: dict[str, Any] = {"slide_corner": [top, left]} if top or left else {}
    notes += said
    if notes:
        known["notes"] = notes
    return Image(
        levels[0],
        "YXC",
        scale,
        units,
        affine_of(place, scale, units, "YX"),
        name=file_stem(path),
        channels=("red", "green", "blue"),
        metadata={
            "source_file": str(path),
            "levels": levels,
            "downsamples": [float(d) for d in slide.level_downsamples],
            LEVELS: [[[d, d], [(d - 1) / 2] * 2] for d in map(float, slide.level_downsamples)],
            **known,
        },
    )


def _bounds(slide: Any) -> tuple[int, int, int, int]:
    """Return row, column, height and width of the scanned part at full resolution; all where it is not stated."""
    width, height = slide.level_dimensions[0]
    names = ("y", "x", "height", "width")
    try:
        y, x, h, w = (int(slide.properties[f"openslide.bounds-{name}"]) for name in names)
    except (KeyError, TypeError, ValueError):
        return 0, 0, height, width
    inside = min(y, x) >= 0 and min(h, w) > 0 and y + h <= height and x + w <= width
    return (y, x, h, w) if inside else (0, 0, height, width)


def _level(
    slide: Any, path: Path, index: int, corner: tuple[int, int], size: tuple[int, int], opacity: str = ""
) -> Any:
    """Return one level of the part of `size` (height, width) at `corner` (row, column) of full resolution."""
    import dask.array as da

    downsample = slide.level_downsamples[index]
    whole = size == slide.level_dimensions[0][::-1]
    width, height = slide.level_dimensions[index] if whole else (max(round(n / downsample), 1) for n in size[::-1])
    errors = _errors_of(importlib.import_module(type(slide).__module__.partition(".")[0]))

    def block(block_info: Any = None) -> np.ndarray:
        (top, bottom), (left, right), _ = block_info[None]["array-location"]
        place = (corner[1] + round(left * downsample), corner[0] + round(top * downsample))
        try:
            return _on_white(np.asarray(slide.read_region(place, index, (right - left, bottom - top))), opacity)
        except errors as error:  # a damaged block shows only when it is read
            raise ReadError(
                f"{path.name} is damaged at row {top}, column {left}, level {index}: {one_line(error)}. Copy it again."
            ) from error

    chunks = tuple(tuple(min(CHUNK, n - i) for i in range(0, n, CHUNK)) for n in (height, width))
    return da.map_blocks(block, chunks=(*chunks, (3,)), dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))


def _on_white(region: np.ndarray, opacity: str = "") -> np.ndarray:
    """Return (Y, X, 3) without the alpha channel, see `Stored`: where nothing was scanned the glass is white."""
    if region.ndim == 2:
        region = np.repeat(region[..., None], 3, axis=2)
    if region.shape[2] == 4 and opacity not in (UNSTATED, EMPTY):
        region = on_white(region, opacity == PREMULTIPLIED)
    return np.ascontiguousarray(region[..., :3])


def _stated(slide: Any, path: Path) -> tuple[tuple[float, float] | None, Place, tuple[str, ...]]:
    """Return the stored microns per pixel (y, x), place and notes: of a TIFF of no maker as OME or tags state."""
    vendor = slide.properties.get("openslide.vendor") or slide.properties.get("tiffslide.vendor")
    if path.suffix.lower() in TIFF_SUFFIXES and vendor in (None, "", GENERIC):
        return _tiff_grid(path)
    values = [slide.properties.get(f"{name}.mpp-{axis}") for axis in "yx" for name in ("openslide", "tiffslide")]
    try:
        numbers = [float(v) for v in values if v is not None]
    except (TypeError, ValueError):
        return None, {}, ()
    good = len(numbers) == 2 and all(np.isfinite(n) and n > 0 and not is_printed(n) for n in numbers)
    return (numbers[0], numbers[1]) if good else None, {}, ()


def _tiff_grid(path: Path) -> tuple[tuple[float, float] | None, Place, tuple[str, ...]]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        steps = steps_of(file)
        place, said = place_of(file, 0, steps)
    return (steps["Y"][0], steps["X"][0]) if {"X", "Y"} <= steps.keys() else None, place, said
