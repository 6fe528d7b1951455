"""Histology files: ImageScope XML and QuPath GeoJSON as label maps, whole slides as lazy pyramids.

RGB tiles and instance maps (png, tif, bmp, jpg) are plain pictures.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.image import PIXEL, Image
from napari_medseg.io import plain, slide
from napari_medseg.io.outlines import geojson, imagescope
from napari_medseg.io.outlines.polygons import Overlap, Region, rasterise
from napari_medseg.io.pairs import IMAGE_FOLDERS, inner_folder

PATTERNS = ("*.xml", "*.geojson", *(f"*{suffix}" for suffix in slide.SUFFIXES))
PICTURES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg", *slide.SUFFIXES)
MAX_PIXELS = 2**31
MAX_EXTENT = 2**28  # of outlines without a picture: a larger one is a wrong coordinate more often than a slide


def matches(path: Path) -> bool:
    """Whether this reader takes `path`."""
    if not path.is_file():
        return False
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return imagescope.is_imagescope(path)
    if suffix in (".geojson", ".json"):
        return suffix == ".geojson" or geojson.is_geojson(path)
    return slide.is_slide(path)


def read(path: Path) -> list[Image]:
    """Read a slide, or the label map of an annotation file."""
    if path.suffix.lower() in (".xml", ".geojson", ".json"):
        return [read_annotation(path)]
    return [slide.read_slide(path)]


def read_regions(path: Path) -> tuple[list[Region], float | None]:
    """Return the outlines of an annotation file, and the microns per pixel if it states them."""
    if path.suffix.lower() == ".xml":
        return imagescope.read_regions(path)
    return geojson.read_regions(path), None


def read_annotation(path: Path, shape: tuple[int, int] | None = None, overlap: Overlap = "first") -> Image:
    """Draw an annotation file as labels 1 .. N (16 bit, 32 bit above 65,535 objects).

    Parameters
    ----------
    path
        ImageScope ``.xml`` or QuPath ``.geojson``.
    shape
        Height and width of the image; by default those of the picture of the same stem (`picture_beside`), else the
        extent of the outlines.
    overlap
        Whether the first or the last outline keeps the pixels of an overlap.
    """
    regions, microns = read_regions(path)
    known = shape or _picture_shape(path)
    shape = known or _extent(regions)
    if shape[0] * shape[1] > (MAX_PIXELS if known else MAX_EXTENT):
        raise ReadError(
            f"{path.name} outlines an area of {shape[0]}x{shape[1]} pixels, too large for one label map. Cut tiles of "
            "the slide and annotate these."
        )
    labels = rasterise(regions, shape, overlap)
    return Image(
        labels,
        "YX",
        (microns, microns) if microns else (),
        ("micrometer",) * 2 if microns else (PIXEL,) * 2,
        kind="labels",
        name=path.stem,
        metadata={"source_file": str(path), "regions": len(regions)},
    )


def grid_beside(path: Path, microns: float | None = None) -> Image:
    """Return empty labels with the size and pixel size of the picture beside `path`, so that outlines lie on it.

    Without a picture they have `microns` per pixel.
    """
    picture = picture_beside(path)
    if picture is None:
        known = Image(np.broadcast_to(np.uint8(0), _extent(read_regions(path)[0])), "YX")
    else:
        known = slide.read_slide(picture) if slide.is_slide(picture) else plain.read(picture)[0]
    shape, scale, units = known.spatial_shape[-2:], known.scale[-2:], known.units[-2:]
    if picture is None and microns:
        scale, units = (microns, microns), ("micrometer", "micrometer")
    nothing = np.broadcast_to(np.uint8(0), shape)
    return Image(nothing, "YX", scale, units, kind="labels", name=path.stem, metadata={"source_file": str(path)})


def picture_beside(path: Path) -> Path | None:
    """Return the picture of the same stem in the folder of `path`, or in the folder of images beside that one."""
    places = path.parent, inner_folder(path.parent.parent, IMAGE_FOLDERS)
    candidates = (place / f"{path.stem}{suffix}" for place in places if place for suffix in PICTURES)
    return next((p for p in candidates if p.is_file()), None)


def _picture_shape(path: Path) -> tuple[int, int] | None:
    picture = picture_beside(path)
    if picture is None:
        return None
    if slide.is_slide(picture):
        shape = slide.read_slide(picture).spatial_shape
        return shape[0], shape[1]
    from PIL import Image as Pillow

    try:
        with Pillow.open(picture) as opened:
            return opened.height, opened.width
    except OSError:
        return None


def _extent(regions: list[Region]) -> tuple[int, int]:
    if not regions:
        return 1, 1
    high = np.max([ring.max(0) for region in regions for ring in region.rings], axis=0)
    return max(int(np.ceil(high[0])) + 1, 1), max(int(np.ceil(high[1])) + 1, 1)
