"""Where two images meet: whether they lie on one grid, and how one of them is brought onto the grid of the other.

A grid is the number of voxels along each axis, their steps, units and directions, and the place of the first voxel.
Axes of time and of channels have no place. Images that state no place (pictures), or no unit, lie on one grid if they
have the same number of pixels and, where both state it, the same pixel size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from napari_medseg.errors import DataError, WriteError
from napari_medseg.image import PIXEL, SHORT_UNITS, Image
from napari_medseg.io.volumes.space import mm_per

NEAR = 0.1  # voxels by which two grids may differ anywhere and be one: matrices of three decimals, single precision
SAME_STEP = 1e-3  # share by which stated pixel sizes may differ, as TIFF's fractions do
ORDER = "CTZYX"
FRAME = "picture"  # metadata of a part of a picture: the matrix of the picture in the world of the part's affine
FIRST = "first_pixel"  # metadata of `as_picture`
ROUNDING = 1e-4  # pixels
MOVED = "moved"  # metadata: the sentences of `on_grid`, which are among the notes too
ADVICE = "Give both on one grid."


@dataclass(frozen=True)
class _Map:
    """From indices of one grid to those of another, ``matrix @ (*index, 1)``; `turned`: axes only swap, flip, shift."""

    matrix: np.ndarray
    turned: bool

    @property
    def order(self) -> list[int]:
        """For each axis of the reference the axis of the other image that runs along it."""
        return [int(k) for k in np.abs(self.matrix[:-1, :-1]).argmax(1)]


def on_grid(moving: Image, reference: Image, what: str = "") -> Image:
    """Return an image on the grid of another one, with a note in its metadata where it was moved.

    Axes that only swap, flip or begin elsewhere are exact. Other labels take the value of the nearest voxel; other
    images are refused, for their intensities would change.

    Parameters
    ----------
    moving
        Labels, or an image with or without channels.
    reference
        The image whose grid is wanted.
    what
        What the moving image is called in messages, for example ``"reference"``; by default labels or image.

    Returns
    -------
    Image
        (*spatial shape of the reference), with its scale, units and affine; where the reference states none, with the
        moving image's own.

    Raises
    ------
    DataError
        If nothing says how the two lie on each other, they lie elsewhere, or intensities would have to be resampled.
        Both grids are in the message.
    """
    moving, reference = in_order(moving), in_order(reference)
    index = _index_map(moving, reference, what)
    if _is_identity(index, moving, reference):
        known = _has_size(reference) and (reference.affine is not None or moving.affine is None)
        return _placed(moving, reference if known or not _has_size(moving) else moving, moving.data, moving.axes)
    if moving.kind != "labels":
        return _turned_image(moving, reference, index, what)
    labels = np.asarray(moving.data)
    found = _turn(labels, index, reference.spatial_shape) if index.turned else _nearest(labels, index, reference)
    _check_inside(labels, index, moving, reference, what)
    return _noted(_placed(moving, reference, found, moving.axes), _said(moving, reference, index, labels, found, what))


def same_grid(first: Image, second: Image) -> bool:
    """Whether every voxel of two images lies at the same place, as far as both state it."""
    first, second = in_order(first), in_order(second)
    try:
        return _is_identity(_index_map(first, second), first, second)
    except DataError:
        return False


def stack_channels(images: Sequence[Image]) -> Image:
    """Return images on one grid, or on grids that differ by the order of their axes, as channels of the first.

    Raises
    ------
    DataError
        If the images lie elsewhere, or their voxels do not coincide.
    """
    first = in_order(images[0])
    if len(images) == 1:
        return images[0]
    placed = [first, *(on_grid(image, first, "channel") for image in images[1:])]
    channels = tuple(name for image in images for name in (image.channels or (image.name,) * image.n_channels))
    data = np.concatenate([np.asarray(image.channels_first()) for image in placed])
    notes = list(dict.fromkeys(note for image in placed for note in image.metadata.get("notes", ())))
    metadata = {**first.metadata, **({"notes": notes} if notes else {})}
    return first.replace(data=data, axes="C" + first.spatial_axes, channels=channels, metadata=metadata)


def in_order(image: Image) -> Image:
    """Return an image with its axes in the order time, depth, height, width; colours stay last."""
    axes = image.spatial_axes
    wanted = "".join(sorted(axes, key=ORDER.index))
    if axes == wanted:
        return image
    order = [axes.index(axis) for axis in wanted]
    whole = wanted + "C" if image.axes.endswith("C") else "C" * ("C" in image.axes) + wanted
    affine = image.affine
    if affine is not None:
        rows = [*order, len(order)]
        affine = np.asarray(affine, float)[np.ix_(rows, rows)]
    return image.replace(
        data=image.data.transpose([image.axes.index(axis) for axis in whole]),
        axes=whole,
        scale=tuple(image.scale[k] for k in order),
        units=tuple(image.units[k] for k in order),
        affine=affine,
    )


def upright(image: Image) -> Image | None:
    """Return an image with its axes swapped and flipped so that its steps point along the axes of the world.

    ``None`` if they do not: it is oblique or sheared.
    """
    image = in_order(image)
    if image.affine is None:
        return image
    shape = np.asarray(image.spatial_shape)
    linear = np.asarray(image.affine, float)[:-1, :-1]
    order = np.abs(linear).argmax(1)
    steps = linear[np.arange(len(order)), order]
    wanted = np.zeros_like(linear)
    wanted[np.arange(len(order)), order] = steps
    off = np.abs(linear - wanted) @ shape
    if sorted(order) != list(range(len(order))) or (off > NEAR * np.abs(steps)).any():
        return None
    origin = np.asarray(image.affine, float)[:-1, -1] + np.where(steps < 0, steps * (shape[order] - 1), 0.0)
    affine = np.eye(len(order) + 1)
    affine[:-1, :-1], affine[:-1, -1] = np.diag(np.abs(steps)), origin
    channels = np.asarray(image.channels_first()) if "C" in image.axes else np.asarray(image.data)[None]
    turned = _flip(channels.transpose(0, *(1 + order)), steps < 0)
    return image.replace(
        data=turned if "C" in image.axes else turned[0],
        axes="C" * ("C" in image.axes) + image.spatial_axes,
        scale=tuple(np.abs(steps)),
        units=tuple(image.units[k] for k in order),
        affine=affine,
    )


def along_axes(image: Image, what: str) -> Image:
    """Return `upright` labels, for formats that hold steps and a place but no directions.

    Raises
    ------
    WriteError
        If the image lies oblique.
    """
    turned = upright(measured(image, what))
    if turned is None:
        raise WriteError(
            f"{what} has no place for axes that do not lie along those of the world, as those of {image.name!r} "
            f"({describe_grid(image)}). Write it as .nii.gz."
        )
    return turned


def measured(image: Image, what: str) -> Image:
    """Return an image that a format of lengths can hold: with units, or with steps of one pixel and no place.

    Raises
    ------
    WriteError
        If it has steps or a place of no unit.
    """
    matrix = matrix_of(image)
    first = int(image.spatial_axes.startswith("T"))
    if not _has_size(image) and not np.allclose(matrix[first:, first:], np.eye(len(matrix) - first)):
        raise WriteError(
            f"{what} holds lengths, and {image.name!r} has steps or a place without a unit. Give the layer its units "
            "(in napari: right-click the layer, or layer.units = 'mm'), or write it as .tif."
        )
    return image


def describe_grid(image: Image) -> str:
    """Say in some words where the voxels of an image lie."""
    shape = " x ".join(map(str, image.spatial_shape))
    if not _has_size(image):
        return f"{shape} pixels of unknown size"
    unit = SHORT_UNITS.get(image.units[-1], image.units[-1])
    size = f"{shape} of {' x '.join(f'{step:.4g}' for step in image.scale)} {unit}"
    if image.affine is None:
        return size
    affine = np.asarray(image.affine, float)
    origin = ", ".join(f"{value:.4g}" for value in affine[:-1, -1])
    return f"{size}, first voxel at ({origin}), axes along {_directions(affine, image.spatial_axes)}"


def matrix_of(image: Image) -> np.ndarray:
    """Return the (n+1, n+1) matrix from indices to places; without a stated place the first pixel is at the origin."""
    return np.diag([*image.scale, 1.0]) if image.affine is None else np.asarray(image.affine, float)


def moved_notes(image: Image) -> tuple[str, ...]:
    """Return what `on_grid` did to an image, in sentences."""
    return tuple(image.metadata.get(MOVED, ()))


def part_of(image: Image, offset: Sequence[int]) -> Image:
    """Return a part, cut out of a picture at the index `offset`, at its place; it knows its picture.

    Parameters
    ----------
    image
        The part's data with the geometry of the whole picture.
    offset
        Index of the part's first pixel, one number per axis of space and time.
    """
    whole = matrix_of(image)
    affine = whole.copy()
    affine[:-1, -1] += whole[:-1, :-1] @ np.asarray(offset, float)
    return image.replace(affine=affine, metadata={FRAME: whole.tolist(), **image.metadata})


def in_picture(image: Image) -> np.ndarray:
    """Return the (n+1, n+1) matrix from an image's indices to those of the picture that it is a part of.

    The identity where it is no part, or where a pixel size was corrected, for then the picture has it too.
    """
    n = len(image.scale)
    frame = np.asarray(image.metadata.get(FRAME, ()), float)
    if image.affine is None or frame.shape != (n + 1, n + 1):
        return np.eye(n + 1)
    matrix = np.linalg.solve(frame, np.asarray(image.affine, float))
    rounded = np.rint(matrix)
    matrix = np.where(np.abs(matrix - rounded) < ROUNDING, rounded, matrix)
    resized = not np.allclose(np.linalg.norm(matrix[:-1, :-1], axis=0), 1, rtol=SAME_STEP)
    return np.eye(n + 1) if resized else matrix


def as_picture(image: Image, what: str) -> Image:
    """Return labels of a part of a picture in the order of its pixels, for formats that count these and know no place.

    ``metadata["first_pixel"]`` is the part's first pixel in the picture, ``metadata["picture"]`` the picture's matrix.

    Raises
    ------
    WriteError
        If its pixels do not lie on whole pixels of the picture, or before its first one.
    """
    index = in_picture(in_order(image))
    image = in_order(image)
    turned = _swaps(index, image.spatial_shape)
    why, first = "", np.zeros(len(index) - 1, int)
    if turned is None or np.abs(turned - index).max() > ROUNDING:
        turned, why = index, "its pixels do not lie on those of the picture"
    else:
        corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in image.spatial_shape))], float)
        first = (corners @ turned.T).min(0)[:-1].astype(int)
        why = "it begins before the first pixel of the picture" if (first < 0).any() else ""
    if why:
        raise WriteError(
            f"{what} counts the pixels of a picture, and {image.name!r} ({describe_grid(image)}) is turned or moved: "
            f"{why}. Write it as .nii.gz or .tif."
        )
    shift = turned.copy()
    shift[:-1, -1] -= first
    order = _Map(turned, True).order
    shape = tuple(image.spatial_shape[k] for k in order)
    data = _turn(np.asarray(image.data), _Map(shift, True), shape)
    frame = matrix_of(image) @ np.linalg.inv(index)
    known = {FIRST: first.tolist(), FRAME: frame.tolist()} if image.affine is not None else {}
    return image.replace(
        data=data,
        scale=tuple(image.scale[k] for k in order),
        units=tuple(image.units[k] for k in order),
        affine=None,
        metadata={**image.metadata, **known},
    )


def first_pixel(image: Image) -> tuple[int, ...]:
    """Return the first pixel of `as_picture` labels in their picture, one number per axis."""
    known: Sequence[int] = image.metadata.get(FIRST, ()) if image.affine is None else ()
    return tuple(known) if len(known) == len(image.scale) else (0,) * len(image.scale)


def with_pixel_size(image: Image, micrometres: float) -> Image:
    """Return an image whose axes of space have steps of so many micrometres; a place in other units is given up."""
    space = [axis != "T" for axis in image.spatial_axes]
    scale = tuple(micrometres if one else step for one, step in zip(space, image.scale, strict=True))
    units = tuple("micrometer" if one else unit for one, unit in zip(space, image.units, strict=True))
    return image.replace(scale=scale, units=units, affine=None)


def with_heights(image: Image, nm_per_grey: float) -> Image:
    """Return an image whose grey values are heights of so many nm each; one whose values have a unit stays as it is."""
    if image.value_unit:
        return image
    return image.replace(data=image.data * np.float32(nm_per_grey), value_unit="nm")


def sized_like(image: Image, other: Image | None) -> Image:
    """Give an image of unknown pixel size the grid of another one of its shape that has one."""
    if other is None or _has_size(image) or not _has_size(other) or image.spatial_shape != other.spatial_shape:
        return image
    return image.replace(scale=other.scale, units=other.units, affine=other.affine)


def together(labels: Image, image: Image) -> tuple[Image, Image]:
    """Return labels, and the image that they belong to on their grid; where one has no pixel size, that of the other.

    Raises
    ------
    DataError
        As `on_grid`: the image is only turned, never resampled, so that volumes and intensities stay what they are.
    """
    labels = sized_like(in_order(labels), in_order(image))
    return labels, on_grid(sized_like(image, labels), labels, "image")


def index_matrix(moving: Image, reference: Image, what: str = "") -> np.ndarray:
    """Return the (n+1, n+1) matrix from indices of one image to indices of another.

    Raises
    ------
    DataError
        If nothing says how the two lie on each other.
    """
    return _index_map(in_order(moving), in_order(reference), what).matrix


# ---- how two grids lie on each other


def _index_map(moving: Image, reference: Image, what: str = "") -> _Map:
    """Return the map from indices of `moving` to those of `reference`."""
    n = len(reference.spatial_axes)
    if len(moving.spatial_axes) != n or "T" in moving.spatial_axes[1:] or "T" in reference.spatial_axes[1:]:
        raise DataError(f"{_both(moving, reference, what)} They have another number of axes. {ADVICE}")
    if not _comparable(moving, reference):
        return _unplaced(moving, reference, what)
    timed = {"T"} & {moving.spatial_axes[0], reference.spatial_axes[0]}
    if timed and moving.spatial_shape[0] != reference.spatial_shape[0]:
        raise DataError(f"{_both(moving, reference, what)} They have another number of frames. {ADVICE}")
    first = int(bool(timed))
    factors = [_factor(a, b) for a, b in zip(moving.units[first:], reference.units[first:], strict=True)]
    mine, theirs = (matrix_of(image)[first:, first:] for image in (moving, reference))
    matrix = np.eye(n + 1)
    matrix[first:, first:] = np.linalg.solve(theirs, np.diag([*factors, 1.0]) @ mine)
    rounded = _swaps(matrix, moving.spatial_shape)
    return _Map(matrix if rounded is None else rounded, rounded is not None)


def _comparable(first: Image, second: Image) -> bool:
    """Whether two images state places in one world: by their affines, or one as a part of the other's picture."""
    if _has_size(first) != _has_size(second):
        return False
    if (first.affine is None) == (second.affine is None):
        return first.affine is not None
    part, whole = (first, second) if second.affine is None else (second, first)
    frame = np.asarray(part.metadata.get(FRAME, ()), float)
    return frame.shape == (len(whole.scale) + 1,) * 2 and bool(np.allclose(frame, matrix_of(whole), rtol=SAME_STEP))


