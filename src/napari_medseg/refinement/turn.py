"""What a round of the geodesic engine works on: its arrays, the object it looks for, and what it has found of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from napari_medseg.graphcut.energy import Search
from napari_medseg.graphcut.problem import Lazy
from napari_medseg.refinement.boxes import Box, Extents, Voxels, box_of, common, inner, joined, outer


@dataclass
class Turn:
    """Strokes, labels so far and on the way to the answer, accepted objects (*spatial), and where the classes lie.

    `painted` and `taken` are boxes that hold all strokes and all accepted objects, if there are any.
    """

    scribbles: np.ndarray
    mask: np.ndarray
    labels: np.ndarray
    locked: np.ndarray
    extents: Extents
    painted: Box | None
    taken: Box | None
    changed: list[Box] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""
        return self.labels.shape

    def of_class(self, k: int) -> Voxels:
        """Return the voxels that have class `k` on the way to the answer."""
        box = self.extents.get(k, (slice(0, 0),) * self.labels.ndim)
        return Voxels.found(box, self.labels[box] == k)

    def write(self, box: Box, where: np.ndarray, value: int) -> None:
        """Give the voxels `where`, bool (*box), of a box another class."""
        np.copyto(self.labels[box], value, where=where)
        self.changed.append(box)
        if value:
            self.extents = joined(self.extents, {value: box})


@dataclass
class Sought:
    """Class `k` in its parts at the strokes `new` and elsewhere (`others`), and what was looked at of it already.

    `told` is how much strokes have told of its part, from 0 to 1. Of an object that was given, `core` is the share of
    its depth beyond which it counts as drawn, and what lies elsewhere tells nothing of it.
    """

    k: int
    new: Voxels
    own: Voxels
    others: Voxels
    told: float
    core: float | None = None
    searches: dict[tuple[object, ...], dict[bytes, Search]] = field(default_factory=dict)


class Look(NamedTuple):
    """A box in which an object ends, the search that found it, and the contrast along its border."""

    box: Box
    search: Search
    contrast: float


def lazy(make: Callable[[Box], np.ndarray], filled: Box | None, box: Box) -> Lazy:
    """Return what `make` makes of boxes of the image, in a box of it."""
    shared = common(filled, box)
    shape = tuple(s.stop - s.start for s in box)
    return Lazy(shape, lambda part: make(outer(part, box)), None if shared is None else inner(shared, box))


def signs(marks: np.ndarray, value: int) -> np.ndarray:
    """Return the strokes of a class, int8: 1 its own, -1 others, 0 none."""
    if not marks.any():
        return np.zeros(marks.shape, np.int8)
    ours = (marks == value).view(np.int8)
    return np.asarray(ours + ours - (marks > 0).view(np.int8))


def beside(voxels: Voxels, box: Box) -> np.ndarray:
    """Return which voxels of a box do not belong to `voxels`."""
    return ~voxels.within(box)


def touching(pieces: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Return the connected pieces of a bool array that hold a voxel of `marks`."""
    out, box = np.zeros(pieces.shape, bool), box_of(pieces)
    if box is not None:
        labels, count = ndimage.label(pieces[box], np.ones((3,) * pieces.ndim))
        keep = np.zeros(count + 1, bool)
        keep[labels[marks[box]]] = True
        keep[0] = False
        out[box] = keep[labels]
    return out


def wrong_strokes(scribbles: np.ndarray, before: np.ndarray, mask: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each class that new strokes contradict, and these strokes, bool (*spatial); losing classes first."""
    new = (scribbles != before) & (scribbles > 0) & (scribbles != mask + 1)
    gain, lose = np.unique(scribbles[new]) - 1, np.unique(mask[new])
    for k in [*(k for k in lose if k not in gain), *gain]:
        if k > 0:
            yield int(k), new & ((scribbles == k + 1) | (mask == k))
