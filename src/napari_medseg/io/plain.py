"""Plain pictures and arrays (png, tif, bmp, jpg, npy): the pixel size is read when stored, never invented."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.image import PIXEL, Image
from napari_medseg.io._sidecar import restore

PATTERNS = ("*.png", "*.tif", "*.tiff", "*.bmp", "*.jpg", "*.jpeg", "*.npy")
MAX_BYTES = 2**34
LAZY_BYTES = 2**28
CHECKED_BYTES = 2**26
MAX_RATIO = 5000  # no picture compresses better than this; a header that says so is damaged
UM_PER_UNIT = {"um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}
MICRO_SIGNS = ("\\u00b5", "\u00b5", "\u03bc")  # ImageJ writes the first, as an escape


def matches(path: Path) -> bool:
    """Whether this reader takes `path`."""
    return path.is_file() and path.suffix.lower() in {p[1:] for p in PATTERNS}


def read(path: Path) -> list[Image]:
    """Read a picture as ``YX``/``YXC``, or a stack as ``ZYX``; a side-car JSON restores what was written.

    Raises
    ------
    ReadError
        If the file holds no numbers, has no pixels, or declares more than can be true.
    """
    suffix = path.suffix.lower()
    axes = ""
    step: dict[str, float] = {}
    if suffix == ".npy":
        data = _load_array(path)
    elif suffix in {".tif", ".tiff"}:
        data, axes, step = _load_tiff(path)
    else:
        data = _load_picture(path)
        axes = "YXC"[: data.ndim]
    if data.dtype.kind not in "buif" or data.ndim < 2 or data.size == 0:
        raise ReadError(f"{path.name} holds {data.dtype} of shape {data.shape}; expected numbers with at least 2 axes.")
    return [restore(data, path) or _image(data, path, axes, step)]


def _load_array(path: Path) -> np.ndarray:
    with np.errstate(over="raise"):  # a damaged header's shape overflows
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped if mapped.nbytes > LAZY_BYTES else np.array(mapped)


def _load_picture(path: Path) -> np.ndarray:
    """Return gray (Y, X) or colour (Y, X, C) values; a palette picture is a label map and keeps its indices."""
    from PIL import Image as Pillow

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            picture = Pillow.open(path)
    except Pillow.DecompressionBombError as error:
        raise ReadError(
            f"{path.name} declares more pixels than a picture may have ({error}). Save it as .tif."
        ) from error
    with picture:
        check_size(path, (picture.height, picture.width, len(picture.getbands())), 1)
        mode = {"1": "L", "LA": "L", "PA": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB"}
        return np.asarray(picture.convert(mode[picture.mode]) if picture.mode in mode else picture)


def _load_tiff(path: Path) -> tuple[np.ndarray, str, dict[str, float]]:
    """Return the first series, its axes as the file states them, and the steps it states."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        if not tiff.series:
            raise ReadError(f"{path.name} holds no picture. The file is damaged or cut short.")
        series = tiff.series[0]
        check_size(path, series.shape, series.dtype.itemsize if series.dtype else 1)
        mapped = series.dataoffset is not None and series.nbytes > LAZY_BYTES
        data = tifffile.memmap(path, mode="r") if mapped else series.asarray()
        return data, series.axes.replace("S", "C"), _pixel_size(tiff)


def check_size(path: Path, shape: tuple[int, ...], itemsize: int, most: int | None = MAX_BYTES) -> None:
    """Refuse pixels that the file cannot hold, or that are `most` bytes or more, before memory is reserved."""
    size = math.prod(shape) * itemsize
    if (most is not None and size > most) or (size > CHECKED_BYTES and size > MAX_RATIO * path.stat().st_size):
        raise ReadError(
            f"{path.name} declares {'x'.join(map(str, shape))} values ({size / 2**30:.1f} GiB) in a file of "
            f"{path.stat().st_size} bytes. It is damaged, or a whole slide that must be opened as one (.svs, .ndpi)."
        )


def _pixel_size(tiff: Any) -> dict[str, float]:
    """Return the steps that ImageJ or OME metadata state: um along X, Y, Z and seconds along T."""
    if tiff.is_ome:
        return _ome_pixel_size(tiff.ome_metadata)
    stated = tiff.imagej_metadata or {}
    tags = tiff.pages[0].tags
    unit = _um_per(stated.get("unit", ""))
    if unit is None or "XResolution" not in tags or not tags["XResolution"].value[0]:
        return {}
    x_count, x_length = tags["XResolution"].value
    y_count, y_length = tags["YResolution"].value if "YResolution" in tags else (x_count, x_length)
    step = {"X": x_length / x_count * unit, "Y": y_length / max(y_count, 1) * unit}
    if stated.get("spacing"):
        step["Z"] = abs(float(stated["spacing"])) * unit
    if stated.get("finterval"):
        step["T"] = float(stated["finterval"])
    return {axis: value for axis, value in step.items() if value > 0}


def _ome_pixel_size(xml: str) -> dict[str, float]:
    import tifffile

    images = tifffile.xml2dict(xml).get("OME", {}).get("Image", {})
    first = images[0] if isinstance(images, list) else images
    pixels: Mapping[str, Any] = first.get("Pixels", {})
    step = {}
    for axis in "XYZ":
        unit = _um_per(pixels.get(f"PhysicalSize{axis}Unit", "um"))
        value = float(pixels.get(f"PhysicalSize{axis}", 0.0))
        if unit is not None and value > 0:
            step[axis] = value * unit
    return step


def _um_per(unit: Any) -> float | None:
    text = str(unit).strip().lower()
    for sign in MICRO_SIGNS:
        text = text.replace(sign, "u")
    return UM_PER_UNIT.get(text)


def _image(data: np.ndarray, path: Path, axes: str, step: Mapping[str, float]) -> Image:
    if len(axes) != data.ndim or not set(axes) <= set("TZCYX") or len(set(axes)) < len(axes) or "YX" not in axes:
        data = data.squeeze() if min(data.squeeze().ndim, data.ndim) >= 2 else data
        axes = _axes_by_shape(data, path)
    keep = [i for i, axis in enumerate(axes) if axis in "YX" or data.shape[i] > 1]
    data, axes = data.reshape([data.shape[i] for i in keep]), "".join(axes[i] for i in keep)
    n = data.shape[axes.index("C")] if "C" in axes else 1
    channels = ("red", "green", "blue", "alpha")[:n] if axes.endswith("C") and n in (3, 4) else ()
    spatial = axes.replace("C", "")
    known = {"X", "Y"} <= step.keys()
    scale = tuple(step.get(axis, 1.0) if known else 1.0 for axis in spatial)
    units = tuple(("second" if a == "T" else "micrometer") if known and a in step else PIXEL for a in spatial)
    return Image(data, axes, scale, units, name=path.stem, channels=channels, metadata={"source_file": str(path)})


def _axes_by_shape(data: np.ndarray, path: Path) -> str:
    """Name the axes of an array that does not: a last axis of 3 or 4 is colour, the others end in ``YX``."""
    colour = data.ndim > 2 and data.shape[-1] in (3, 4)
    n = data.ndim - colour
    if n > 4:
        raise ReadError(f"{path.name} has {data.ndim} axes; expected an image or a stack of images.")
    return "TZYX"[-n:] + ("C" if colour else "")
