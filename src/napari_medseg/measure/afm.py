"""Size, height, volume and roughness of cells in AFM height images, with units in the headers.

Heights are above the substrate, which is found as the segmentation finds it: a surface of third degree and the offset
of each line, fitted outside the cells. Roughness follows ISO 25178-2 (Sa, Sq, Ssk, Sku, Sz) on the levelled heights
about their mean; the form of a cell is not removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_medseg.errors import DataError
from napari_medseg.image import OBJECTS, SHORT_UNITS, Image
from napari_medseg.measure.labels import EIGHT
from napari_medseg.measure.outline import perimeter
from napari_medseg.preprocessing.levelling import above_glass, beside, flatten, require_finite

if TYPE_CHECKING:
    from pandas import DataFrame

ROUGHNESS = ("Sa", "Sq", "Ssk", "Sku", "Sz")
PER_NM = {"nm": 1.0, "um": 1e-3, "mm": 1e-6}
MAX_COVERAGE = 0.7  # above it too little substrate is seen to fit a surface; a plane needs less
MAX_LEVERAGE = 25.0  # a plane's variance at a corner, in those of one pixel: tilts are more than five times the noise
SURFACE, PLANE, OFFSET = "surface of third degree and line offsets, as in Segment", "plane", "offset"
ORDERS = {OFFSET: 0, PLANE: 1}


@dataclass(frozen=True)
class Headers:
    """Units of one measurement, written once."""

    length: str
    value: str

    @property
    def area(self) -> str:
        """Unit of areas."""
        return "px" if self.length == "px" else f"{self.length}^2"

    @property
    def volume(self) -> str:
        """Unit of volumes: heights in nm over a physical length give that length cubed."""
        cubic = self.value == "nm" and self.length in PER_NM
        return f"{self.length}^3" if cubic else f"{self.value} {self.area}"

    @property
    def volume_factor(self) -> float:
        """Factor from height times area to `volume`."""
        return PER_NM.get(self.length, 1.0) if self.value == "nm" else 1.0

    def shape(self) -> list[str]:
        """Columns of a cell's outline."""
        return [f"area ({self.area})", f"perimeter ({self.length})", "circularity",
                f"centroid_y ({self.length})", f"centroid_x ({self.length})"]  # fmt: skip

    def height(self) -> list[str]:
        """Columns of a cell's heights."""
        return [f"height_max ({self.value})", f"height_mean ({self.value})", f"volume ({self.volume})"]

    def roughness(self, where: str = "") -> list[str]:
        """Columns of the roughness, Ssk and Sku being pure numbers."""
        return [f"{name}{where}" + ("" if name in ("Ssk", "Sku") else f" ({self.value})") for name in ROUGHNESS]


def table(labels: Image, image: Image | None = None) -> DataFrame:
    """Return one row per cell.

    Parameters
    ----------
    labels
        (Y, X). A binary mask is split into 8-connected components; otherwise each label is a cell.
    image
        Height image (Y, X), nm; without it only the outlines are measured.

    Returns
    -------
    DataFrame
        ``label``, area, perimeter, circularity (4 pi A / P^2, at most 1), centroid; with heights also maximum and mean
        above the substrate, volume, and roughness. No cells: no rows, the same headers.

    Raises
    ------
    DataError
        If the arrays are not of one 2D shape, or heights are not finite.
    """
    import pandas as pd
    from skimage.measure import regionprops

    cells = instances(labels)
    headers, step = _geometry(labels, image)
    relative = None if image is None else above_substrate(image, cells > 0)
    rows = []
    ids, numbers = np.unique(np.append(cells, 0), return_inverse=True)  # ids may be large, numbers are not
    for region in regionprops(numbers[:-1].reshape(cells.shape), spacing=step):
        row: list[Any] = [ids[region.label], *_outline(region, step)]
        if relative is not None:
            heights = relative[region.slice][region.image]
            volume = heights.sum() * step[0] * step[1] * headers.volume_factor
            row += [heights.max(), heights.mean(), volume, *roughness(heights)]
        rows.append(row)
    columns = headers.shape() + ([] if image is None else headers.height() + headers.roughness())
    frame = pd.DataFrame(rows, columns=["label", *columns])
    return frame.astype({"label": np.int64, **dict.fromkeys(columns, np.float64)})


def summary(labels: Image, image: Image | None = None) -> DataFrame:
    """Return one row for the whole image: number of cells, coverage, totals, roughness on cells and substrate.

    Raises
    ------
    DataError
        As `table`.
    """
    import pandas as pd

    cells = instances(labels)
    mask = cells > 0
    headers, step = _geometry(labels, image)
    pixel = step[0] * step[1]
    row: dict[str, Any] = {
        "image": labels.name if image is None else image.name,
        "cells": len(np.unique(cells[mask])),
        "coverage (%)": 100.0 * mask.mean(),
        f"area ({headers.area})": mask.sum() * pixel,
    }
    if image is not None:
        relative = above_substrate(image, mask)
        row |= {"channel": ", ".join(image.channels), "levelled by": levelling(mask) or "nothing"}
        heights, substrate = relative[mask], relative[beside(mask)]
        top = (heights.max(), heights.mean()) if heights.size else (np.nan, np.nan)
        volume = heights.sum() * pixel * headers.volume_factor
        row |= dict(zip(headers.height(), (*top, volume), strict=True))
        row |= dict(zip(headers.roughness("_cell"), roughness(heights), strict=True))
        row |= dict(zip(headers.roughness("_substrate"), roughness(substrate), strict=True))
    return pd.DataFrame([row])


