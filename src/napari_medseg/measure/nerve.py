"""Corneal nerve morphometry: CNFL, CNFD, CNBD, CTBD, CNFA, CNFW, fractal dimension and tortuosity.

Definitions, per image area: CNFL length of all nerves; CNFD number of main nerves; CNBD branch points on main nerves;
CTBD all branch points; CNFA nerve area. CNFW is area over length; the fractal dimension is that of the centrelines.

Main nerve or branch: segments of the centreline are joined through junctions, straightest pair first. A nerve that
ends on the inside of a longer one is a branch. Of the others, those at least ``main_length`` long are main nerves;
shorter, isolated pieces count as branches. In an image larger than one field of the microscope (a mosaic) a main nerve
counts once for each field that it is long, for so often it would be counted in the single frames, and densities are
per area that its frames cover, where its picture is known.

Of a tracing, paths and classes are what a person drew: they are measured as they are. Paths without a class (of SWC
files, *Default* of NeuronJ) are classified by the same rule.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_medseg.errors import DataError
from napari_medseg.image import PIXEL, SHORT_UNITS, Image, mm_per, um_per
from napari_medseg.io.ccm import parse_name
from napari_medseg.io.outlines.tracings import draw
from napari_medseg.io.pairs import case_stem
from napari_medseg.measure import curves
from napari_medseg.measure.cover import UNKNOWN, covered
from napari_medseg.measure.labels import EIGHT, foreground
from napari_medseg.measure.settings import NerveSettings
from napari_medseg.measure.skeleton import Strand, grid_length, strands

MAIN, BRANCH = "main", "branch"
MOSAIC = 1.5  # fields of view above which an image is taken for a mosaic
OVERLAP = "images may show the same nerves: they come from one site or state none"
UNITS = "some images have a pixel size and some have none: their values stand in different columns"


def paths(labels: Image, settings: NerveSettings | None = None) -> tuple[list[np.ndarray], list[str]]:
    """Return the nerves of a label image as paths (N, 2) of (y, x) pixels, and the class of each (main, branch).

    Raises
    ------
    DataError
        If the labels are not 2D.
    """
    found, _, classes = _nerves(labels, settings or NerveSettings())
    return found, classes


def table(labels: Image, image: Image | None = None, settings: NerveSettings | None = None) -> pd.DataFrame:
    """Return one row for each nerve, with the uncorrected lengths (pixel graph, pixel count) beside the length.

    Drawn paths of a tracing have no uncorrected lengths.
    """
    drawn = drawn_paths(labels, settings)
    if drawn is not None:
        return table_from_paths(*drawn, labels.spatial_shape, labels.scale, labels.units)
    found, grid, classes = _nerves(labels, settings or NerveSettings())
    rows = table_from_paths(found, classes, labels.spatial_shape, labels.scale, labels.units, _mask(labels))
    unit, step = _unit(labels.units), np.asarray(labels.scale)
    rows[f"pixel-graph length [{unit}]"] = [grid_length(s.points * step) for s in grid]
    rows[f"pixel-count length [{unit}]"] = [_count_length(s, step) for s in grid]
    return rows


def summary(labels: Image, image: Image | None = None, settings: NerveSettings | None = None) -> pd.DataFrame:
    """Return one row for the image: who and where, then the measures; zeros where there are no nerves."""
    settings = settings or NerveSettings()
    drawn = drawn_paths(labels, settings)
    if drawn is not None:
        measures = summary_from_paths(
            *drawn, labels.spatial_shape, labels.scale, labels.units, settings=settings, picture=image
        )
        return pd.DataFrame([{**identity(labels, image), **measures}])
    found, grid, classes = _nerves(labels, settings)
    measures = summary_from_paths(
        found, classes, labels.spatial_shape, labels.scale, labels.units, _mask(labels), settings=settings,
        picture=image,
    )  # fmt: skip
    naive = sum(_count_length(s, np.asarray(labels.scale)) for s in grid)
    measures[f"pixel-count total length [{_unit(labels.units)}]"] = float(naive)
    return pd.DataFrame([{**identity(labels, image), **measures}])


def drawn_paths(labels: Image, settings: NerveSettings | None = None) -> tuple[list[np.ndarray], list[str]] | None:
    """Return paths (N, 2) and classes of labels that are a tracing, ``None`` for others."""
    paths = labels.metadata.get("paths")
    if paths is None:
        return None
    drawn = [np.asarray(path, float).reshape(-1, 2) for path in paths]
    classes = [str(name) for name in labels.metadata.get("classes", [""] * len(drawn))]
    shortest = _pixels((settings or NerveSettings()).main_length, labels.scale, labels.units)
    by_rule = classify(drawn, shortest, labels.scale)
    return drawn, [c if c in (MAIN, BRANCH) else rule for c, rule in zip(classes, by_rule, strict=True)]


def identity(labels: Image, image: Image | None = None) -> dict[str, str]:
    """Return name, subject, eye and site of an image, of its metadata or as its name states them; else empty.

    What the viewer adds to a name, the method after `` · `` and a number in brackets, does not count.
    """
    name = re.sub(r"( · .*| \[\d+\])$", "", labels.name)
    stated = parse_name(case_stem(Path(f"{name.removesuffix('.tif')}.tif")))
    known = {**stated, **labels.metadata, **(image.metadata if image else {})}
    return {"image": labels.name, **{key: str(known.get(key, "")) for key in ("subject", "eye", "site")}}


def table_from_paths(
    paths: Sequence[np.ndarray],
    classes: Sequence[str],
    shape: Sequence[int],
    scale: Sequence[float],
    units: Sequence[str],
    mask: np.ndarray | None = None,
) -> pd.DataFrame:
    """Return one row for each path (N, 2), as drawn or edited; width and area need the mask (Y, X).

    Columns: nerve, class, length, tortuosity, branch points, and with `mask` width and area. Without a pixel size
    the headers say ``px``.
    """
    unit = _unit(units)
    paths = [np.asarray(p, float)[:, -2:] for p in paths]
    points = curves.attachments(paths, scale=scale)
    columns: dict[str, list[Any]] = {
        "nerve": list(range(1, len(paths) + 1)),
        "class": list(classes),
        f"length [{unit}]": [curves.length(p, scale) for p in paths],
        "tortuosity": [curves.tortuosity(p, scale) for p in paths],
        "branch points": [sum(a.host == i for a in points) for i in range(len(paths))],
    }
    if mask is not None:
        area = _areas(paths, mask) * float(np.prod(scale))
        lengths = np.array(columns[f"length [{unit}]"])
        columns[f"width [{unit}]"] = np.divide(area, lengths, np.zeros_like(area), where=lengths > 0).tolist()
        columns[f"area [{unit}^2]"] = area.tolist()
    return pd.DataFrame(columns)


def summary_from_paths(
    paths: Sequence[np.ndarray],
    classes: Sequence[str],
    shape: Sequence[int],
    scale: Sequence[float],
    units: Sequence[str],
    mask: np.ndarray | None = None,
    *,
    settings: NerveSettings | None = None,
    picture: Image | None = None,
) -> dict[str, Any]:
    """Return the measures of an image from its paths (N, 2); every one is 0 where there are no nerves.

    Densities are per image area; of a mosaic whose `picture` (Y, X), on the grid of the paths, is given, per area that
    its frames cover (`napari_medseg.measure.cover`). The rest is the column ``uncovered area``; ``area note`` says
    where it is not known.
    """
    settings = settings or NerveSettings()
    paths = [np.asarray(p, float)[:, -2:] for p in paths]
    rows = table_from_paths(paths, classes, shape, scale, units, mask)
    unit, factor = _unit(units), mm_per(units[-1]) or 1.0
    wide = "mm" if mm_per(units[-1]) else unit
    drawn = draw(paths, tuple(shape))
    left_out = _left_out(picture, drawn > 0, _pixels(settings.field, scale, units))
    whole = float(np.prod(shape) * np.prod(scale)) * factor**2
    field = whole * (1 - left_out[0] if left_out and np.isfinite(left_out[0]) else 1.0)
    length = rows[f"length [{unit}]"].to_numpy(float)
    total, main = float(length.sum()), int((rows["class"] == MAIN).sum())
    on_main = int(rows.loc[rows["class"] == MAIN, "branch points"].sum())
    counted = _counted(length[(rows["class"] == MAIN).to_numpy()], shape, scale, units, settings.field)
    result = {
        f"CNFL [{wide}/{wide}^2]": total * factor / field,
        f"CNFD [no/{wide}^2]": counted / field,
        f"CNBD [no/{wide}^2]": on_main / field,
        f"CTBD [no/{wide}^2]": int(rows["branch points"].sum()) / field,
    }
    if mask is not None:
        area = float(rows[f"area [{unit}^2]"].sum())
        result[f"CNFA [{wide}^2/{wide}^2]"] = area * factor**2 / field
        result[f"CNFW [{unit}]"] = area / total if total else 0.0
    weighted = float((rows["tortuosity"].to_numpy(float) * length).sum())
    return result | {
        "fractal dimension": curves.fractal_dimension(drawn),
        "tortuosity": weighted / total if total else 0.0,
        f"total length [{wide}]": total * factor,
        "main nerves": float(main),
        "branches": float(len(rows) - main),
        f"image area [{wide}^2]": field,
        **({f"uncovered area [{wide}^2]": whole * left_out[0], "area note": left_out[1]} if left_out else {}),
    }


def _left_out(picture: Image | None, nerves: np.ndarray, side: float) -> tuple[float, str] | None:
    """Return the share of a mosaic that no frame covers, NaN if unknown, and a note; ``None`` if it is no mosaic."""
    if nerves.size <= MOSAIC * side**2:
        return None
    if picture is None or picture.spatial_shape != nerves.shape:
        return np.nan, UNKNOWN
    share, note = covered(picture, nerves, side)
    return 1.0 - share, note


def by_eye(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return mean and SD of each measure over the images of each eye, from the `summary` of each image.

    Images are grouped by subject and eye; an image that states no subject is a group of its own. The SD (n - 1) of
    a single image is not defined and stays empty. ``overlap warning`` is filled where two images of an eye state the
    same site or none, ``area warning`` with what their ``area note`` says, ``unit warning`` where only some of them
    have a pixel size.
    """
    rows = pd.concat(list(frames), ignore_index=True) if frames else pd.DataFrame()
    if rows.empty:
        return rows
    subject = rows["subject"].where(rows["subject"] != "", rows["image"])
    numbers = list(rows.select_dtypes("number").columns)
    result = []
    for (name, eye), group in rows.groupby([subject, "eye"], sort=True):
        row: dict[str, Any] = {"subject": name, "eye": eye, "images used": len(group)}
        for column in numbers:
            row[f"{column} mean"] = float(group[column].mean())
            row[f"{column} SD"] = float(group[column].std())  # of one image it is NaN
        row["overlap warning"] = OVERLAP if group["site"].duplicated().any() else ""
        if "area note" in group:
            row["area warning"] = "; ".join(note for note in group["area note"].dropna().unique() if note)
        if group[[c for c in numbers if "CNFL" in c]].notna().any().sum() > 1:
            row["unit warning"] = UNITS
        result.append(row)
    return pd.DataFrame(result)


