"""File > Open Sample: one generated sample per kind, offline."""

from __future__ import annotations

from typing import Any

from napari_medseg._napari.layers import layer_data
from napari_medseg.samples import load_sample


def _layers(name: str) -> list[tuple[Any, dict[str, Any], str]]:
    marked = [image.replace(metadata={**image.metadata, "generated": name != "ihc"}) for image in load_sample(name)]
    return [layer_data(image) for image in marked]


def afm() -> list[Any]:
    """Cells on glass under the atomic force microscope, with their mask."""
    return _layers("afm")


def ccm() -> list[Any]:
    """Corneal nerves with their exact mask."""
    return _layers("ccm")


def glands() -> list[Any]:
    """Stained tissue with glands."""
    return _layers("glands")


def histology() -> list[Any]:
    """Stained tissue."""
    return _layers("histology")


def ihc() -> list[Any]:
    """Immunohistochemistry of colon tissue, bundled with scikit-image."""
    return _layers("ihc")


def mri() -> list[Any]:
    """A brain-like volume with a lesion and its mask."""
    return _layers("mri")


def video() -> list[Any]:
    """A movie with a nerve in part of its frames."""
    return _layers("video")