def instances(labels: Image) -> np.ndarray:
    """Return the cells as labels (Y, X): the 8-connected components of a binary mask, otherwise the labels given."""
    data = np.asarray(labels.data)
    if data.ndim != 2:
        raise DataError(f"AFM cells are measured in one 2D label image, got axes {labels.axes}. Choose one frame.")
    values = np.unique(data)
    if len(values[values != 0]) > 1 or labels.metadata.get(OBJECTS):
        return data.astype(np.int64)
    return np.asarray(ndimage.label(data, EIGHT)[0])


def above_substrate(image: Image, mask: np.ndarray) -> np.ndarray:
    """Return heights (Y, X) above the substrate, NaN everywhere where no substrate is seen.

    Raises
    ------
    DataError
        If image and mask are of different size, the image has several channels or no lengths, or heights are not
        finite.
    """
    if image.n_channels > 1 or image.spatial_shape != mask.shape:
        raise DataError(
            f"Heights must be one channel of size {mask.shape} like the labels, got {image.describe()}. "
            "Choose the height channel of the scan that was segmented."
        )
    if image.value_unit and image.value_unit not in PER_NM:
        raise DataError(
            f"{image.name}: the channel {', '.join(image.channels)} is in {image.value_unit}, which is no height. "
            "Choose a channel of lengths (--channel), or calibrate the scan in the instrument's program."
        )
    height = require_finite(np.asarray(image.channels_first())[0])
    substrate = beside(mask)
    level = levelling(mask)
    if not level:
        return np.full(height.shape, np.nan)
    relative = above_glass(height, mask).height if level == SURFACE else flatten(height, ORDERS[level], ~substrate)
    return np.asarray(relative - np.median(relative[substrate]))


def levelling(mask: np.ndarray) -> str:
    """Return which background the substrate beside a mask (Y, X) determines, in words; "" for none.

    A plane is determined where its leverage at every corner is at most `MAX_LEVERAGE`.
    """
    substrate = beside(mask)
    if np.count_nonzero(substrate) < 10:
        return ""
    if substrate.mean() > 1 - MAX_COVERAGE:
        return SURFACE
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in mask.shape), indexing="ij")
    design = np.stack([np.ones(np.count_nonzero(substrate)), *(axis[substrate] for axis in axes)])
    corners = np.array([(1, y, x) for y in (-1, 1) for x in (-1, 1)], float)
    normal = design @ design.T
    if np.linalg.matrix_rank(normal, tol=1e-9 * normal[0, 0]) < 3:
        return OFFSET
    leverage = np.einsum("ci,ij,cj->c", corners, np.linalg.inv(normal), corners)
    return PLANE if leverage.max() <= MAX_LEVERAGE else OFFSET


def roughness(heights: np.ndarray) -> tuple[float, float, float, float, float]:
    """Return Sa, Sq, Ssk, Sku, Sz (ISO 25178-2, 4.1) of heights; NaN without points, Ssk and Sku NaN where flat."""
    if heights.size == 0 or not np.isfinite(heights).all():
        return (np.nan,) * 5
    z = heights - heights.mean()
    sa, sq, sz = np.abs(z).mean(), np.sqrt((z**2).mean()), np.ptp(z)
    flat = sq <= 1e-12 * max(1.0, float(np.abs(heights).max()))
    ssk, sku = (np.nan, np.nan) if flat else ((z**3).mean() / sq**3, (z**4).mean() / sq**4)
    return float(sa), float(sq), float(ssk), float(sku), float(sz)


def _geometry(labels: Image, image: Image | None) -> tuple[Headers, tuple[float, float]]:
    """Return headers and pixel size (y, x), taken from the height image where the labels have none."""
    source = image if image is not None and image.calibrated and not labels.calibrated else labels
    value = (image.value_unit if image is not None else "") or "value"
    if not source.calibrated:
        return Headers("px", value), (1.0, 1.0)
    return Headers(SHORT_UNITS.get(source.units[-1], source.units[-1]), value), (source.scale[-2], source.scale[-1])


def _outline(region: Any, step: tuple[float, float]) -> tuple[float, ...]:
    """Return area, perimeter, circularity and centroid of a region measured with `step`."""
    length = perimeter(region.image, step)
    circularity = min(4 * np.pi * region.area / length**2, 1.0) if length > 0 else np.nan
    return region.area, length, circularity, *region.centroid
