"""Measurements of each field as tables with units in the headers, and metrics against a reference."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import numpy as np

from napari_medseg.errors import SettingsError
from napari_medseg.image import Image
from napari_medseg.io.geometry import in_order, in_picture, measurable
from napari_medseg.io.grids import together
from napari_medseg.measure.settings import SETTINGS
from napari_medseg.settings import Settings

if TYPE_CHECKING:
    from pandas import DataFrame

FROM_FIRST_PIXEL = ("nuclei", "afm")  # kinds whose centroids count from the first pixel, not in the world
KINDS = ("nerve", "nuclei", "afm", "video", "volume")


def measure(kind: str, labels: Image, image: Image | None = None, settings: Settings | None = None) -> DataFrame:
    """Return one row per object of a label image.

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
        If there is no such kind, or the voxels of image and labels do not coincide.
    """
    labels, image = _together(labels, image)
    frame: DataFrame = _module(kind).table(labels, image, **_given(kind, settings))
    return _in_picture(frame, labels) if kind in FROM_FIRST_PIXEL else frame


def summarise(kind: str, labels: Image, image: Image | None = None, settings: Settings | None = None) -> DataFrame:
    """Return one row for the whole image."""
    labels, image = _together(labels, image)
    frame: DataFrame = _module(kind).summary(labels, image, **_given(kind, settings))
    return frame


def measured_labels(kind: str, labels: Image) -> Image:
    """Return the labels whose values are the table's ``label`` column (AFM masks are split into cells)."""
    module = _module(kind)
    if not hasattr(module, "instances"):
        return labels
    found = module.instances(labels)
    return labels.replace(data=found.astype("int32"))


def _together(labels: Image, image: Image | None) -> tuple[Image, Image | None]:
    labels, image = (in_order(labels), None) if image is None else together(labels, image)
    return measurable(labels), None if image is None else measurable(image)


def _in_picture(frame: DataFrame, labels: Image) -> DataFrame:
    """Let the centroids of labels that are a part of a picture count from the first pixel of the picture."""
    matrix = in_picture(labels)
    names = [str(name) for name in frame if str(name).startswith("centroid")][-2:]
    if len(names) != 2 or np.array_equal(matrix, np.eye(3)):
        return frame
    centres = frame[names].to_numpy(float) / labels.scale
    y, x = ((centres @ matrix[:2, :2].T + matrix[:2, 2]) * labels.scale).T
    return frame.assign(**{names[0]: y, names[1]: x})


def _given(kind: str, settings: Settings | None) -> dict[str, Settings]:
    return {} if settings is None or kind not in SETTINGS else {"settings": settings}


def _module(kind: str):  # type: ignore[no-untyped-def]
    if kind not in KINDS:
        raise SettingsError(f"There is no measurement {kind!r}. Known kinds: {', '.join(KINDS)}.")
    return importlib.import_module(f"napari_medseg.measure.{kind}")
