"""Plain pictures and arrays (png, tif, bmp, jpg, npy): the pixel size is read when stored, never invented."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError, counted
from napari_medseg.image import CALIBRATION, ORIENTATION, PIXEL, WHITE, Image
from napari_medseg.io.files import file_stem
from napari_medseg.io.pictures import (
    REDUCED,
    UPRIGHT,
    as_stored,
    is_reduced,
    open_picture,
    orientation_of,
    refuse_narrow,
    refuse_reduced,
    shown,
)
from napari_medseg.io.sidecar import load, restore
from napari_medseg.io.tiff.calibration import calibration_of
from napari_medseg.io.tiff.colours import MINISWHITE, WHITE_IS_ZERO, colours_last, shown_colours, stated_white
from napari_medseg.io.tiff.files import (
    TIFF_SUFFIXES,
    map_series,
    open_tiff,
    own_order,
    refuse_cut,
    said_of_companion,
)
from napari_medseg.io.tiff.ome import ome_channels, ome_image, states_one_side
from napari_medseg.io.tiff.pages import said_of_others
from napari_medseg.io.tiff.stack import Stack, turn_of, turned
from napari_medseg.io.tiff.steps import NO_PLANE_DISTANCE, ONE_SIDE_STATED, affine_of, place_of, steps_of, with_units

PATTERNS = ("*.png", "*.tif", "*.tiff", "*.bmp", "*.jpg", "*.jpeg", "*.npy")
MAX_BYTES = 2**34
LAZY_BYTES = 2**28
CHECKED_BYTES = 2**26
MAX_RATIO = 5000  # no picture compresses better than this; a header that says so is damaged
PAGES = "The file does not say what its {} pages are: they are taken as slices."


def matches(path: Path) -> bool:
    """Whether this reader takes `path`."""
    return path.is_file() and path.suffix.lower() in {p[1:] for p in PATTERNS}


def is_written(path: Path) -> bool:
    """Whether `napari_medseg.io.write` wrote `path`, as its side-car says."""
    return matches(path) and load(path) is not None


def read(path: Path) -> list[Image]:
    """Read a picture as ``YX``/``YXC``, or a stack as ``ZYX``; a side-car JSON restores what was written.

    Every series of an OME-TIFF is an image. A picture with a palette or transparent grays is read as it is shown, and
    again as its numbers, which may be labels.

    Raises
    ------
    ReadError
        If the file holds no numbers, has no pixels, or declares more than can be true.
    """
    if load(path) is not None:
        restored = restore(_checked(_load(path, raw=True)[0], path).data, path)
        if restored is not None:
            return [restored]
    return [image for stack in _load(path) for image in _images(_checked(stack, path), path)]


def _load(path: Path, raw: bool = False) -> list[Stack]:
    """Return the stacks of a file; `raw`: without turning its numbers into the colours that are shown."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return [Stack(_load_array(path), "", {})]
    return _load_tiff(path, raw) if suffix in TIFF_SUFFIXES else [_load_picture(path, raw)]


def _checked(stack: Stack, path: Path) -> Stack:
    data = stack.data
    if data.dtype.kind not in "buif" or data.ndim < 2 or data.size == 0:
        raise ReadError(f"{path.name} holds {data.dtype} of shape {data.shape}; expected numbers with at least 2 axes.")
    return stack


def _load_array(path: Path) -> np.ndarray:
    with np.errstate(over="raise"):  # a damaged header's shape overflows
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped if mapped.nbytes > LAZY_BYTES else np.array(mapped)


def _load_picture(path: Path, raw: bool) -> Stack:
    """Return gray (Y, X) or colour (Y, X, 3) values, and the numbers of a palette."""
    with open_picture(path) as picture:
        check_size(path, (picture.height, picture.width, len(picture.getbands())), 1)
        if raw:
            return Stack(np.asarray(picture), "YXC"[: np.asarray(picture).ndim], {})
        reduced = is_reduced(picture)
        if reduced and "LA" in str(picture.tile[0][3]):
            refuse_reduced(path.name)
        data, indices, said = shown(picture)
        turn, others = orientation_of(picture), getattr(picture, "n_frames", 1) - 1
    if reduced:
        refuse_narrow(path.name, int(data[..., :3].max(initial=0)))
    notes = (REDUCED, *said) if reduced else said
    if others:  # of an animation, or of a camera with two lenses
        notes = (*notes, f"The file holds {counted(others + 1, 'picture')}, of which the first is read.")
    stack = Stack(data, "YXC"[: data.ndim], {}, notes=notes, indices=None if reduced else indices)
    return stack if turn == UPRIGHT else turned(stack, turn)


