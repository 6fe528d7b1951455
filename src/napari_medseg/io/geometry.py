"""One image's geometry: the order of its axes, its place, the size of its pixels, the picture that it is a part of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from napari_medseg.errors import DataError, WriteError
from napari_medseg.image import FRAME, PIXEL, SHORT_UNITS, Image, um_per

NEAR = 0.1  # voxels by which two grids may differ anywhere and be one: matrices of three decimals, single precision
SAME_STEP = 1e-3  # share by which stated pixel sizes may differ, as TIFF's fractions do
ORDER = "CTZYX"
FIRST, STEP = "first_pixel", "pixels_apart"  # metadata of `as_picture`
LEVELS = "level_grids"  # metadata of a pyramid: steps and first pixel of each level, in pixels of full resolution
LEVEL = "level"  # metadata of a level of a pyramid, or of a part of one: its number
PART = "part"  # metadata of such a part: level, box at that level, size of the pyramid
ROUNDING = 1e-4  # pixels


@dataclass(frozen=True)
class IndexMap:
    """From indices of one grid to those of another, ``matrix @ (*index, 1)``; `turned`: axes only swap, flip, shift."""

    matrix: np.ndarray
    turned: bool

    @property
    def order(self) -> list[int]:
        """For each axis of the reference the axis of the other image that runs along it."""
        return [int(k) for k in np.abs(self.matrix[:-1, :-1]).argmax(1)]


def in_order(image: Image) -> Image:
    """Return an image with its axes in the order time, depth, height, width; colours stay last."""
    axes = image.spatial_axes
    wanted = "".join(sorted(axes, key=ORDER.index))
    if axes == wanted:
        return image
    order = [axes.index(axis) for axis in wanted]
    whole = wanted + "C" if image.axes.endswith("C") else "C" * ("C" in image.axes) + wanted
    return image.replace(
        data=image.data.transpose([image.axes.index(axis) for axis in whole]),
        axes=whole,
        scale=tuple(image.scale[k] for k in order),
        units=tuple(image.units[k] for k in order),
        affine=None if image.affine is None else of_axes(image.affine, order),
        metadata=framed(image, order),
    )


def of_axes(matrix: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Return an (n+1, n+1) matrix of some of its axes, in that order."""
    rows = [*axes, len(matrix) - 1]
    return np.asarray(matrix, float)[np.ix_(rows, rows)]


def framed(image: Image, axes: Sequence[int]) -> dict[str, Any]:
    """Return the metadata of an image of which some axes are kept, in that order: its picture has the same."""
    frame = np.asarray(image.metadata.get(FRAME, ()), float)
    if frame.shape != (len(image.scale) + 1,) * 2:
        return dict(image.metadata)
    return {**image.metadata, FRAME: of_axes(frame, axes).tolist()}


