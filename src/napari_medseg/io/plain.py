"""Plain pictures and arrays (png, tif, bmp, jpg, npy): the pixel size is read when stored, never invented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.image import PIXEL, Image

PATTERNS = ("*.png", "*.tif", "*.tiff", "*.bmp", "*.jpg", "*.jpeg", "*.npy")
MAX_PIXELS = 2**31
MICRO = "\\u00b5m"  # ImageJ writes the escape itself
UM_PER_UNIT = {"um": 1.0, "µm": 1.0, MICRO: 1.0, "micron": 1.0, "micrometer": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}


def matches(path: Path) -> bool:
    """Whether this reader takes `path`."""
    return path.is_file() and path.suffix.lower() in {p[1:] for p in PATTERNS}


def read(path: Path) -> list[Image]:
    """Read a picture as ``YX``/``YXC``, or a stack as ``ZYX``."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return [_array_image(np.load(path, allow_pickle=False), path)]
    if suffix in {".tif", ".tiff"}:
        return [_read_tiff(path)]
    return [_read_picture(path)]


def _read_picture(path: Path) -> Image:
    from PIL import Image as Pillow

    Pillow.MAX_IMAGE_PIXELS = MAX_PIXELS // 4
    with Pillow.open(path) as picture:
        if picture.mode == "P" and "transparency" not in picture.info:
            data = np.asarray(picture)  # a palette picture is a label map: keep its indices
        elif picture.mode in {"LA", "PA", "CMYK", "YCbCr"}:
            data = np.asarray(picture.convert("L" if picture.mode == "LA" else "RGB"))
        elif picture.mode == "1":
            data = np.asarray(picture.convert("L"))
        else:
            data = np.asarray(picture)
    return _array_image(data, path)


def _read_tiff(path: Path) -> Image:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        if series.size * series.dtype.itemsize > 8 * MAX_PIXELS:
            raise ReadError(f"{path.name} declares {series.shape} values, too many to load; open it as a whole slide.")
        data = series.asarray()
        step, z_step = _tiff_pixel_size(tiff)
    image = _array_image(data, path)
    if step is None or "Y" not in image.axes:
        return image
    scale = tuple(z_step if axis == "Z" else step for axis in image.spatial_axes)
    return image.replace(scale=scale, units=("micrometer",) * len(scale))


def _tiff_pixel_size(tiff: Any) -> tuple[float | None, float]:
    """Return (um per pixel in plane, um per slice) from ImageJ metadata, or (None, 1)."""
    imagej = tiff.imagej_metadata or {}
    unit = UM_PER_UNIT.get(str(imagej.get("unit", "")).strip())
    tag = tiff.pages[0].tags.get("XResolution")
    if unit is None or tag is None or not tag.value[0]:
        return None, 1.0
    step = tag.value[1] / tag.value[0] * unit
    return float(step), float(imagej.get("spacing", step / unit)) * unit


def _array_image(data: np.ndarray, path: Path) -> Image:
    if data.dtype.kind not in "buif" or data.ndim < 2 or data.size == 0:
        raise ReadError(f"{path.name} holds {data.dtype} of shape {data.shape}; expected numbers with at least 2 axes.")
    data = data.squeeze() if data.ndim > 2 and data.squeeze().ndim >= 2 else data
    if data.ndim > 4:
        raise ReadError(f"{path.name} has {data.ndim} axes; expected an image or a stack of images.")
    colour = data.ndim > 2 and data.shape[-1] in (3, 4)
    axes = "TZYX"[-(data.ndim - colour) :] + ("C" if colour else "")
    channels = ("red", "green", "blue", "alpha")[: data.shape[-1]] if colour else ()
    units = (PIXEL,) * len(axes.replace("C", ""))
    return Image(data, axes, (), units, name=path.stem, channels=channels, metadata={"source_file": str(path)})
