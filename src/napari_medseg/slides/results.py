"""What is written of a slide: labels as tiled BigTIFF, the table of its objects, a small picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from napari_medseg.image import SHORT_UNITS, Image
from napari_medseg.io.write import replacing
from napari_medseg.overlay import overlay
from napari_medseg.slides.tiles import boxes

STRIP, FILE_TILE = 1024, 512


def write_labels(path: Path, labels: np.ndarray, image: Image) -> None:
    """Write labels (Y, X), in memory or mapped, tile by tile as compressed BigTIFF with the slide's pixel size."""
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


def objects_table(labels: np.ndarray, image: Image, n: int) -> pd.DataFrame:
    """Return label, centre and area of objects 1 .. n of (Y, X) labels, read strip by strip."""
    area, y, x = (np.zeros(n + 1) for _ in range(3))
    for top in range(0, labels.shape[0] if n else 0, STRIP):
        strip = np.asarray(labels[top : top + STRIP])
        rows, columns = np.nonzero(strip)
        ids = strip[rows, columns]
        area += np.bincount(ids, minlength=n + 1)
        y += np.bincount(ids, rows + top, n + 1)
        x += np.bincount(ids, columns, n + 1)
    ids = np.flatnonzero(area)
    unit, step = SHORT_UNITS.get(image.units[-1], image.units[-1]), image.scale
    return pd.DataFrame(
        {
            "label": ids,
            f"centre y [{unit}]": y[ids] / area[ids] * step[0],
            f"centre x [{unit}]": x[ids] / area[ids] * step[1],
            f"area [{unit}^2]": area[ids] * step[0] * step[1],
        }
    )


def write_overlay(path: Path, labels: np.ndarray, thumbnail: np.ndarray) -> None:
    """Write the labels (Y, X) over the slide's thumbnail (y, x, 3)."""
    from PIL import Image as Pillow

    rows, columns = (np.arange(m) * n // m for n, m in zip(labels.shape, thumbnail.shape, strict=False))
    picture = Image(thumbnail, "YXC")
    small = picture.labels_like(np.stack([labels[row][columns] for row in rows]))
    with replacing(path) as part:
        Pillow.fromarray(overlay(picture, small)).save(part, format="PNG", optimize=True)


def _full(tile: np.ndarray, edge: int) -> np.ndarray:
    return np.pad(tile, [(0, edge - n) for n in tile.shape])
