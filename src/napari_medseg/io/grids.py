"""Where two images meet: whether they lie on one grid, and how one of them is brought onto the grid of the other.

A grid is the number of voxels along each axis, their steps, units and directions, and the place of the first voxel.
Axes of time and of channels have no place. Images that state no place (pictures), or no unit, lie on one grid if they
have the same number of pixels and, where both state it, the same pixel size.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from napari_medseg.errors import DataError, ElsewhereError
from napari_medseg.image import FRAME, REFERENCE, Image, um_per
from napari_medseg.io.geometry import (
    NEAR,
    PART,
    SAME_STEP,
    IndexMap,
    at_level,
    cut_out,
    describe_grid,
    has_size,
    in_order,
    matrix_of,
    only_swaps,
    sized_like,
    turn,
)

MOVED = "moved"  # metadata: the sentences of `on_grid`, which are among the notes too
ADVICE = "Give both on one grid."
MOST_UNDER = 100_000_000  # pixels of a pyramid that are worked on in memory


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
    worlds = [image.metadata.get(REFERENCE) for image in (moving, reference)]
    found = _on_grid(moving, reference, what)
    if None in worlds or worlds[0] == worlds[1]:
        return found
    said = f"{_name(moving, what)} and {_of(reference)} state different frames of reference (DICOM), in which equal "
    return _noted(found, [said + "positions need not be equal places; they were compared by position."])


def _on_grid(moving: Image, reference: Image, what: str) -> Image:
    """Do `on_grid` for images whose axes are in the usual order."""
    index = _index_map(moving, reference, what)
    if _is_identity(index, moving, reference):
        known = has_size(reference) and (reference.affine is not None or moving.affine is None)
        same = _placed(moving, reference if known or not has_size(moving) else moving, moving.data, moving.axes)
        return _noted(same, _said_of_place(moving, reference, what))
    if moving.kind != "labels":
        return _turned_image(moving, reference, index, what)
    labels = np.asarray(moving.data)
    found = turn(labels, index, reference.spatial_shape) if index.turned else _nearest(labels, index, reference)
    _check_inside(labels, index, moving, reference, what)
    return _noted(_placed(moving, reference, found, moving.axes), _said(moving, reference, index, labels, found, what))


def _said_of_place(moving: Image, reference: Image, what: str) -> list[str]:
    """Say that of two images that lie on each other by their indices only one states where it lies.

    That is said of volumes, whose axes other programs keep in the reverse order, and of OME-Zarr, which lies at the
    origin without a translation.
    """
    if (moving.affine is None) == (reference.affine is None):
        return []
    sources = [str(image.metadata.get("source_file", "")) for image in (moving, reference)]
    stated = moving if moving.affine is not None else reference
    if all(".zarr" in source for source in sources):
        why = f"of these OME-Zarr only {stated.name!r} states a place (translation)"
    elif "Z" in stated.spatial_axes and has_size(moving) != has_size(reference):
        why = (
            f"only {stated.name!r} states voxels and a place: the axes are taken to be {', '.join(stated.spatial_axes)}"
        )
    else:
        return []
    return [f"{_name(moving, what)} was laid on {_of(reference)} voxel for voxel, though {why}."]


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


def moved_notes(image: Image) -> tuple[str, ...]:
    """Return what `on_grid` did to an image, in sentences."""
    return tuple(image.metadata.get(MOVED, ()))


def together(labels: Image, image: Image) -> tuple[Image, Image]:
    """Return labels, and the image that they belong to on their grid; where one has no pixel size, that of the other.

    Raises
    ------
    DataError
        As `on_grid`: the image is only turned, never resampled, so that volumes and intensities stay what they are.
    """
    stated, labels = in_order(labels), sized_like(in_order(labels), in_order(image))
    found = on_grid(sized_like(image, labels), labels, "image")
    return labels, _noted(found, _said_of_place(stated, in_order(image), ""))


def part_under(image: Image, labels: Image) -> Image:
    """Return what of a pyramid lies under labels: of the level whose pixels are nearest to theirs in size.

    An image of one resolution is returned as it is.

    Raises
    ------
    DataError
        If nothing says how the two lie on each other, they lie elsewhere, or it is more than `MOST_UNDER` pixels.
    """
    count = len(image.metadata.get("levels", ()))
    if count < 2:
        return image
    levels = [at_level(image, level) for level in range(count)]
    maps = [index_matrix(labels, level, "labels") for level in levels]
    steps = [np.linalg.norm(matrix[:-1, :-1], axis=0) for matrix in maps]
    nearest = min(range(count), key=lambda k: float(np.abs(np.log(steps[k])).sum()))
    matrix, level = maps[nearest], levels[nearest]
    ends = product(*((0, n - 1) for n in labels.spatial_shape))
    corners = np.rint(np.array([(*end, 1) for end in ends]) @ matrix.T)[:, :-1]
    low, high = (
        np.maximum(corners.min(0), 0).astype(int),
        np.minimum(corners.max(0) + 1, level.spatial_shape).astype(int),
    )
    if (high <= low).any():
        raise ElsewhereError(f"{_both(labels, level, 'labels')} They lie elsewhere. {ADVICE}")
    if np.prod(high - low, dtype=float) > MOST_UNDER:
        raise DataError(
            f"{_name(labels, 'labels')} ({describe_grid(labels)}) cover more than {MOST_UNDER:,} pixels of "
            f"{image.name or 'the image'}. Give labels of a part or of a coarser level."
        )
    part = cut_out(level, [slice(int(a), int(b)) for a, b in zip(low, high, strict=True)])
    place = {"level": nearest, "box": np.stack([low, high], 1).tolist(), "of": list(image.data.shape)}
    return part.replace(data=np.asarray(part.data), metadata={**part.metadata, PART: place})


def index_matrix(moving: Image, reference: Image, what: str = "") -> np.ndarray:
    """Return the (n+1, n+1) matrix from indices of one image to indices of another.

    Raises
    ------
    DataError
        If nothing says how the two lie on each other.
    """
    return _index_map(in_order(moving), in_order(reference), what).matrix


# ---- how two grids lie on each other


def _index_map(moving: Image, reference: Image, what: str = "") -> IndexMap:
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
    rounded = only_swaps(matrix, moving.spatial_shape)
    return IndexMap(matrix if rounded is None else rounded, rounded is not None)


def _comparable(first: Image, second: Image) -> bool:
    """Whether two images state places in one world: by their affines, or one as a part of the other's picture."""
    if has_size(first) != has_size(second):
        return False
    if (first.affine is None) == (second.affine is None):
        return first.affine is not None
    part, whole = (first, second) if second.affine is None else (second, first)
    frame = np.asarray(part.metadata.get(FRAME, ()), float)
    if frame.shape != (len(whole.scale) + 1,) * 2:
        return False
    units = np.diag([*(_factor(a, b) for a, b in zip(part.units, whole.units, strict=True)), 1.0])
    return bool(np.allclose(units @ frame, matrix_of(whole), rtol=SAME_STEP))


