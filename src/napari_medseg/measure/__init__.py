"""Measurements of each field as tables with units in the headers, and metrics against a reference."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from napari_medseg.errors import DataError, SettingsError
from napari_medseg.image import Image

if TYPE_CHECKING:
    from pandas import DataFrame

KINDS = ("nerve", "nuclei", "afm", "video", "volume")


def measure(kind: str, labels: Image, image: Image | None = None) -> DataFrame:
    """Return one row per object of a label image.

    Parameters
    ----------
    kind
        One of `KINDS`.
    labels, image
        Label image (*spatial) and, for intensities or heights, the image it belongs to.

    Raises
    ------
    SettingsError, DataError
        If there is no such kind, or image and labels are of different size.
    """
    frame: DataFrame = _module(kind, labels, image).table(labels, image)
    return frame


def summarise(kind: str, labels: Image, image: Image | None = None) -> DataFrame:
    """Return one row for the whole image."""
    frame: DataFrame = _module(kind, labels, image).summary(labels, image)
    return frame


def measured_labels(kind: str, labels: Image) -> Image:
    """Return the labels whose values are the table's ``label`` column (AFM masks are split into cells)."""
    module = _module(kind, labels, None)
    if not hasattr(module, "instances"):
        return labels
    found = module.instances(labels)
    return labels.replace(data=found.astype("int32"))


def _module(kind: str, labels: Image, image: Image | None):  # type: ignore[no-untyped-def]
    if kind not in KINDS:
        raise SettingsError(f"There is no measurement {kind!r}. Known kinds: {', '.join(KINDS)}.")
    if image is not None and image.spatial_shape != labels.spatial_shape:
        raise DataError(
            f"The labels {labels.name!r} are {labels.spatial_shape} but the image {image.name!r} is "
            f"{image.spatial_shape}. Give the image that was segmented."
        )
    return importlib.import_module(f"napari_medseg.measure.{kind}")