def _load_tiff(path: Path, raw: bool) -> list[Stack]:
    """Return the series of an OME-TIFF, else the first series, with what the file states of it."""
    with open_tiff(path) as file:
        if not file.series:
            raise ReadError(f"{path.name} holds no picture. The file is damaged or cut short.")
        refuse_cut(path, file)
        if raw:
            return [Stack(_numbers(path, file, 0), file.series[0].axes.replace("S", "C"), {})]
        order = own_order(path, file)
        notes = said_of_companion(path, file) if file.is_ome else said_of_others(file, order[0])
        many = f"The file holds {len(order)} pictures; where one is wanted, it is this one, the first."
        first, *others = (_series(path, file, k, notes) for k in order)
        return [replace(first, notes=(*first.notes, many)), *others] if others else [first]


def _series(path: Path, file: Any, number: int, notes: tuple[str, ...]) -> Stack:
    """Read one series of a TIFF with all that the file states of it, turned upright."""
    series = file.series[number]
    data, axes = colours_last(_numbers(path, file, number), series.axes)
    data, axes, indices, opaque = shown_colours(path, file, series.keyframe, data, axes)
    described = ome_image(file, number) if file.is_ome else {}
    notes = (*notes, ONE_SIDE_STATED) if states_one_side(described) else notes
    known = calibration_of(file, series.keyframe)
    dark = int(series.keyframe.photometric) == MINISWHITE and not known.reverses
    notes = (*notes, *((WHITE_IS_ZERO,) if dark else ()), *known.notes)
    name = str(described.get("Name", "")) if number else ""
    channels = ome_channels(described) if "C" in axes and not axes.endswith("C") else ()
    steps, white = steps_of(file, number), stated_white(series.keyframe, described)
    place, said = place_of(file, number, steps)
    stack = Stack(
        known.values(data),
        axes,
        steps,
        name,
        channels,
        (*notes, *opaque, *said),
        indices,
        known.unit,
        known.line,
        white,
        place,
    )
    turn = turn_of(file, series.keyframe)
    return stack if turn == UPRIGHT else turned(stack, turn)


def _numbers(path: Path, file: Any, number: int) -> np.ndarray:
    """Return the numbers of a series as they are stored, mapped where they are many."""
    series = file.series[number]
    check_size(path, series.shape, series.dtype.itemsize if series.dtype else 1)
    piece = series.dataoffset is not None
    elsewhere = piece and series.pages[0].parent is not file  # in which case tifffile reads the wrong file
    lazy = piece and (series.nbytes > LAZY_BYTES or elsewhere)
    try:
        numbers: np.ndarray = map_series(series) if lazy else series.asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        numbers = _by_pillow(path, series)
    return numbers


def _by_pillow(path: Path, series: Any) -> np.ndarray:
    """Return the numbers of a picture whose compression tifffile leaves to the package imagecodecs."""
    with open_picture(path) as picture:
        numbers = as_stored(picture)
        if getattr(picture, "n_frames", 1) == 1 and numbers.shape == series.shape and numbers.dtype == series.dtype:
            return numbers
    raise ReadError(
        f"{path.name} is compressed by {series.keyframe.compression.name}, which needs the package imagecodecs. "
        "Install it with: pip install imagecodecs"
    )


def check_size(path: Path, shape: tuple[int, ...], itemsize: int, most: int | None = MAX_BYTES) -> None:
    """Refuse pixels that the file cannot hold, or that are `most` bytes or more, before memory is reserved."""
    size = math.prod(shape) * itemsize
    if (most is not None and size > most) or (size > CHECKED_BYTES and size > MAX_RATIO * path.stat().st_size):
        raise ReadError(
            f"{path.name} declares {'x'.join(map(str, shape))} values ({size / 2**30:.1f} GiB) in a file of "
            f"{path.stat().st_size} bytes. It is damaged, or a whole slide that must be opened as one (.svs, .ndpi)."
        )