def _unplaced(moving: Image, reference: Image, what: str) -> IndexMap:
    """Return the map of images without a place: pixel to pixel, or, of pixels of stated sizes, over one field."""
    if moving.spatial_shape != reference.spatial_shape:
        field = _field(moving, reference)
        if field is not None:
            return IndexMap(field, False)
        raise DataError(f"{_both(moving, reference, what)} They differ in size, and no place says where. {ADVICE}")
    pixel_to_pixel = IndexMap(np.eye(len(moving.scale) + 1), True)
    if has_size(moving) != has_size(reference):
        return pixel_to_pixel
    axes = zip(moving.spatial_axes, reference.spatial_axes, strict=True)
    steps = zip(_steps(moving), _steps(reference), moving.units, reference.units, strict=True)
    for (axis, other), (mine, theirs, unit, their_unit) in zip(axes, steps, strict=True):
        if axis == other != "T" and not np.isclose(mine * _factor(unit, their_unit), theirs, rtol=SAME_STEP):
            raise DataError(f"{_both(moving, reference, what)} Their pixel sizes differ. {ADVICE}")
    return pixel_to_pixel


def _field(moving: Image, reference: Image) -> np.ndarray | None:
    """Return the map between finer and coarser pixels of one field of view, whose outer edges coincide.

    Where one states a place, the other one begins at the origin, as levels and labels of an OME-Zarr do.
    """
    if not (has_size(moving) and has_size(reference)) or moving.spatial_axes != reference.spatial_axes:
        return None
    if "T" in moving.spatial_axes:
        return None
    factors = np.array([_factor(a, b) for a, b in zip(moving.units, reference.units, strict=True)])
    mine, theirs = np.array(moving.scale) * factors, np.array(reference.scale)
    extents = mine * moving.spatial_shape, theirs * reference.spatial_shape
    if not (np.abs(extents[0] - extents[1]) < np.maximum(mine, theirs) / 2).all():
        return None
    matrix = np.diag([*(mine / theirs), 1.0])
    matrix[:-1, -1] = (mine / theirs - 1) / 2
    if moving.affine is None and reference.affine is None:
        return matrix
    stated = np.linalg.solve(matrix_of(reference), np.diag([*factors, 1.0]) @ matrix_of(moving))
    return stated if np.abs(stated - matrix).max() < max(1.0, *(mine / theirs)) / 2 else None


