"""napari readers and writers: hand over to `napari_medseg.io` and shape the answer as layers; outlines are Shapes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import napari.layers
import numpy as np
import pandas as pd
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QTimer

from napari_medseg._napari.belonging import take_place
from napari_medseg._napari.colours import ORANGE
from napari_medseg._napari.drawn import in_pixels
from napari_medseg._napari.layers import (
    AXES,
    FLAT,
    geometry,
    image_from_layer,
    image_layers,
    label_layers,
    layer_data,
    like,
    metadata,
)
from napari_medseg._napari.nerves.tracings import shapes_data
from napari_medseg._napari.planes import acquired, show_plane
from napari_medseg._napari.world import in_other, world_of
from napari_medseg.errors import MedSegError, ReadError, WriteError
from napari_medseg.image import Image
from napari_medseg.io import READERS, as_labels, histology, read, reader_for, write
from napari_medseg.io.files import disk_errors, file_stem, parse_json, portable
from napari_medseg.io.outlines.geojson import write_regions
from napari_medseg.io.outlines.polygons import Overlap, Region, ellipse, number_of, rasterise
from napari_medseg.io.pairs import is_label, lies_among_labels
from napari_medseg.io.tiff.files import read_with
from napari_medseg.io.volumes.dicom import series_of
from napari_medseg.io.write import write_table
from napari_medseg.measure.labels import facts_of_objects

KEPT = (
    "name", "metadata", "features", "scale", "translate", "rotate", "shear", "affine", "units", "axis_labels",
)  # fmt: skip
OUTLINES = (".xml", ".geojson", ".json")
LayerData = tuple[Any, dict[str, Any], str]
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


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer where it lies, with its provenance, and its table as CSV beside it."""
    layer = napari.layers.Labels(data, **{name: attributes[name] for name in KEPT if name in attributes})
    image = image_from_layer(layer)
    provenance = {"medseg": layer.metadata["medseg"]} if "medseg" in layer.metadata else {}
    image = image.replace(metadata={**image.metadata, **provenance, **facts_of_objects(image, layer.features)})
    written = [str(write(Path(path), image))]
    if len(layer.features.columns):
        table = Path(path).with_name(file_stem(Path(path)) + "_table.csv")
        write_table(table, layer.features)
        written.append(str(table))
    return written


def write_several(path: str, layers: Sequence[LayerData]) -> list[str]:
    """Write several label layers into a folder of their names."""
    folder = Path(path)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    written: list[str] = []
    for data, attributes, kind in layers:
        if kind != "labels":
            raise MedSegError(f"{attributes.get('name')} is an {kind} layer; only Labels layers are written here.")
        written += write_labels(str(folder / f"{portable(str(attributes['name']))}_labels.tif"), data, attributes)
    return written


EDGE_PX = 2.0
MANY = 20_000  # napari draws no more polygons at a bearable pace
OPEN = {"path", "line"}
TABLE = ("name", "class", "id", "type", "measurements", "cell")


def outlines_data(path: Path) -> tuple[Any, dict[str, Any], str] | None:
    """Return the Shapes layer of an annotation file; ``None`` if it holds too many or no outlines.

    Every ring is a polygon; the features say which object it belongs to, so that holes are kept.
    """
    drawing = histology.read_regions(path)
    grid = histology.grid_beside(path, drawing)
    drawing = histology.onto(path, drawing, grid)
    rings = [(k, region, ring) for k, region in enumerate(drawing.regions, 1) for ring in region.rings]
    if not 0 < len(rings) <= MANY or len({region.plane for region in drawing.regions}) > 1:
        return None
    columns = ["object", "name", "class", "id", "type", "measurements", "cell"]
    table = [(region.number or k, region.name, region.group, *_facts(region)) for k, region, _ in rings]
    kwargs = {
        **geometry(grid),
        "name": path.stem,
        "shape_type": "polygon",
        "edge_width": EDGE_PX,
        "edge_color": ORANGE,
        "face_color": "transparent",
        "features": pd.DataFrame(table, columns=columns),
        "feature_defaults": {"object": 0, **dict.fromkeys(columns[1:], "")},
        "metadata": {**metadata(grid), "medseg_shape": grid.spatial_shape},
    }
    return [np.asarray(ring, float) for _, _, ring in rings], kwargs, "shapes"


def _facts(region: Region) -> tuple[str, str, str, str]:
    """Return id, kind, measurements and the cell around a region as text for the table of a layer."""
    numbers = region.properties.get("measurements")
    cell = [ring.tolist() for ring in region.around]
    return region.identity, region.kind, json.dumps(numbers) if numbers else "", json.dumps(cell) if cell else ""


def _region(rings: Sequence[np.ndarray], facts: dict[str, str], plane: tuple[int, int]) -> Region:
    """Return the object of some rings in a plane, with what the table says of it."""
    properties = {"objectType": facts["type"]} if facts["type"] else {}
    known = {}
    for column in ("measurements", "cell"):
        with suppress(ValueError):
            known[column] = parse_json(facts[column]) if facts[column] else None
    properties |= {"measurements": known["measurements"]} if known.get("measurements") else {}
    around = tuple(np.asarray(ring, float) for ring in known.get("cell") or ())
    number = number_of(facts["name"])
    return Region(
        tuple(np.asarray(ring)[:, -2:] for ring in rings), facts["name"], facts["class"], properties,
        number=number, plane=plane, around=around, identity=facts["id"],
    )  # fmt: skip


