"""napari readers: hand over to `napari_medseg.io` and shape the answer as layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import napari.layers
import numpy as np
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QTimer

from napari_medseg._napari.belonging import take_place
from napari_medseg._napari.layers import image_from_layer, image_layers, label_layers, layer_data
from napari_medseg._napari.nerves.tracings import shapes_data
from napari_medseg._napari.outline_shapes import LayerData, outlines_data
from napari_medseg._napari.planes import acquired, show_plane
from napari_medseg.errors import MedSegError, ReadError
from napari_medseg.image import Image
from napari_medseg.io import READERS, as_labels, read, reader_for
from napari_medseg.io.pairs import is_label, lies_among_labels
from napari_medseg.io.tiff.files import read_with
from napari_medseg.io.volumes.dicom import series_of

OUTLINES = (".xml", ".geojson", ".json")
Reader = Callable[[str | list[str]], list[LayerData]]
IO = "napari_medseg.io."


def get_reader(path: str | list[str], kinds: Sequence[str] = READERS) -> Reader | None:
    """Return the reader of `path`, or ``None`` when none of the `kinds` of `io.READERS` reads it."""
    paths = [path] if isinstance(path, str) else list(path)
    found = [reader_for(Path(one)) for one in paths]
    known = paths and all(one is not None and one.__name__.removeprefix(IO) in kinds for one in found)
    return open_layers if known else None


def get_afm_reader(path: str | list[str]) -> Reader | None:
    """Return the reader of scans of atomic force microscopes."""
    return get_reader(path, ("afm.reader",))


def get_volume_reader(path: str | list[str]) -> Reader | None:
    """Return the reader of medical volumes: NIfTI, NRRD, MetaImage, DICOM files with or without suffix, and folders."""
    return get_reader(path, ("volumes.reader",))


def get_slide_reader(path: str | list[str]) -> Reader | None:
    """Return the reader of whole slides, their pyramids and annotations."""
    return get_reader(path, ("histology", "ome_zarr"))


def get_movie_reader(path: str | list[str]) -> Reader | None:
    """Return the reader of movies and folders of frames."""
    return get_reader(path, ("movies.reader",))


def get_nerve_reader(path: str | list[str]) -> Reader | None:
    """Return the reader of corneal images and nerve tracings."""
    return get_reader(path, ("ccm",))


def open_layers(path: str | list[str]) -> list[LayerData]:
    """Read files as layers; a file that cannot be read is said in a sentence, a volume is shown upright."""
    viewer = napari.current_viewer()
    try:
        layers = read_layers(path)
    except MedSegError as error:
        if viewer is None:
            raise
        show_error(str(error))
        return [(None,)]  # napari's word for: nothing to add
    if viewer is not None:
        QTimer.singleShot(0, lambda: _put_in_place(viewer))
    if viewer is not None and not viewer.layers:
        QTimer.singleShot(0, lambda: _show_upright(viewer))
    return layers


def _put_in_place(viewer: Any) -> None:
    """Put what states no place, or no pixel size, onto what it belongs to, and say so."""
    for layer in image_layers(viewer) + label_layers(viewer):
        with suppress(MedSegError):
            if said := take_place(viewer, layer, image_from_layer(layer)):
                show_info(f"{layer.name}: {said}")


def _show_upright(viewer: Any) -> None:
    """Show the first volume in the plane of its slices, upright."""
    layer = next(iter(viewer.layers), None)
    plane = None if layer is None else acquired(layer)
    if plane is not None and viewer is napari.current_viewer():
        show_plane(viewer, layer, plane)


def read_layers(path: str | list[str]) -> list[LayerData]:
    """Read files as layers: tracings and outlines as Shapes; of a many-channel scan only the first is visible.

    Each file of a DICOM series stands for the whole series, which is opened once: files of a series that is open
    already add no layer. So does each file of an OME-TIFF of many, whose images are opened once each.
    """
    layers: list[LayerData] = []
    opened = _open_series()
    known = len(opened)
    done: set[Path] = set()
    for one in [path] if isinstance(path, str) else path:
        if Path(one) in done:
            continue
        done |= set(read_with(Path(one)))
        if opened and (series_of(Path(one)), str(Path(one).parent)) in opened:
            continue
        outlined = outlines_data(Path(one)) if Path(one).suffix.lower() in OUTLINES else None
        if outlined is not None:
            layers.append(outlined)
            continue
        images = read(one)
        opened |= {(image.metadata.get("series", ""), image.metadata.get("source_file", "")) for image in images}
        if is_label(Path(one)) or lies_among_labels(Path(one)):  # of a palette the numbers, not the colours
            images = [image for image in images if image.kind == "labels"] or images
        for index, image in enumerate(images):
            image = image.replace(metadata={"source_file": str(one), **image.metadata})
            if is_label(Path(one)) or lies_among_labels(Path(one)):
                image = _labels_if_whole(image)
            if image.kind == "labels" and "paths" in image.metadata:
                layers.append(shapes_data(image.metadata["paths"], image.metadata["classes"], image, image.name))
                continue
            channel = image.channels[0] if len(images) > 1 and len(image.channels) == 1 else ""
            name = image.name if channel in image.name else f"{image.name}_{channel}"
            data, kwargs, kind = layer_data(image, name)
            layers.append((data, {**kwargs, "visible": index == 0}, kind))
    if not layers and known:
        return [(None,)]  # napari's word for: nothing to add
    if not layers:
        raise ReadError(f"{path} holds no image.")
    return layers


def _open_series() -> set[tuple[str, str]]:
    """Return the DICOM series (UID and folder) whose images (not results) the window shows."""
    viewer = napari.current_viewer()
    shown = image_layers(viewer) if viewer is not None else []
    kept = [layer.metadata.get("medseg_image", {}) for layer in shown if "medseg" not in layer.metadata]
    return {(k["series"], k.get("source_file", "")) for k in kept if k.get("series")}


def _labels_if_whole(image: Image) -> Image:
    """Return an image in memory as labels, if it holds whole numbers without colour."""
    if image.kind == "labels" or not isinstance(image.data, np.ndarray):
        return image
    with suppress(MedSegError):
        return as_labels(image)
    return image


def _counts_pixels(outlines: napari.layers.Shapes, shape: tuple[int, ...]) -> bool:
    """Whether outlines are of a file, which count the pixels of a picture of this size."""
    return tuple(outlines.metadata.get("medseg_shape", ()))[-2:] == shape
