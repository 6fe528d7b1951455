"""Measurements of labelled volumes: mL, surface, position and intensity of each label; units are in the headers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from napari_medseg.errors import DataError
from napari_medseg.image import ML_PER_MM3, SEGMENT_NAMES, SHORT_UNITS, Image
from napari_medseg.io.outlines.polygons import boxes_of


def table(labels: Image, image: Image | None = None) -> pd.DataFrame:
    """Return one row per label of a ``ZYX`` or ``YX`` label image.

    Columns: label; its name, where the file names its segments; voxels; volume (mL when the image is in mm, else
    unit^3; an area in 2D); surface area (marching cubes; a contour length in 2D); centroid per axis in the world
    (affine, or scale); bounding box per axis as first and last index; mean and standard deviation of the
    measured (`Image.measured`) intensities per channel of `image`.

    Raises
    ------
    DataError
        If `labels` has other axes, or `image` another size.
    """
    _check(labels, image)
    data = _integers(labels)
    columns = _Columns(labels)
    rows = []
    for label, box in boxes_of(data):
        mask = data[box] == label
        rows.append({"label": label, **columns.geometry(mask, box), **_intensity(mask, box, image)})
    empty = {"label": 0, **columns.geometry(np.zeros((1,) * data.ndim, bool), (slice(0, 1),) * data.ndim)}
    names = list(rows[0]) if rows else [*empty, *_intensity(np.zeros((1,) * data.ndim, bool), None, image)]
    frame = pd.DataFrame(rows, columns=names)
    if segments := labels.metadata.get(SEGMENT_NAMES):
        frame.insert(1, "name", [segments.get(str(label), "") for label in frame["label"]])
    return frame


def summary(labels: Image, image: Image | None = None) -> pd.DataFrame:
    """Return one row for the whole image: number of labels, total and largest size, total surface."""
    rows = table(labels, image)
    columns = _Columns(labels)
    size = rows[columns.size]
    return pd.DataFrame([{
        "objects": len(rows), "voxels": int(rows["voxels"].sum()), columns.size: float(size.sum()),
        f"largest {columns.size}": float(size.max()) if len(rows) else 0.0,
        columns.surface: float(rows[columns.surface].sum()),
    }])  # fmt: skip


class _Columns:
    """Names and values of the geometric columns of one label image."""

    def __init__(self, labels: Image) -> None:
        self.axes, self.steps = labels.spatial_axes.lower(), labels.steps
        self.affine = np.asarray(labels.affine) if labels.affine is not None else np.diag([*labels.scale, 1.0])
        unit = SHORT_UNITS.get(labels.units[-1], labels.units[-1])
        n = len(self.axes)
        millilitres = n == 3 and set(labels.units) == {"millimeter"}
        self.factor = labels.element_size * (ML_PER_MM3 if millilitres else 1.0)
        self.size = "volume (mL)" if millilitres else f"{'volume' if n == 3 else 'area'} ({unit}^{n})"
        self.surface = f"surface area ({unit}^2)" if n == 3 else f"contour length ({unit})"
        self.unit = unit

    def geometry(self, mask: np.ndarray, box: tuple[slice, ...]) -> dict[str, float]:
        """Return size, surface, centroid and bounding box of `mask`, which lies at `box`."""
        voxels = int(mask.sum())
        offset = np.array([s.start for s in box])
        centre = np.argwhere(mask).mean(0) + offset if voxels else offset.astype(float)
        world = self.affine[:-1, :-1] @ centre + self.affine[:-1, -1]
        row: dict[str, float] = {
            "voxels": voxels, self.size: voxels * self.factor, self.surface: surface_area(mask, self.steps),
        }  # fmt: skip
        row |= {f"centroid {a} ({self.unit})": float(c) for a, c in zip(self.axes, world, strict=True)}
        for axis, part in zip(self.axes, box, strict=True):
            row |= {f"first {axis}": int(part.start), f"last {axis}": int(part.stop) - 1}
        return row


def surface_area(mask: np.ndarray, spacing: Sequence[float] | np.ndarray) -> float:
    """Return the area of the marching-cubes surface of a 3D mask, or the length of the contours of a 2D one.

    `spacing` is the step of each axis, or the matrix (n, n) of `Image.steps`.
    """
    if not mask.any():
        return 0.0
    from skimage import measure

    steps = np.diag(spacing) if np.ndim(spacing) == 1 else np.asarray(spacing)
    padded = np.pad(mask, 1).astype(np.float32)
    if mask.ndim == 3:
        vertices, faces, _, _ = measure.marching_cubes(padded, 0.5)
        return float(measure.mesh_surface_area(vertices @ steps.T, faces))
    contours = measure.find_contours(padded, 0.5)
    return float(sum(np.linalg.norm(np.diff(c @ steps.T, axis=0), axis=1).sum() for c in contours))


def _intensity(mask: np.ndarray, box: tuple[slice, ...] | None, image: Image | None) -> dict[str, float]:
    """Return mean and SD of each channel over an object, whose `mask` fills its `box`."""
    if image is None:
        return {}
    named = len(set(image.channels)) == image.n_channels > 1
    names = image.channels if named else range(image.n_channels)
    row: dict[str, float] = {}
    for name, channel in zip(names, image.channels_first(), strict=True):
        values = np.asarray(channel[box])[mask] if box is not None else np.empty(0)
        values = values[image.measured(values)].astype(float)
        ending = (f" {name}" if image.n_channels > 1 else "") + (f" ({image.value_unit})" if image.value_unit else "")
        row[f"mean intensity{ending}"] = float(values.mean()) if values.size else float("nan")
        row[f"SD intensity{ending}"] = float(values.std()) if values.size else float("nan")
    return row


def _integers(labels: Image) -> np.ndarray:
    data = np.asarray(labels.data)
    if data.dtype.kind == "b":
        return data.astype(np.uint8)
    if data.dtype.kind not in "ui":
        raise DataError(f"{labels.name or 'The label image'} holds {data.dtype}, not labels. Give whole numbers.")
    return data.astype(np.int64) if data.dtype == np.uint64 else data


def _check(labels: Image, image: Image | None) -> None:
    """Refuse axes that are no volume or plane, and an image of another size."""
    if labels.axes not in ("ZYX", "YX"):
        raise DataError(
            f"Volumes are measured on ZYX or YX labels; {labels.name!r} has axes {labels.axes}. Take one time point: "
            "--time N, or in napari right-click the layer, Split Stack."
        )
    if image is not None and image.spatial_shape != labels.spatial_shape:
        raise DataError(
            f"The labels are {labels.spatial_shape} but the image is {image.spatial_shape}. Give the image that was "
            "segmented."
        )
