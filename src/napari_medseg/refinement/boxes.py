"""Boxes of voxels: what they share, how they grow, and where the values of an array lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

Box = tuple[slice, ...]
Extents = dict[int, Box]  # boxes that hold every voxel of each value above 0; they may be larger than needed


def box_of(mask: np.ndarray) -> Box | None:
    """Return the smallest box that holds every true voxel, ``None`` if there is none."""
    box: list[slice] = []
    for axis in range(mask.ndim):
        inner = mask[tuple(box)]
        hits = np.flatnonzero(inner.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not hits.size:
            return None
        box.append(slice(int(hits[0]), int(hits[-1]) + 1))
    return tuple(box)


def changed_box(old: np.ndarray, new: np.ndarray, within: Box | None = None) -> Box | None:
    """Return the smallest box that holds every difference; with `within` there are none outside that box."""
    if within is None:
        return box_of(old != new)
    found = box_of(old[within] != new[within])
    return None if found is None else outer(found, within)


def widened(box: Box, margins: Sequence[int], shape: tuple[int, ...]) -> Box:
    """Return `box` with `margins` voxels more at both ends of each axis, as far as `shape` goes."""
    return tuple(slice(max(0, s.start - m), min(n, s.stop + m)) for s, m, n in zip(box, margins, shape, strict=True))


def union(a: Box | None, b: Box | None) -> Box | None:
    """Return the smallest box that holds both."""
    if a is None or b is None:
        return a or b
    return tuple(slice(min(s.start, t.start), max(s.stop, t.stop)) for s, t in zip(a, b, strict=True))


def common(a: Box | None, b: Box | None) -> Box | None:
    """Return what two boxes share, ``None`` if that is nothing."""
    if a is None or b is None:
        return None
    found = tuple(slice(max(s.start, t.start), min(s.stop, t.stop)) for s, t in zip(a, b, strict=True))
    return found if all(s.start < s.stop for s in found) else None


def inner(box: Box, around: Box) -> Box:
    """Return `box` as it lies in the array of the box `around`."""
    return tuple(slice(s.start - a.start, s.stop - a.start) for s, a in zip(box, around, strict=True))


def outer(box: Box, around: Box) -> Box:
    """Return a box of the array of the box `around` as it lies in the whole."""
    return tuple(slice(s.start + a.start, s.stop + a.start) for s, a in zip(box, around, strict=True))


def whole(shape: Sequence[int]) -> Box:
    """Return the box of a whole array."""
    return tuple(slice(0, n) for n in shape)


def extents_of(array: np.ndarray, within: Box | None = None) -> Extents:
    """Return the box of each value above 0 of a uint8 array, looked for in a box only if that is given.

    Of an array of larger integers all values above 0 count as 1.
    """
    within = within or whole(array.shape)
    if array.dtype != np.uint8:
        box = box_of(array[within] != 0)
        return {} if box is None else {1: outer(box, within)}
    found = ndimage.find_objects(array[within]) if array[within].any() else []
    return {value: outer(box, within) for value, box in enumerate(found, 1) if box is not None}


def around_all(extents: Extents) -> Box | None:
    """Return a box that holds every voxel above 0."""
    box: Box | None = None
    for other in extents.values():
        box = union(box, other)
    return box


def joined(extents: Extents, more: Extents) -> Extents:
    """Return the boxes that hold both."""
    both = dict(extents)
    for value, box in more.items():
        both[value] = union(both.get(value), box) or box
    return both


@dataclass(frozen=True)
class Voxels:
    """A set of voxels of an image: those that are true in a box, bool (*box), which is the smallest there is."""

    box: Box
    inside: np.ndarray

    @classmethod
    def found(cls, box: Box, inside: np.ndarray) -> Voxels:
        """Return the voxels that are true in `inside`, bool (*box)."""
        tight = box_of(inside)
        if tight is None:
            return cls((slice(0, 0),) * len(box), np.zeros((0,) * len(box), bool))
        return cls(outer(tight, box), inside[tight])

    def __bool__(self) -> bool:
        return self.inside.size > 0

    def within(self, box: Box) -> np.ndarray:
        """Return which voxels of a box belong to them, a new array, bool (*box)."""
        out = np.zeros([s.stop - s.start for s in box], bool)
        shared = common(self.box, box)
        if shared is not None:
            out[inner(shared, box)] = self.inside[inner(shared, self.box)]
        return out