def regions_of(
    data: Sequence[np.ndarray], kinds: Sequence[str], features: pd.DataFrame, name: str, axes: str = AXES
) -> list[Region]:
    """Return the objects of closed shapes; polygons of one ``object`` (other than 0) are one, with its holes.

    Parameters
    ----------
    data
        Corners (n, k) in pixels, k = 2 to 4.
    kinds, features, name
        Of the layer that holds them.
    axes
        Letters of the axes, of which the last k count.

    Raises
    ------
    WriteError
        If there are lines or paths, or a shape lies in several planes.
    """
    if set(kinds) & OPEN:
        raise WriteError(f"{name} holds paths or lines; outlines are polygons, rectangles and ellipses. Remove these.")
    rings = [ellipse(points) if kind == "ellipse" else points for points, kind in zip(data, kinds, strict=True)]
    planes = [_plane(np.asarray(ring, float), axes, name) for ring in rings]
    n = len(rings)
    column = {key: list(features[key]) if key in features else [""] * n for key in ("object", *TABLE)}
    groups: dict[Any, list[int]] = {}
    for k, key in enumerate(column["object"]):
        one = ("drawn", k) if key in ("", 0) or pd.isna(key) else key
        groups.setdefault((one, planes[k]), []).append(k)
    return [
        _region([rings[k] for k in group], {key: _text(column[key][group[0]]) for key in TABLE}, plane)
        for (_, plane), group in groups.items()
    ]


def _plane(ring: np.ndarray, axes: str, name: str) -> tuple[int, int]:
    """Return the frame and slice (t, z) that a ring lies in."""
    before = ring[:, :-2]
    if np.ptp(before, axis=0).max(initial=0) > FLAT:
        raise WriteError(f"{name} holds a shape that reaches through several planes; outlines are flat. Remove it.")
    at = dict(zip(axes[-ring.shape[1] :], np.rint(before[0]).astype(int), strict=False))
    return int(at.get("T", 0)), int(at.get("Z", 0))


def _text(value: Any) -> str:
    return "" if value is None or value is pd.NA or value != value else str(value)


def write_outlines(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Shapes layer of closed shapes as QuPath annotations, in the pixels of the picture below it.

    Raises
    ------
    WriteError
        If the layer holds paths, it is not clear whose pixels it counts, or the place is not writable.
    """
    kinds = attributes.get("shape_type", "polygon")
    kinds = [kinds] * len(data) if isinstance(kinds, str) else list(kinds)
    features = pd.DataFrame(attributes.get("features", {}))
    drawn, _ = in_pixels(data, attributes)
    axes = "".join(str(label).upper() for label in attributes.get("axis_labels") or ())
    axes = axes if len(axes) > 2 and set(axes) <= set(AXES) else AXES
    write_regions(Path(path), regions_of(drawn, kinds, features, str(attributes.get("name")), axes))
    return [str(Path(path))]


def outlines_to_labels(
    outlines: napari.layers.Shapes, image: napari.layers.Image, overlap: Overlap = "first"
) -> LayerData:
    """Draw outlines as labels of an image's size; `overlap` says whether the first or last outline keeps a pixel.

    Outlines without depth or time, over a volume or a movie, become labels of one plane.
    """
    source: Image = image_from_layer(image)
    shape = source.spatial_shape[-2:]
    counted = _counts_pixels(outlines, shape)
    whole = outlines.ndim >= image.ndim > 2 and not counted
    drawn = outlines.data
    if not counted:
        drawn = [in_other(outlines, ring, image)[:, 0 if whole else -2 :] for ring in drawn]
    regions = regions_of(drawn, list(outlines.shape_type), outlines.features, outlines.name, source.spatial_axes)
    name = {"name": f"{outlines.name} · labels"}
    if whole:
        return _in_planes(regions, source, overlap), {**like(image), **name}, "labels"
    labels = rasterise(regions, (shape[0], shape[1]), overlap)
    return labels, {**(like(image) if image.ndim == 2 else _last_two(image)), **name}, "labels"


def _in_planes(regions: Sequence[Region], source: Image, overlap: Overlap) -> np.ndarray:
    """Return labels of the size of an image whose regions lie in its planes; no two planes share a number."""
    labels = np.zeros(source.spatial_shape, np.uint32)
    height, width = source.spatial_shape[-2:]
    for plane in sorted({region.plane for region in regions}):
        at = dict(zip("TZ", plane, strict=True))
        index = tuple(at[axis] for axis in source.spatial_axes[:-2])
        if all(0 <= k < n for k, n in zip(index, labels.shape, strict=False)):
            found = rasterise([r for r in regions if r.plane == plane], (height, width), overlap)
            labels[index] = np.where(found, found + labels.max(), 0)
    return labels


def _last_two(layer: napari.layers.Layer) -> dict[str, Any]:
    """Return the layer arguments that put a picture onto the last two axes of a layer."""
    scale = np.asarray(layer.scale)[-2:]
    affine = world_of(layer)[-3:, -3:] @ np.diag([*(1 / scale), 1.0])
    return {"scale": scale, "affine": affine, "units": layer.units[-2:], "axis_labels": layer.axis_labels[-2:]}


def _counts_pixels(outlines: napari.layers.Shapes, shape: tuple[int, ...]) -> bool:
    """Whether outlines are of a file, which count the pixels of a picture of this size."""
    return tuple(outlines.metadata.get("medseg_shape", ()))[-2:] == shape