def measurable(image: Image) -> Image:
    """Return an image whose lengths, areas and volumes are of one unit: pixels, unless every axis of space has a unit.

    The distance of planes may be unknown where the size of their pixels is not: such volumes count voxels.
    """
    space = [axis != "T" for axis in image.spatial_axes]
    unknown = any(one and unit == PIXEL for one, unit in zip(space, image.units, strict=True))
    factors = np.array([1 / step if one else 1.0 for one, step in zip(space, image.scale, strict=True)])
    if not unknown or np.allclose(factors, 1):
        return image
    back = np.diag([*factors, 1.0])
    frame = np.asarray(image.metadata.get(FRAME, ()), float)
    known = {FRAME: (back @ frame).tolist()} if frame.shape == back.shape else {}
    return image.replace(
        scale=tuple(1.0 if one else step for one, step in zip(space, image.scale, strict=True)),
        units=tuple(PIXEL if one else unit for one, unit in zip(space, image.units, strict=True)),
        affine=None if image.affine is None else back @ np.asarray(image.affine, float),
        metadata={**image.metadata, **known},
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
    turned = flip(channels.transpose(0, *(1 + order)), steps < 0)
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
    if not has_size(image) and not np.allclose(matrix[first:, first:], np.eye(len(matrix) - first)):
        raise WriteError(
            f"{what} holds lengths, and {image.name!r} has steps or a place without a unit. Give the layer its units "
            "(in napari: right-click the layer, or layer.units = 'mm'), or write it as .tif."
        )
    return image


def describe_grid(image: Image) -> str:
    """Say in some words where the voxels of an image lie."""
    shape = " x ".join(map(str, image.spatial_shape))
    if not has_size(image):
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


def has_size(image: Image) -> bool:
    """Whether the axes of space have a unit."""
    return all(unit != PIXEL for unit, axis in zip(image.units, image.spatial_axes, strict=True) if axis != "T")


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


def cut_out(image: Image, box: Sequence[slice]) -> Image:
    """Return the part of an image in `box` (a slice per axis of space and time), at its place; see `part_of`."""
    index = [slice(None)] * image.data.ndim
    for axis, one in zip(image.spatial_axes, box, strict=True):
        index[image.axes.index(axis)] = one
    return part_of(image.replace(data=image.data[tuple(index)]), [s.start or 0 for s in box])


def level_grid(image: Image, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and first pixel of a level of a pyramid (``metadata["levels"]``), in pixels of full resolution.

    Both are float (n,). Where the file does not state them, the level covers what full resolution covers and begins at
    the same pixel.
    """
    stated = image.metadata.get(LEVELS)
    if stated is not None:
        steps, first = np.asarray(stated[level], float)
        return steps, first
    shape = image.metadata["levels"][level].shape
    along = [image.axes.index(axis) for axis in image.spatial_axes]
    return np.array([image.data.shape[k] / shape[k] for k in along]), np.zeros(len(along))


def at_level(image: Image, level: int) -> Image:
    """Return a level of a pyramid, at its place; level 0 is full resolution.

    Raises
    ------
    DataError
        If there is no such level.
    """
    levels = image.metadata.get("levels", (image.data,))
    if not 0 <= level < len(levels):
        raise DataError(f"{image.name or 'The image'} has levels 0 to {len(levels) - 1}, not {level}. Give another.")
    steps, first = level_grid(image, level) if level else (np.ones(len(image.scale)), np.zeros(len(image.scale)))
    whole = matrix_of(image)
    affine = whole.copy()
    affine[:-1, -1] += whole[:-1, :-1] @ first
    affine[:-1, :-1] = whole[:-1, :-1] * steps
    known = {name: value for name, value in image.metadata.items() if name not in ("levels", "downsamples", LEVELS)}
    return image.replace(
        data=levels[level],
        scale=tuple(float(s) for s in image.scale * steps),
        affine=affine,
        metadata={FRAME: whole.tolist(), **known, LEVEL: level},
    )


def in_picture(image: Image) -> np.ndarray:
    """Return the (n+1, n+1) matrix from an image's indices to those of the picture that it is a part of.

    Of a level of a pyramid the picture is its full resolution. The identity where it is no part, or where a pixel size
    was corrected, for then the picture has it too.
    """
    n = len(image.scale)
    frame = np.asarray(image.metadata.get(FRAME, ()), float)
    if image.affine is None or frame.shape != (n + 1, n + 1):
        return np.eye(n + 1)
    matrix = np.linalg.solve(frame, np.asarray(image.affine, float))
    rounded = np.rint(matrix)
    matrix = np.where(np.abs(matrix - rounded) < ROUNDING, rounded, matrix)
    resized = not np.allclose(np.linalg.norm(matrix[:-1, :-1], axis=0), 1, rtol=SAME_STEP)
    return np.eye(n + 1) if resized and not image.metadata.get(LEVEL) else matrix


def as_picture(image: Image, what: str) -> Image:
    """Return labels of a part of a picture in the order of its pixels, for formats that count these and know no place.

    ``metadata["first_pixel"]`` is the part's first pixel in the picture, ``metadata["picture"]`` the picture's matrix.
    Labels of a level of a pyramid keep their pixels, which lie ``metadata["pixels_apart"]`` in the picture;
    `to_picture` places them.

    Raises
    ------
    WriteError
        If its pixels do not lie on whole pixels of the picture, or before its first one.
    """
    index = in_picture(in_order(image))
    image = in_order(image)
    steps = np.diag(index)[:-1]
    if image.metadata.get(LEVEL) and (steps > 0).all() and np.allclose(index[:-1, :-1], np.diag(steps)):
        apart = {STEP: steps.tolist(), FIRST: index[:-1, -1].tolist(), FRAME: image.metadata[FRAME]}
        scale = tuple(float(s) for s in image.scale / steps)
        return image.replace(scale=scale, affine=None, metadata={**image.metadata, **apart})
    turned = only_swaps(index, image.spatial_shape)
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
    order = IndexMap(turned, True).order
    shape = tuple(image.spatial_shape[k] for k in order)
    data = turn(np.asarray(image.data), IndexMap(shift, True), shape)
    frame = matrix_of(image) @ np.linalg.inv(index)
    known = {FIRST: first.tolist(), FRAME: frame.tolist()} if image.affine is not None else {}
    return image.replace(
        data=data,
        scale=tuple(image.scale[k] for k in order),
        units=tuple(image.units[k] for k in order),
        affine=None,
        metadata={**image.metadata, **known},
    )


def to_picture(image: Image, points: np.ndarray) -> np.ndarray:
    """Return where points (m, k) of the last k axes of `as_picture` labels lie in the pixels of their picture."""
    k = points.shape[1]
    first, steps = image.metadata.get(FIRST, ()), image.metadata.get(STEP, (1.0,) * len(image.scale))
    if image.affine is not None or len(first) != len(image.scale):
        return points
    return np.asarray(points * steps[-k:] + first[-k:])


def with_pixel_size(image: Image, micrometres: float) -> Image:
    """Return an image whose axes of space have steps of so many micrometres; a place in other units is given up.

    Notes say which size the file states instead, and that planes get that distance too.
    """
    space = [axis != "T" for axis in image.spatial_axes]
    scale = tuple(micrometres if one else step for one, step in zip(space, image.scale, strict=True))
    units = tuple("micrometer" if one else unit for one, unit in zip(space, image.units, strict=True))
    given = image.replace(scale=scale, units=units, affine=None)
    notes = list(image.metadata.get("notes", ()))
    stated = [
        (um_per(unit) or 0.0) * step for one, unit, step in zip(space, image.units, image.scale, strict=True) if one
    ]
    if has_size(image) and not np.allclose(stated, micrometres, rtol=SAME_STEP):
        notes.append(
            f"{image.name or 'The file'} states pixels of {' x '.join(f'{step:.4g}' for step in stated)} um; the given "
            f"{micrometres:.4g} um are used instead."
        )
    elif "Z" in image.axes:
        notes.append(
            f"The planes of {image.name or 'the image'} are taken to lie {micrometres:.4g} um apart, as given."
        )
    return given.replace(metadata={**image.metadata, "notes": notes}) if notes else given


def with_heights(image: Image, nm_per_grey: float) -> Image:
    """Return an image whose grey values are heights of so many nm each; one whose values have a unit stays as it is."""
    if image.value_unit:
        return image
    return image.replace(data=image.data * np.float32(nm_per_grey), value_unit="nm")


def sized_like(image: Image, other: Image | None) -> Image:
    """Give an image of unknown pixel size the grid of another one of its shape that has one."""
    if other is None or has_size(image) or not has_size(other) or image.spatial_shape != other.spatial_shape:
        return image
    return image.replace(scale=other.scale, units=other.units, affine=other.affine)


def only_swaps(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return `matrix` (n+1, n+1) rounded, if it only swaps, flips and shifts whole voxels of `shape` then."""
    rounded = np.rint(matrix)
    linear = np.abs(rounded[:-1, :-1])
    if not ((linear.sum(0) == 1).all() and (linear.sum(1) == 1).all()):
        return None
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in shape))], float)
    return rounded if np.abs(corners @ (matrix - rounded).T).max() <= NEAR else None


def turn(data: np.ndarray, index: IndexMap, shape: tuple[int, ...]) -> np.ndarray:
    """Return `data` (*spatial) with its axes swapped and flipped as in `index`, cut or filled with 0 to `shape`."""
    n = data.ndim
    linear = index.matrix[:-1, :-1]
    flipped = linear[range(n), index.order] < 0
    turned = flip(data.transpose(index.order), flipped)
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


def flip(data: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Reverse the last axes of `data` that are marked in `axes`, bool (n,)."""
    backwards = [slice(None, None, -1) if flipped else slice(None) for flipped in axes]
    return data[(..., *backwards)]


def _directions(affine: np.ndarray, axes: str) -> str:
    linear = affine[:-1, :-1] / np.linalg.norm(affine[:-1, :-1], axis=0)
    main = np.abs(linear).argmax(0)
    if np.abs(linear).max(0).min() < 1 - SAME_STEP:
        return "oblique directions"
    signs = linear[main, range(len(main))] < 0
    return " ".join(f"{'-' if back else '+'}{axes[k].lower()}" for k, back in zip(main, signs, strict=True))
