"""What else is written of a slide: labels as tiled BigTIFF, a small picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_medseg.image import Image
from napari_medseg.io.atomic import replacing
from napari_medseg.report.overlay import overlay
from napari_medseg.slides.pyramid import Pyramid
from napari_medseg.slides.tiles import boxes

FILE_TILE = 512


def write_labels(path: Path, labels: Pyramid, image: Image) -> None:
    """Write the full resolution (Y, X) tile by tile as compressed BigTIFF with the slide's pixel size."""
    import tifffile

    edge = FILE_TILE
    resolution = (1e4 / image.scale[1], 1e4 / image.scale[0]) if image.calibrated else None
    with replacing(path) as part:
        tifffile.imwrite(
            part,
            (_full(labels[box], edge) for box in boxes(labels.shape, edge)),
            shape=labels.shape,
            dtype=labels.dtype,
            tile=(edge, edge),
            bigtiff=True,
            compression="zlib",
            photometric="minisblack",
            resolution=resolution,
            resolutionunit="CENTIMETER" if resolution else None,
            metadata={"axes": "YX"},
        )


def write_overlay(path: Path, labels: np.ndarray, thumbnail: np.ndarray) -> None:
    """Write labels (Y, X) of any resolution over the slide's thumbnail (y, x, 3)."""
    from PIL import Image as Pillow

    rows, columns = (np.arange(m) * n // m for n, m in zip(labels.shape, thumbnail.shape, strict=False))
    picture = Image(thumbnail, "YXC")
    small = picture.labels_like(np.stack([labels[row][columns] for row in rows]))
    with replacing(path) as part:
        Pillow.fromarray(overlay(picture, small)).save(part, format="PNG", optimize=True)


def _full(tile: np.ndarray, edge: int) -> np.ndarray:
    return np.pad(tile, [(0, edge - n) for n in tile.shape])