def _nerves(labels: Image, settings: NerveSettings) -> tuple[list[np.ndarray], list[Strand], list[str]]:
    s = settings
    grid = strands(_mask(labels), spur=s.spur, shortest=s.shortest, angle=s.angle)
    grid = [strand for strand in grid if len(strand.points) > 1]
    found = [curves.smooth(strand.points, strand.closed) for strand in grid]
    return found, grid, classify(found, _pixels(s.main_length, labels.scale, labels.units), labels.scale)


def _pixels(length: float, scale: Sequence[float], units: Sequence[str]) -> float:
    """Return a length in micrometres as pixels; without a pixel size it is in pixels."""
    microns = um_per(units[-1])
    return length if microns is None else length / (float(np.mean(scale)) * microns)


def _counted(
    lengths: np.ndarray, shape: Sequence[int], scale: Sequence[float], units: Sequence[str], field: float
) -> float:
    """Return how often main nerves count: once, and in a mosaic once for each field of view that they are long."""
    side = _pixels(field, scale, units) * float(np.mean(scale))
    if float(np.prod(shape)) * float(np.prod(scale)) <= MOSAIC * side**2:
        return float(len(lengths))
    return float(np.maximum(np.rint(lengths / side), 1).sum())


def classify(paths: Sequence[np.ndarray], shortest_main: float, scale: Sequence[float] = (1.0, 1.0)) -> list[str]:
    """Return the class of each path by the rule of this module; `shortest_main` in pixels of the mean of `scale`."""
    sides = np.asarray(scale, float) / np.mean(scale)
    lengths = [curves.length(p, sides) for p in paths]
    hanging = {a.path for a in curves.attachments(paths, scale=scale) if lengths[a.host] > lengths[a.path]}
    return [MAIN if i not in hanging and n >= shortest_main else BRANCH for i, n in enumerate(lengths)]


