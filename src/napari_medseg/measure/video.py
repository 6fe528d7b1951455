"""Nerve in movies, frame by frame: area, contrast against a ring, intervals and flicker (metrics: `video_scores`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from napari_medseg.errors import DataError
from napari_medseg.image import PIXEL, SHORT_UNITS, Image
from napari_medseg.measure.labels import EIGHT
from napari_medseg.measure.settings import RING_GAP, RING_WIDTH


def table(labels: Image, image: Image | None = None, gap: int = RING_GAP, width: int = RING_WIDTH) -> pd.DataFrame:
    """Return one row per frame of a ``TYX`` (or ``YX``) mask; 0 is background, anything else nerve.

    Columns: frame, time_s (where the time step is known; of a movie of variable rate each frame's own), the columns of
    `shape_of` and, with `image`, nbr and cnr of `contrast`. Frames are read one by one, so that memory does not grow
    with the movie.

    Parameters
    ----------
    labels, image
        Mask and, for the contrast, the movie it belongs to.
    gap, width
        Ring of the background, in pixels.

    Raises
    ------
    DataError
        If the axes are others, or `image` has another size.
    """
    if labels.axes not in ("TYX", "YX"):
        raise DataError(f"Nerve masks of a movie have the axes TYX, or YX for one frame; got {labels.axes!r}.")
    if image is not None and image.spatial_shape != labels.spatial_shape:
        raise DataError(
            f"The mask is {labels.spatial_shape}, the movie {image.spatial_shape}. Give the movie it is of."
        )
    masks, times = _frames(labels), _times(labels, image)
    rows = []
    for k in range(len(masks)):
        mask = np.asarray(masks[k]) != 0
        row: dict[str, Any] = {"frame": k}
        if times is not None:
            row["time_s"] = float(times[k])
        row |= shape_of(mask)
        row |= area_of(row["mask_area_px"], labels)
        if image is not None:
            row |= contrast(_frame(image, k), mask, gap, width)
        rows.append(row)
    return pd.DataFrame(rows)


def summary(labels: Image, image: Image | None = None) -> pd.DataFrame:
    """Return one row for the movie: frames, frames and intervals with nerve, mean area, flicker, mean NBR and CNR."""
    step = _step(labels) or (0.0 if image is None else _step(image))
    return pd.DataFrame([summarise(table(labels, image), step)])


def summarise(rows: pd.DataFrame, step: float = 0.0) -> dict[str, float]:
    """Return the movie's numbers from its `table`; `step` is the time between frames in seconds, 0 if not known.

    Seconds with nerve are those of its `intervals`, by the frames' own times (``time_s``) where the table has them.
    """
    areas = rows["mask_area_px"].to_numpy(float)
    present = areas > 0
    result = {
        "frames": len(rows),
        "nerve_frames": int(present.sum()),
        "nerve_share": float(present.mean()) if len(rows) else 0.0,
        "intervals": len(intervals(present)),
        "mean_area_px": float(areas[present].mean()) if present.any() else 0.0,
        **flicker(areas),
    }
    if step:
        times = rows["time_s"].to_numpy(float) if "time_s" in rows else None
        result["nerve_s"] = seconds_of(intervals(present, step, times))
    for name in (name for name in map(str, rows) if name.startswith("mask_area_") and name.endswith("2")):  # um2, mm2
        result[f"mean_{name.removeprefix('mask_')}"] = float(rows[name][present].mean()) if present.any() else 0.0
    for name in ("nbr", "cnr"):
        if name in rows and rows[name].notna().any():
            result[f"mean_{name}"] = float(rows[name].mean())
    return result


def shape_of(mask: np.ndarray) -> dict[str, float]:
    """Return mask_area_px, mask_area_frac, n_components (8-connected) and the centroid of a mask (Y, X) in pixels."""
    from scipy import ndimage

    area = int(np.count_nonzero(mask))
    result = {"mask_area_px": area, "mask_area_frac": area / mask.size, "n_components": 0}
    if not area:
        return {**result, "centroid_y": np.nan, "centroid_x": np.nan}
    rows, columns = mask.sum(1), mask.sum(0)
    box = _box(rows, columns, 0)
    result["n_components"] = int(ndimage.label(mask[box], EIGHT)[1])
    result["centroid_y"] = float(rows @ np.arange(len(rows)) / area)
    result["centroid_x"] = float(columns @ np.arange(len(columns)) / area)
    return result


def ring(mask: np.ndarray, gap: int = RING_GAP, width: int = RING_WIDTH) -> np.ndarray:
    """Return the background ring of a mask (Y, X): pixels farther than `gap` and at most `gap + width` from it.

    Distances are chessboard distances in pixels (squares instead of circles).
    """
    from scipy import ndimage

    result = np.zeros(mask.shape, bool)
    if mask.any():
        box = _box(mask.sum(1), mask.sum(0), gap + width)
        distance = ndimage.distance_transform_cdt(~mask[box], "chessboard")
        result[box] = (distance > gap) & (distance <= gap + width)
    return result


def contrast(
    frame: np.ndarray, mask: np.ndarray, gap: int = RING_GAP, width: int = RING_WIDTH, saturation: float | None = None
) -> dict[str, float]:
    """Return nbr = mean(nerve) / mean(ring) and cnr = (mean(nerve) - mean(ring)) / SD(ring), NaN where undefined.

    Parameters
    ----------
    frame
        Grey (Y, X) or colour (Y, X, C) frame; the mean of the channels counts.
    mask
        Nerve (Y, X).
    gap, width
        The `ring` of background in pixels.
    saturation
        Pixels with a channel at or above this are left out; default the type's maximum, none for fractions.
    """
    if saturation is None:
        saturation = float(np.iinfo(frame.dtype).max) if frame.dtype.kind in "ui" else np.inf
    nerve = _unsaturated(frame, mask, saturation)
    background = _unsaturated(frame, ring(mask, gap, width), saturation)
    if not len(nerve) or not len(background):
        return {"nbr": np.nan, "cnr": np.nan}
    inside, outside, spread = float(nerve.mean()), float(background.mean()), float(background.std())
    return {
        "nbr": inside / outside if outside > 0 else np.nan,
        "cnr": (inside - outside) / spread if spread > 0 else np.nan,
    }


def flicker(areas: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Return how unsteady the mask is: `flicker` and `switches`.

    flicker is the mean of |A(t+1) - A(t)| / max(A(t), A(t+1)) over neighbouring frames with nerve in either (0 steady,
    1 on and off in every frame); switches counts the changes between frames with and without nerve.
    """
    a = np.asarray(areas, float)
    larger = np.maximum(a[1:], a[:-1])
    changes = np.abs(np.diff(a))[larger > 0] / larger[larger > 0]
    return {
        "flicker": float(changes.mean()) if len(changes) else 0.0,
        "switches": int(np.count_nonzero(np.diff(a > 0))),
    }


def intervals(present: Sequence[bool] | np.ndarray, step: float = 0.0, times: np.ndarray | None = None) -> pd.DataFrame:
    """Return runs of frames with nerve: start and stop (first and last row) and, with `step` seconds, their times.

    ``stop_s`` is the end of the last frame, so that ``stop_s - start_s`` is the duration. `times` (N,) are the frames'
    own times in seconds, where they are not evenly spaced or do not begin at 0; the last frame lasts a `step`.
    """
    flags = np.concatenate([[False], np.asarray(present, bool), [False]]).astype(np.int8)
    changes = np.diff(flags)
    starts, stops = np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)
    result = pd.DataFrame({"start": starts, "stop": stops - 1, "frames": stops - starts})
    if step:
        ends = np.arange(len(flags) - 1) * step if times is None else np.append(times, times[-1:] + step)
        result["start_s"], result["stop_s"] = ends[starts], ends[stops]
    return result