def _unplaced(moving: Image, reference: Image, what: str) -> _Map:
    """Return the map of images without a place: pixel to pixel, or, of pixels of stated sizes, over one field."""
    if moving.spatial_shape != reference.spatial_shape:
        field = _field(moving, reference)
        if field is not None:
            return _Map(field, False)
        raise DataError(f"{_both(moving, reference, what)} They differ in size, and no place says where. {ADVICE}")
    pixel_to_pixel = _Map(np.eye(len(moving.scale) + 1), True)
    if _has_size(moving) != _has_size(reference):
        return pixel_to_pixel
    axes = zip(moving.spatial_axes, reference.spatial_axes, strict=True)
    steps = zip(_steps(moving), _steps(reference), moving.units, reference.units, strict=True)
    for (axis, other), (mine, theirs, unit, their_unit) in zip(axes, steps, strict=True):
        if axis == other != "T" and not np.isclose(mine * _factor(unit, their_unit), theirs, rtol=SAME_STEP):
            raise DataError(f"{_both(moving, reference, what)} Their pixel sizes differ. {ADVICE}")
    return pixel_to_pixel


def _field(moving: Image, reference: Image) -> np.ndarray | None:
    """Return the map between finer and coarser pixels of one field of view, whose outer edges coincide."""
    if not (_has_size(moving) and _has_size(reference)) or moving.spatial_axes != reference.spatial_axes:
        return None
    if moving.affine is not None or reference.affine is not None or "T" in moving.spatial_axes:
        return None
    factors = np.array([_factor(a, b) for a, b in zip(moving.units, reference.units, strict=True)])
    mine, theirs = np.array(moving.scale) * factors, np.array(reference.scale)
    extents = mine * moving.spatial_shape, theirs * reference.spatial_shape
    if not (np.abs(extents[0] - extents[1]) < np.maximum(mine, theirs) / 2).all():
        return None
    matrix = np.diag([*(mine / theirs), 1.0])
    matrix[:-1, -1] = (mine / theirs - 1) / 2
    return matrix