def _areas(paths: Sequence[np.ndarray], mask: np.ndarray) -> np.ndarray:
    """Pixels of `mask` nearest to each path, pieces without a path left out."""
    from scipy import ndimage

    owner = np.zeros(mask.shape, np.int32)
    for index, path in enumerate(paths, 1):
        owner[draw([path], mask.shape) > 0] = index
    if not owner.any():
        return np.zeros(len(paths))
    nearest = ndimage.distance_transform_edt(owner == 0, return_distances=False, return_indices=True)
    pieces, count = ndimage.label(mask, EIGHT)
    held = np.bincount(pieces[owner > 0], minlength=count + 1) > 0
    held[0] = False
    return np.bincount(owner[tuple(nearest)][held[pieces]], minlength=len(paths) + 1)[1:].astype(float)


def _count_length(strand: Strand, step: np.ndarray) -> float:
    return len(strand.points) * float(np.sqrt(step.prod()))


def _mask(labels: Image) -> np.ndarray:
    if labels.spatial_axes != "YX":
        raise DataError(f"Nerves are measured on 2D labels; {labels.name or 'these'} are {labels.describe()}. "
                        "Give one slice, or one frame.")  # fmt: skip
    return foreground(labels.channels_first()[0])


def _unit(units: Sequence[str]) -> str:
    return SHORT_UNITS[PIXEL] if PIXEL in units else SHORT_UNITS.get(units[-1], units[-1])