def _steps(image: Image) -> tuple[float, ...]:
    return tuple(np.linalg.norm(matrix_of(image)[:-1, :-1], axis=0))


def _factor(unit: str, other: str) -> float:
    """Return how many of the `other` unit one `unit` is; units that are no lengths must be the same."""
    mine, theirs = um_per(unit), um_per(other)
    return mine / theirs if mine and theirs else 1.0


def _is_identity(index: IndexMap, moving: Image, reference: Image) -> bool:
    same = moving.spatial_shape == reference.spatial_shape
    return same and index.turned and np.array_equal(index.matrix, np.eye(len(index.matrix)))


# ---- moving


def _turned_image(moving: Image, reference: Image, index: IndexMap, what: str) -> Image:
    """Swap and flip the axes of an image that covers the reference."""
    covers = index.turned and _covers(moving, reference, index)
    if not covers:
        why = "It does not cover the other." if index.turned else "Their voxels do not coincide."
        raise DataError(f"{_both(moving, reference, what)} {why} Resample one onto the grid of the other.")
    channels = [turn(channel, index, reference.spatial_shape) for channel in np.asarray(moving.channels_first())]
    data, axes = (np.stack(channels), "C") if "C" in moving.axes else (channels[0], "")
    done = _placed(moving, reference, data, axes + moving.spatial_axes)
    return _noted(done, [_said_turned(moving, reference, index, what)])


def _covers(moving: Image, reference: Image, index: IndexMap) -> bool:
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in reference.spatial_shape))], float)
    found = (corners @ np.linalg.inv(index.matrix).T)[:, :-1]
    return bool(((found > -0.5) & (found < np.asarray(moving.spatial_shape) - 0.5)).all())


def _nearest(labels: np.ndarray, index: IndexMap, reference: Image) -> np.ndarray:
    """Return for each voxel of the reference the label of the nearest voxel, 0 outside."""
    from scipy import ndimage

    back = np.linalg.inv(index.matrix)
    return np.asarray(
        ndimage.affine_transform(
            labels, back[:-1, :-1], back[:-1, -1], reference.spatial_shape, labels.dtype, 0, "grid-constant", 0
        )
    )


def _outside(labels: np.ndarray, index: IndexMap, reference: Image) -> tuple[int, int]:
    """Return how many labelled voxels there are, and how many of them lie outside the reference."""
    points = np.argwhere(labels)
    if not len(points):
        return 0, 0
    found = points @ index.matrix[:-1, :-1].T + index.matrix[:-1, -1]
    inside = ((found > -0.5 - NEAR) & (found < np.asarray(reference.spatial_shape) - 0.5 + NEAR)).all(1)
    return len(points), int((~inside).sum())


def _check_inside(labels: np.ndarray, index: IndexMap, moving: Image, reference: Image, what: str) -> None:
    labelled, lost = _outside(labels, index, reference)
    if labelled and lost == labelled:
        raise ElsewhereError(
            f"{_both(moving, reference, what)} They lie elsewhere: no labelled voxel is inside. {ADVICE}"
        )


def _placed(moving: Image, grid: Image, data: Any, axes: str) -> Image:
    """Return an image with other data and the geometry of `grid`; `axes` are those of the data but for their names."""
    names = iter(grid.spatial_axes)
    axes = "".join(axis if axis == "C" else next(names) for axis in axes)
    return moving.replace(data=data, axes=axes, scale=grid.scale, units=grid.units, affine=grid.affine)


# ---- sentences


def _said(
    moving: Image, reference: Image, index: IndexMap, labels: np.ndarray, found: np.ndarray, what: str
) -> list[str]:
    """Say how labels were brought onto another grid, and what of them got lost."""
    notes = [_said_turned(moving, reference, index, what)] if index.turned else [
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


def _said_turned(moving: Image, reference: Image, index: IndexMap, what: str) -> str:
    if np.array_equal(index.matrix[:-1, :-1], np.eye(len(index.matrix) - 1)):
        return (
            f"{_name(moving, what)} covers another area than {_of(reference)}: what lies at the same place was taken."
        )
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
    name = repr(image.name) if image.name else "the image"
    return f"the part of {name}" if PART in image.metadata else name