def _steps(image: Image) -> tuple[float, ...]:
    return tuple(np.linalg.norm(matrix_of(image)[:-1, :-1], axis=0))


def _has_size(image: Image) -> bool:
    """Whether the axes of space have a unit."""
    return all(unit != PIXEL for unit, axis in zip(image.units, image.spatial_axes, strict=True) if axis != "T")


def _factor(unit: str, other: str) -> float:
    """Return how many of the `other` unit one `unit` is; units that are no lengths must be the same."""
    mine, theirs = mm_per(unit), mm_per(other)
    return mine / theirs if mine and theirs else 1.0


def _swaps(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return a map that only swaps, flips and shifts whole voxels, if `matrix` is one but for rounding."""
    rounded = np.rint(matrix)
    linear = np.abs(rounded[:-1, :-1])
    if not ((linear.sum(0) == 1).all() and (linear.sum(1) == 1).all()):
        return None
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in shape))], float)
    return rounded if np.abs(corners @ (matrix - rounded).T).max() <= NEAR else None


def _is_identity(index: _Map, moving: Image, reference: Image) -> bool:
    same = moving.spatial_shape == reference.spatial_shape
    return same and index.turned and np.array_equal(index.matrix, np.eye(len(index.matrix)))


# ---- moving


def _turned_image(moving: Image, reference: Image, index: _Map, what: str) -> Image:
    """Swap and flip the axes of an image that covers the reference."""
    covers = index.turned and _covers(moving, reference, index)
    if not covers:
        why = "It does not cover the other." if index.turned else "Their voxels do not coincide."
        raise DataError(f"{_both(moving, reference, what)} {why} Resample one onto the grid of the other.")
    channels = [_turn(channel, index, reference.spatial_shape) for channel in np.asarray(moving.channels_first())]
    data, axes = (np.stack(channels), "C") if "C" in moving.axes else (channels[0], "")
    done = _placed(moving, reference, data, axes + moving.spatial_axes)
    return _noted(done, [_said_turned(moving, reference, what)])


def _covers(moving: Image, reference: Image, index: _Map) -> bool:
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in reference.spatial_shape))], float)
    found = (corners @ np.linalg.inv(index.matrix).T)[:, :-1]
    return bool(((found > -0.5) & (found < np.asarray(moving.spatial_shape) - 0.5)).all())


def _turn(data: np.ndarray, index: _Map, shape: tuple[int, ...]) -> np.ndarray:
    """Return `data` (*spatial) with its axes swapped and flipped, cut or filled with 0 to `shape`."""
    n = data.ndim
    linear = index.matrix[:-1, :-1]
    flipped = linear[range(n), index.order] < 0
    turned = _flip(data.transpose(index.order), flipped)
    shift = index.matrix[:-1, -1] - np.where(flipped, np.array(turned.shape) - 1, 0)
    starts = [int(s) for s in shift]
    source = tuple(slice(max(0, -s), max(0, m - s)) for s, m in zip(starts, shape, strict=True))
    part = turned[source]
    if part.shape == tuple(shape):
        return np.ascontiguousarray(part)
    out = np.zeros(shape, data.dtype)
    target = tuple(slice(max(0, s), max(0, s) + k) for s, k in zip(starts, part.shape, strict=True))
    out[target] = part
    return out


def _flip(data: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Reverse the last axes that are marked."""
    backwards = [slice(None, None, -1) if flipped else slice(None) for flipped in axes]
    return data[(..., *backwards)]


def _nearest(labels: np.ndarray, index: _Map, reference: Image) -> np.ndarray:
    """Return for each voxel of the reference the label of the nearest voxel, 0 outside."""
    from scipy import ndimage

    back = np.linalg.inv(index.matrix)
    return np.asarray(
        ndimage.affine_transform(
            labels, back[:-1, :-1], back[:-1, -1], reference.spatial_shape, labels.dtype, 0, "grid-constant", 0
        )
    )


def _outside(labels: np.ndarray, index: _Map, reference: Image) -> tuple[int, int]:
    """Return how many labelled voxels there are, and how many of them lie outside the reference."""
    points = np.argwhere(labels)
    if not len(points):
        return 0, 0
    found = points @ index.matrix[:-1, :-1].T + index.matrix[:-1, -1]
    inside = ((found > -0.5 - NEAR) & (found < np.asarray(reference.spatial_shape) - 0.5 + NEAR)).all(1)
    return len(points), int((~inside).sum())


def _check_inside(labels: np.ndarray, index: _Map, moving: Image, reference: Image, what: str) -> None:
    labelled, lost = _outside(labels, index, reference)
    if labelled and lost == labelled:
        raise DataError(f"{_both(moving, reference, what)} They lie elsewhere: no labelled voxel is inside. {ADVICE}")


def _placed(moving: Image, grid: Image, data: Any, axes: str) -> Image:
    """Return an image with other data and the geometry of `grid`; `axes` are those of the data but for their names."""
    names = iter(grid.spatial_axes)
    axes = "".join(axis if axis == "C" else next(names) for axis in axes)
    return moving.replace(data=data, axes=axes, scale=grid.scale, units=grid.units, affine=grid.affine)


# ---- sentences


def _said(moving: Image, reference: Image, index: _Map, labels: np.ndarray, found: np.ndarray, what: str) -> list[str]:
    notes = [_said_turned(moving, reference, what)] if index.turned else [
        f"{_name(moving, what)} ({describe_grid(moving)}) was resampled by the nearest voxel onto the grid of "
        f"{_of(reference)} ({describe_grid(reference)})."
    ]  # fmt: skip
    labelled, lost = _outside(labels, index, reference)
    if lost:
        notes.append(f"{lost:,} of its {labelled:,} labelled voxels lie outside {_of(reference)} and are left out.")
    if not index.turned:
        gone = np.setdiff1d(np.unique(labels), np.unique(found))
        if gone.size:
            notes.append(f"{gone.size} of its labels got no voxel: {', '.join(map(str, gone[:5]))}.")
    return notes


def _said_turned(moving: Image, reference: Image, what: str) -> str:
    return (
        f"{_name(moving, what)} is stored in other axes than {_of(reference)} and was brought onto its grid by the "
        "positions in the files."
    )


def _noted(image: Image, notes: Sequence[str]) -> Image:
    known = {name: [*image.metadata.get(name, ()), *notes] for name in ("notes", MOVED)}
    return image.replace(metadata={**image.metadata, **known})


def _both(moving: Image, reference: Image, what: str) -> str:
    return (
        f"{_name(moving, what)} ({describe_grid(moving)}) and {_of(reference)} ({describe_grid(reference)}) "
        "are not on the same grid."
    )


def _name(image: Image, what: str) -> str:
    what = what or ("labels" if image.kind == "labels" else "image")
    return f"The {what} {image.name!r}" if image.name else f"The {what}"


def _of(image: Image) -> str:
    return repr(image.name) if image.name else "the image"


def _directions(affine: np.ndarray, axes: str) -> str:
    linear = affine[:-1, :-1] / np.linalg.norm(affine[:-1, :-1], axis=0)
    main = np.abs(linear).argmax(0)
    if np.abs(linear).max(0).min() < 1 - SAME_STEP:
        return "oblique directions"
    signs = linear[main, range(len(main))] < 0
    return " ".join(f"{'-' if back else '+'}{axes[k].lower()}" for k, back in zip(main, signs, strict=True))
