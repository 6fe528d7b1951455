"""Measurements of each field as tables with units in the headers, and metrics against a reference."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from napari_medseg.errors import DataError, SettingsError
from napari_medseg.image import OBJECTS, Image
from napari_medseg.io.geometry import in_order, in_picture, measurable
from napari_medseg.io.grids import together
from napari_medseg.io.volumes.space import at_time
from napari_medseg.measure.settings import SETTINGS
from napari_medseg.settings import Settings

if TYPE_CHECKING:
    from pandas import DataFrame

FLAT = ("nuclei", "afm")  # of one plane, a movie frame by frame; centroids count from the first pixel, not in the world
KINDS = ("nerve", "nuclei", "afm", "video", "volume")
SHEARED = 1e-3  # share of an area by which axes may be off right angles where lengths are taken along the axes


def measure(kind: str, labels: Image, image: Image | None = None, settings: Settings | None = None) -> DataFrame:
    """Return one row per object of a label image; of a movie of `FLAT` kinds one per object and frame, frames from 0.

    Parameters
    ----------
    kind
        One of `KINDS`.
    labels, image
        Label image (*spatial) and, for intensities or heights, the image it belongs to.
    settings
        Of kinds that have some (`napari_medseg.measure.settings.SETTINGS`).

    Raises
    ------
    SettingsError, DataError
        If there is no such kind, labels are negative, their axes are not at right angles (but for volumes), or the
        voxels of image and labels do not coincide.
    """
    labels, image = _together(kind, labels, image)
    if "T" in labels.axes and kind in FLAT:
        return _joined([measure(kind, one, picture, settings) for one, picture in _frames(kind, labels, image)])
    frame: DataFrame = _module(kind).table(labels, image, **_given(kind, settings))
    return _in_picture(frame, labels) if kind in FLAT else frame


def summarise(kind: str, labels: Image, image: Image | None = None, settings: Settings | None = None) -> DataFrame:
    """Return one row for the whole image; of a movie measured frame by frame one for each frame."""
    labels, image = _together(kind, labels, image)
    if "T" in labels.axes and kind in FLAT:
        return _joined([summarise(kind, one, picture, settings) for one, picture in _frames(kind, labels, image)])
    frame: DataFrame = _module(kind).summary(labels, image, **_given(kind, settings))
    return frame


def assumed(kind: str, image: Image | None) -> list[str]:
    """Say what a measurement assumes of an image that its file does not state.

    Raises
    ------
    DataError
        If that cannot be known.
    """
    module = _module(kind)
    return list(module.assumed(image)) if image is not None and hasattr(module, "assumed") else []


def measured_labels(kind: str, labels: Image) -> Image:
    """Return the labels whose values are the table's ``label`` column (AFM masks are split into cells).

    They say so of themselves, so that what is one object stays one. Of a movie each frame is split by itself, and no
    two frames of a mask share a value. Their axes are in the order time, depth, height, width.

    Raises
    ------
    DataError
        If labels are negative.
    """
    from napari_medseg.measure.labels import refuse_negative  # brings scipy

    module, labels = _module(kind), in_order(labels)
    refuse_negative(labels)
    if not hasattr(module, "instances"):
        return labels
    found, known = _objects(kind, labels), {**labels.metadata, OBJECTS: True}
    fits = found.max(initial=0) <= np.iinfo(np.int32).max
    return labels.replace(data=found.astype(np.int32 if fits else np.int64), metadata=known)


def _objects(kind: str, labels: Image) -> np.ndarray:
    """Return the values that `measure` lists, of the shape of `labels`; no two frames of masks share one."""
    ids = np.unique(labels.data)
    if "T" not in labels.axes or labels.metadata.get(OBJECTS) or len(ids[ids != 0]) > 1:
        return np.asarray(_module(kind).instances(labels) if "T" not in labels.axes else labels.data)
    frames, last = [], 0
    for time in range(labels.spatial_shape[0]):
        found = np.asarray(_module(kind).instances(at_time(labels, time)))
        frames.append(np.where(found, found + last, 0))
        last = max(last, int(frames[-1].max(initial=0)))
    return np.stack(frames)


def _frames(kind: str, labels: Image, image: Image | None) -> Iterator[tuple[Image, Image | None]]:
    """Yield the frames of labels and, where there is one, of the image; values are the same objects throughout."""
    labels = measured_labels(kind, labels)
    for time in range(labels.spatial_shape[labels.spatial_axes.index("T")]):
        timed = image is not None and "T" in image.axes
        yield at_time(labels, time), at_time(image, time) if image is not None and timed else image


def _joined(frames: list[DataFrame]) -> DataFrame:
    """Join tables of the frames of a movie; the first column says which frame a row is of."""
    import pandas as pd

    for time, frame in enumerate(frames):
        frame.insert(0, "frame", time)
    return pd.concat([one for one in frames if len(one)] or frames[:1], ignore_index=True)


def _together(kind: str, labels: Image, image: Image | None) -> tuple[Image, Image | None]:
    """Return labels and image on one grid, axes in the usual order; refuse a sheared one, but for volumes."""
    from napari_medseg.measure.labels import refuse_negative  # brings scipy

    refuse_negative(labels)
    labels, image = (in_order(labels), None) if image is None else together(labels, image)
    labels = measurable(labels)
    along = float(np.prod(labels.scale))
    if kind != "volume" and labels.element_size < along * (1 - SHEARED):
        raise DataError(
            f"The axes of {labels.name or 'the labels'} are not at right angles (a pixel is "
            f"{labels.element_size / along:.3g} of its sides' product): lengths cannot be taken along them. Take the "
            "shear from the layer, or resample labels and image onto a rectangular grid."
        )
    return labels, None if image is None else measurable(image)


def _in_picture(frame: DataFrame, labels: Image) -> DataFrame:
    """Let the centroids of labels that are a part of a picture count from the first pixel of the picture."""
    matrix = in_picture(labels)
    names = [str(name) for name in frame if str(name).startswith("centroid")][-2:]
    if len(names) != 2 or np.array_equal(matrix, np.eye(3)):
        return frame
    centres = frame[names].to_numpy(float) / labels.scale
    steps = labels.scale / np.linalg.norm(matrix[:2, :2], axis=0)  # of the picture, whose level they may be
    y, x = ((centres @ matrix[:2, :2].T + matrix[:2, 2]) * steps).T
    return frame.assign(**{names[0]: y, names[1]: x})


def _given(kind: str, settings: Settings | None) -> dict[str, Settings]:
    return {} if settings is None or kind not in SETTINGS else {"settings": settings}


def _module(kind: str):  # type: ignore[no-untyped-def]
    if kind not in KINDS:
        raise SettingsError(f"There is no measurement {kind!r}. Known kinds: {', '.join(KINDS)}.")
    return importlib.import_module(f"napari_medseg.measure.{kind}")