def _images(stack: Stack, path: Path) -> list[Image]:
    """Return the image of a stack, and of a palette's numbers as labels."""
    image = _image(stack, path)
    if stack.indices is None:
        return [image]
    labels = image.replace(
        data=stack.indices.reshape(image.spatial_shape),
        axes=image.spatial_axes,
        kind="labels",
        name=f"{image.name}_numbers",
        channels=(),
    )
    note = (
        "The picture has a palette, fewer than 8 bits or transparent parts: it is read as it is shown; as labels its "
        "numbers count, or, where one colour is drawn on a transparent ground, what is opaque."
    )
    return [image.replace(metadata={**image.metadata, "notes": [*image.metadata.get("notes", []), note]}), labels]


def _image(stack: Stack, path: Path) -> Image:
    """Give the numbers of a stack their axes, sizes and notes; axes of length 1 besides Y and X go."""
    data, axes, guessed = stack.data, stack.axes, False
    if len(axes) != data.ndim or not set(axes) <= set("TZCYX") or len(set(axes)) < len(axes) or "YX" not in axes:
        data = data.squeeze() if min(data.squeeze().ndim, data.ndim) >= 2 else data
        axes = _axes_by_shape(data, path, may_be_colour=data.dtype == np.uint8 if not axes else "C" in axes)
        guessed = bool(stack.axes) and "Z" in axes
    keep = [i for i, axis in enumerate(axes) if axis in "YX" or data.shape[i] > 1]
    data, axes = data.reshape([data.shape[i] for i in keep]), "".join(axes[i] for i in keep)
    n = data.shape[axes.index("C")] if "C" in axes else 1
    colours = ("red", "green", "blue", "alpha")[:n] if axes.endswith("C") and n in (3, 4) else ()
    scale, units = with_units(stack.steps, axes.replace("C", ""))
    name = f"{file_stem(path)}_{stack.name}" if stack.name else file_stem(path)
    space = dict(zip(axes.replace("C", ""), units, strict=True))
    assumed = [_said_of_last(data.shape[-1], bool(colours))] if not stack.axes and _may_be_colours(stack.data) else []
    if guessed and "Z" in axes:
        assumed.append(PAGES.format(data.shape[axes.index("Z")]))
    flat = space.get("Z") == PIXEL and PIXEL not in (space["Y"], space["X"])
    said = [*stack.notes, *assumed, *([NO_PLANE_DISTANCE] if flat else [])]
    known: dict[str, Any] = {"notes": said} if said else {}
    known |= {WHITE: stack.white} if stack.white and colours else {}
    known |= {ORIENTATION: stack.turn} if stack.turn != UPRIGHT else {}
    known |= {CALIBRATION: list(stack.line)} if stack.line != (0.0, 1.0) else {}
    channels = stack.channels if len(stack.channels) == n and not colours else colours
    return Image(
        data, axes, scale, units, affine_of(stack.place, scale, units, axes.replace("C", "")), name=name,
        channels=channels, value_unit=stack.value_unit, metadata={"source_file": str(path), **known},
    )  # fmt: skip


def _axes_by_shape(data: np.ndarray, path: Path, may_be_colour: bool) -> str:
    """Name the axes of an array that does not: a last axis of 3 or 4 may be colour, the others end in ``YX``."""
    colour = may_be_colour and _may_be_colours(data)
    n = data.ndim - colour
    if n > 4:
        raise ReadError(f"{path.name} has {data.ndim} axes; expected an image or a stack of images.")
    return "TZYX"[-n:] + ("C" if colour else "")


def _may_be_colours(data: np.ndarray) -> bool:
    return data.ndim > 2 and data.shape[-1] in (3, 4)


def _said_of_last(length: int, colours: bool) -> str:
    if colours:
        return f"The file names no axes: the last one, of {length} bytes, is taken as colours."
    return f"The file names no axes: the last one, of {length}, is taken as width, for colours would be of type uint8."
