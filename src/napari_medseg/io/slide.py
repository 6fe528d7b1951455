"""Whole slides as lazy multiscale images, through OpenSlide or, where that fails, tiffslide."""

from __future__ import annotations

import importlib
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import MissingDependencyError, ReadError, one_line
from napari_medseg.image import PIXEL, Image
from napari_medseg.io.plain import check_size

SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide")
TIFF_SUFFIXES = (".tif", ".tiff")
LIBRARIES = (("openslide", "OpenSlide"), ("tiffslide", "TiffSlide"))
CHUNK = 1024
LARGE = 10_000 * 10_000
DAMAGED = (  # what tifffile and the codecs raise on damaged files; a slip of ours in a name is not among it
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError,
    ValueError, struct.error, zlib.error,
)  # fmt: skip


def is_slide(path: Path) -> bool:
    """Whether `path` has a slide suffix, or is a tiled RGB TIFF that is a pyramid or too large to load."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return True
    if suffix not in TIFF_SUFFIXES:
        return False
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            page, series = tiff.pages[0], tiff.series[0]
            rgb = page.samplesperpixel in (3, 4) and page.dtype == np.uint8
            pyramid = series.is_pyramidal or any(other.is_reduced for other in tiff.pages[1:2])
            return bool(rgb and page.is_tiled and (pyramid or page.imagewidth * page.imagelength > LARGE))
    except (*DAMAGED, tifffile.TiffFileError):  # it is no slide then
        return False


def open_slide(path: Path) -> Any:
    """Open a slide with the first library that can.

    Raises
    ------
    MissingDependencyError
        If neither library is installed.
    ReadError
        If none can read the file.
    """
    _check_tiles(path)
    problems, installed = [], False
    for module, cls in LIBRARIES:
        try:
            library = importlib.import_module(module)
        except (ImportError, OSError):  # OSError: the wrapper is there, the C library is not
            continue
        installed = True
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
        f"{path.name} cannot be opened as a whole slide ({'; '.join(problems)}). It is cut short or of an unknown "
        "format; copy it again or convert it to a pyramidal TIFF."
    )


def _errors_of(library: Any) -> tuple[type[Exception], ...]:
    own = vars(library).get("OpenSlideError")
    return DAMAGED if own is None else (*DAMAGED, own)


def _check_tiles(path: Path) -> None:
    """Refuse a TIFF whose tiles do not cover the size it declares: it would crash the slide library."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            damaged = [page.index for page in tiff.pages if page.is_tiled and _n_tiles(page) != len(page.dataoffsets)]
    except (*DAMAGED, tifffile.TiffFileError):  # no TIFF, or one that tifffile cannot follow: the slide library decides
        return
    if damaged:
        raise ReadError(f"{path.name} declares a size that its tiles do not cover (page {damaged[0]}). Copy it again.")


def _n_tiles(page: Any) -> int:
    if not page.tilewidth or not page.tilelength:
        return -1
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    return int(planes * -(-page.imagewidth // page.tilewidth) * -(-page.imagelength // page.tilelength))


def read_slide(path: Path) -> Image:
    """Read a slide as a ``YXC`` image of lazy 1024-pixel blocks; nothing is decoded yet.

    ``metadata["levels"]`` holds every resolution from the full one down, for a multiscale layer, and
    ``metadata["downsamples"]`` their factors. The scale is the stored microns per pixel.
    """
    slide = open_slide(path)
    for width, height in slide.level_dimensions:
        check_size(path, (height, width, 3), 1, most=None)
    levels = [_level(slide, path, index) for index in range(slide.level_count)]
    step = _microns(slide)
    return Image(
        levels[0],
        "YXC",
        step or (1.0, 1.0),
        ("micrometer", "micrometer") if step else (PIXEL, PIXEL),
        name=path.stem,
        channels=("red", "green", "blue"),
        metadata={
            "source_file": str(path),
            "levels": levels,
            "downsamples": [float(d) for d in slide.level_downsamples],
        },
    )


def _level(slide: Any, path: Path, index: int) -> Any:
    import dask.array as da

    width, height = slide.level_dimensions[index]
    downsample = slide.level_downsamples[index]
    errors = _errors_of(importlib.import_module(type(slide).__module__.partition(".")[0]))

    def block(block_info: Any = None) -> np.ndarray:
        (top, bottom), (left, right), _ = block_info[None]["array-location"]
        corner = (round(left * downsample), round(top * downsample))
        try:
            return _on_white(np.asarray(slide.read_region(corner, index, (right - left, bottom - top))))
        except errors as error:  # a damaged block shows only when it is read
            raise ReadError(
                f"{path.name} is damaged at row {top}, column {left}, level {index}: {one_line(error)}. Copy it again."
            ) from error

    chunks = tuple(tuple(min(CHUNK, n - i) for i in range(0, n, CHUNK)) for n in (height, width))
    return da.map_blocks(block, chunks=(*chunks, (3,)), dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))


def _on_white(region: np.ndarray) -> np.ndarray:
    """Return (Y, X, 3) without the alpha channel: where nothing was scanned the glass is white."""
    if region.ndim == 2:
        region = np.repeat(region[..., None], 3, axis=2)
    if region.shape[2] == 4:
        region = np.where(region[..., 3:] == 0, np.uint8(255), region[..., :3])
    return np.ascontiguousarray(region[..., :3])


def _microns(slide: Any) -> tuple[float, float] | None:
    values = [slide.properties.get(f"{name}.mpp-{axis}") for axis in "yx" for name in ("openslide", "tiffslide")]
    try:
        numbers = [float(v) for v in values if v is not None]
    except (TypeError, ValueError):
        return None
    good = len(numbers) == 2 and all(np.isfinite(n) and n > 0 for n in numbers)
    return (numbers[0], numbers[1]) if good else None
