"""Measurements of each field as tables with units in the headers, and metrics against a reference."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from napari_medseg.errors import SettingsError
from napari_medseg.image import Image
from napari_medseg.io.grids import in_order, together

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
        If there is no such kind, or the voxels of image and labels do not coincide.
    """
    labels, image = _together(labels, image)
    frame: DataFrame = _module(kind).table(labels, image)
    return frame


def summarise(kind: str, labels: Image, image: Image | None = None) -> DataFrame:
    """Return one row for the whole image."""
    labels, image = _together(labels, image)
    frame: DataFrame = _module(kind).summary(labels, image)
    return frame


def measured_labels(kind: str, labels: Image) -> Image:
    """Return the labels whose values are the table's ``label`` column (AFM masks are split into cells)."""
    module = _module(kind)
    if not hasattr(module, "instances"):
        return labels
    found = module.instances(labels)
    return labels.replace(data=found.astype("int32"))


def _together(labels: Image, image: Image | None) -> tuple[Image, Image | None]:
    return (in_order(labels), None) if image is None else together(labels, image)


def _module(kind: str):  # type: ignore[no-untyped-def]
    if kind not in KINDS:
        raise SettingsError(f"There is no measurement {kind!r}. Known kinds: {', '.join(KINDS)}.")
    return importlib.import_module(f"napari_medseg.measure.{kind}")
