"""Size, shape, neighbourhood and stain of labelled nuclei or glands, with units in the headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, cKDTree

from napari_medseg.errors import DataError, counted
from napari_medseg.image import OBJECTS, SHORT_UNITS, WHITE, Image, mm_per
from napari_medseg.io.grids import on_grid
from napari_medseg.io.outlines.polygons import boxes_of
from napari_medseg.measure import labels as label_maps
from napari_medseg.measure.outline import perimeter
from napari_medseg.preprocessing.stains import concentrations, known_white, rgb8, said_of_white

if TYPE_CHECKING:
    from pandas import DataFrame

STAINS = ("haematoxylin (OD)", "eosin (OD)")
CORNERS = np.array([(0, 0), (0, 1), (1, 0), (1, 1)]) - 0.5


def table(labels: Image, image: Image | None = None) -> DataFrame:
    """Return one row per object of a label map.

    Parameters
    ----------
    labels
        (Y, X). A map with a single id is split into its 8-connected components; otherwise rows keep the map's ids.
    image
        The stained RGB image; without it, or with one that is not in colour, the stain columns are left out.

    Returns
    -------
    DataFrame
        ``label``; area; perimeter (see `napari_medseg.measure.outline.perimeter`);
        eccentricity of the ellipse of equal moments; solidity = area / convex area; largest Feret diameter; centroid;
        distance of the nearest other centroid (NaN for a single object); mean haematoxylin and eosin optical density.
        No objects: no rows, the same headers.

    Raises
    ------
    DataError
        If `labels` is not 2D, or the image is of another size.
    """
    return table_of(instances(labels), labels, image)


def table_of(data: np.ndarray, labels: Image, image: Image | None = None) -> DataFrame:
    """Return the rows of `table` of the ids of `data` (Y, X) as they are, on the grid of `labels`."""
    import pandas as pd

    if image is not None:
        _require_same(data, image)
        image = image if _is_coloured(image) else None
    names = _headers(labels, image)
    rows = [_shape(data[box] == index, index, box, labels.scale) for index, box in boxes_of(data)]
    frame = pd.DataFrame(rows, columns=names[:9], dtype=float).astype({"label": int})
    frame[names[9]] = nearest_neighbours(frame[names[7:9]].to_numpy())
    if image is not None:
        od = _stain(data, frame["label"].to_numpy(), image)
        for name, column in zip(STAINS, od.T, strict=True):
            frame[name] = column
    return frame


def summary(labels: Image, image: Image | None = None) -> DataFrame:
    """Return one row: count, density (per mm^2, or per megapixel without a pixel size), covered share, means."""
    import pandas as pd

    frame = table(labels, image)
    known = all(mm_per(unit) for unit in labels.units)
    area = float(np.prod(labels.spatial_shape))
    if known:
        area *= float(np.prod([s * (mm_per(u) or 1.0) for s, u in zip(labels.scale, labels.units, strict=True)]))
    else:
        area /= 1e6
    row: dict[str, float] = {
        "count": len(frame),
        f"density (1/{'mm^2' if known else 'Mpx'})": len(frame) / area if area else 0.0,
        "covered share": float((np.asarray(labels.data) > 0).mean()) if np.size(labels.data) else 0.0,
    }
    skipped = ("label", "centroid", "pixels")
    means = frame[[c for c in frame.columns if not c.startswith(skipped)]].mean()
    row |= {f"mean {name}": float(value) for name, value in means.items()}
    return pd.DataFrame([row])


def instances(labels: Image) -> np.ndarray:
    """Return the ids that `table` lists, (Y, X): a map with a single id is split into its 8-connected components."""
    if labels.axes != "YX":
        raise DataError(f"Objects are measured on 2D labels; {labels.name!r} has axes {labels.axes}. Give one plane.")
    data = np.asarray(labels.data)
    if data.dtype.kind not in "bui":
        raise DataError(f"{labels.name or 'The label image'} holds {data.dtype}, not labels. Give whole numbers.")
    data = data.astype(np.int64)
    mask = label_maps.ids_of(data).size <= 1 and not labels.metadata.get(OBJECTS)
    return label_maps.instances(data) if mask else data


def per_parent(labels: Image, parents: Image) -> DataFrame:
    """Count the objects of `labels` in each object of `parents` (nuclei per gland).

    An object belongs to the parent that holds most of its pixels; those mostly outside all parents count nowhere. Areas
    are those of the parents as they were given.

    Raises
    ------
    DataError
        If the two lie on grids that cannot be brought together (`on_grid`).
    """
    import pandas as pd

    child, given = instances(labels), instances(parents)
    parent = np.asarray(on_grid(parents.replace(data=given), labels, "parents").data)
    ids = label_maps.ids_of(given)
    inside = child > 0
    pairs, pixels = np.unique(np.stack([child[inside], parent[inside]]), axis=1, return_counts=True)
    order = np.lexsort((pixels, pairs[0]))
    last = np.append(np.diff(pairs[0][order]) != 0, True) if order.size else np.zeros(0, bool)
    owners = pairs[1][order][last]
    counts = np.array([(owners == k).sum() for k in ids], int)
    areas = np.bincount(label_maps.consecutive(given).ravel(), minlength=len(ids) + 1)[1:] * np.prod(parents.scale)
    unit = _area_unit(parents)
    return pd.DataFrame(
        {"label": ids, "objects": counts, f"area ({unit})": areas, f"objects per {unit}": counts / areas}
    )


def _area_unit(labels: Image) -> str:
    unit = SHORT_UNITS.get(labels.units[-1], labels.units[-1])
    return "px" if unit == "px" else f"{unit}^2"


def _headers(labels: Image, image: Image | None) -> list[str]:
    unit = SHORT_UNITS.get(labels.units[-1], labels.units[-1])
    names = ["label", f"area ({_area_unit(labels)})", f"perimeter ({unit})", "eccentricity", "solidity"]
    names += [f"Feret diameter ({unit})", "pixels", f"centroid y ({unit})", f"centroid x ({unit})"]
    return [*names, f"nearest neighbour ({unit})", *(STAINS if image is not None else ())]


def _shape(mask: np.ndarray, index: int, box: tuple[slice, ...], scale: tuple[float, ...]) -> list[float]:
    """Return the first columns of `table` of one object, whose `mask` (Y, X) fills its `box`."""
    step = np.asarray(scale)
    points = np.argwhere(mask)
    area = len(points) * float(step.prod())
    border = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    corners = ((border[:, None] + CORNERS) * step).reshape(-1, 2)
    hull = ConvexHull(corners)
    outline = corners[hull.vertices]
    feret = float(np.sqrt(((outline[:, None] - outline[None]) ** 2).sum(-1).max()))
    centre = (points.mean(0) + [s.start for s in box]) * step
    length = perimeter(mask, scale)
    return [index, area, length, _eccentricity(points * step, step), area / hull.volume, feret, len(points), *centre]


def _eccentricity(points: np.ndarray, step: np.ndarray) -> float:
    centred = points - points.mean(0)
    covariance = centred.T @ centred / len(points) + np.diag(step**2 / 12)  # a pixel has an extent of its own
    small, large = np.linalg.eigvalsh(covariance)
    return float(np.sqrt(max(1 - small / large, 0.0)))


def nearest_neighbours(centres: np.ndarray) -> np.ndarray:
    """Return the distance of each point (N, 2) to the nearest other one, NaN for a single point."""
    if len(centres) < 2:
        return np.full(len(centres), np.nan)
    return np.asarray(cKDTree(centres).query(centres, 2)[0][:, 1])


def assumed(image: Image) -> list[str]:
    """Say what is assumed of an image's colours where stains are measured."""
    if not _is_coloured(image):
        name = image.name or "the image"
        return [
            f"Stains are measured on colour images; {name} has {counted(image.n_channels, 'channel')}: without them."
        ]
    if image.data.dtype == np.uint8:
        return []
    return said_of_white(np.asarray(image.channels_first())[:3], image.metadata.get(WHITE))


def _is_coloured(image: Image) -> bool:
    return image.n_channels in (3, 4)


def _require_same(data: np.ndarray, image: Image) -> None:
    if image.spatial_shape != data.shape:
        raise DataError(
            f"The labels are {data.shape} but the image is {image.spatial_shape}. Give the segmented image."
        )


def _stain(data: np.ndarray, ids: np.ndarray, image: Image) -> np.ndarray:
    colours = np.asarray(image.channels_first()).transpose(1, 2, 0)
    rgb = rgb8(colours, known_white(colours[..., :3], image.metadata.get(WHITE)))
    inside = data > 0
    amounts = concentrations(rgb[inside])
    index = np.searchsorted(ids, data[inside])
    n = np.bincount(index, minlength=len(ids))
    return np.stack([np.bincount(index, channel, len(ids)) / n for channel in amounts.T], 1).reshape(-1, 2)