def seconds_of(found: pd.DataFrame) -> float:
    """Return the length of all intervals together."""
    return float((found["stop_s"] - found["start_s"]).sum())


def _unsaturated(frame: np.ndarray, where: np.ndarray, saturation: float) -> np.ndarray:
    values = frame.reshape(where.size, -1)[np.flatnonzero(where)].T
    kept = values[:, (values < saturation).all(0)]
    return np.asarray(kept.mean(0, dtype=np.float64))


def _box(rows: np.ndarray, columns: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Return the bounding box of what `rows` and `columns` (projections) hold, enlarged within the frame."""
    y, x = np.flatnonzero(rows), np.flatnonzero(columns)
    return (
        slice(max(int(y[0]) - margin, 0), int(y[-1]) + margin + 1),
        slice(max(int(x[0]) - margin, 0), int(x[-1]) + margin + 1),
    )


def _frames(image: Image) -> Any:
    return image.data if "T" in image.axes else image.data[None]


def _frame(image: Image, k: int) -> np.ndarray:
    """Return frame `k` of a movie, (Y, X) or (Y, X, C), wherever its axes of time and colour are."""
    axes, frame = image.axes, image.data
    if "T" in axes:
        frame = frame[(slice(None),) * axes.index("T") + (k,)]
        axes = axes.replace("T", "")
    return np.moveaxis(np.asarray(frame), axes.index("C"), -1) if "C" in axes else np.asarray(frame)


def _step(image: Image) -> float:
    return image.scale[0] if image.axes.startswith("T") and image.units[0] == "second" else 0.0


def _times(labels: Image, image: Image | None) -> np.ndarray | None:
    """Return the time of each frame in seconds (T,), its own or by the time step; ``None`` if unknown."""
    n = labels.spatial_shape[0] if "T" in labels.axes else 1
    for one in (image, labels):
        own = one.metadata.get("video", {}).get("times") if one is not None else None
        if own is not None and len(own) == n:
            return np.asarray(own, float)
    timed = next((one for one in (labels, image) if one is not None and _step(one)), None)
    if timed is None:
        return None
    first = 0.0 if timed.affine is None else float(timed.affine[0, -1])
    return first + np.arange(n) * _step(timed)


def area_of(pixels: float, image: Image) -> dict[str, float]:
    """Return the area of some pixels of an image as a column, ``mask_area_um2``; none where their size is unknown."""
    if PIXEL in image.units[-2:] or image.units[-1] != image.units[-2]:
        return {}
    unit = SHORT_UNITS.get(image.units[-1], image.units[-1])
    return {f"mask_area_{unit}2": pixels * image.scale[-1] * image.scale[-2]}
