"""Undo and redo by stored changed boxes: a change is the XOR of old and new, so one piece serves both directions."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

Box = tuple[slice, ...]
Extents = dict[int, Box]  # boxes that hold every voxel of each value above 0; they may be larger than needed
LEVEL = 1
BEGINNINGS = ("accept", "reopen", "edit")  # rounds after which strokes begin anew


@dataclass(frozen=True)
class Change:
    """Compressed XOR of the box in which an integer array changed; `count` voxels did."""

    box: Box
    dtype: str
    blob: bytes
    count: int

    @classmethod
    def between(cls, old: np.ndarray, new: np.ndarray, within: Box | None = None) -> Change | None:
        """Return the change from `old` to `new` (same shape and dtype), ``None`` if they are equal.

        With `within` they are known to be equal outside that box.
        """
        box = changed_box(old, new, within)
        if box is None:
            return None
        difference = np.ascontiguousarray(old[box] ^ new[box])
        blob = zlib.compress(difference.tobytes(), LEVEL)
        return cls(box, difference.dtype.str, blob, int(np.count_nonzero(difference)))

    def apply(self, array: np.ndarray) -> None:
        """Turn old into new, or new into old, in place."""
        shape = tuple(s.stop - s.start for s in self.box)
        difference = np.frombuffer(zlib.decompress(self.blob), self.dtype).reshape(shape)
        array[self.box] ^= difference


def changes_between(
    old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray], within: Mapping[str, Box | None] | None = None
) -> dict[str, Change]:
    """Return what changed of each array of `new`; those named in `within` are equal outside a box, or everywhere."""
    boxes, found = within or {}, {}
    for name, array in new.items():
        box = boxes.get(name)
        change = None if name in boxes and box is None else Change.between(old[name], array, box)
        if change is not None:
            found[name] = change
    return found


def changed_box(old: np.ndarray, new: np.ndarray, within: Box | None = None) -> Box | None:
    """Return the smallest box that holds every difference; with `within` there are none outside that box."""
    if within is None:
        return box_of(old != new)
    found = box_of(old[within] != new[within])
    return None if found is None else outer(found, within)


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


@dataclass(frozen=True)
class Round:
    """One step of the history: the changes of each array, and facts about it (JSON-serialisable)."""

    key: int
    changes: Mapping[str, Change]
    facts: dict[str, Any] = field(default_factory=dict)

    def count(self, name: str) -> int:
        """Return how many voxels of an array changed."""
        return self.changes[name].count if name in self.changes else 0

    @property
    def nbytes(self) -> int:
        """Memory of the changes."""
        return sum(len(change.blob) for change in self.changes.values())


class History:
    """Arrays and the rounds that made them; a new round after undo drops the later ones.

    Parameters
    ----------
    arrays
        Integer arrays by name, changed in place.
    max_bytes
        Bound of the memory of all rounds; the oldest go first, the newest always stays.

    Attributes
    ----------
    first, index
        Oldest round that can be reached, and the present one; round 0 is the start.
    extents
        Where the values of each array lie (`extents_of`), kept up as boxes change: no round looks through whole arrays.
    filled
        How many voxels of the mask are not 0.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], max_bytes: int) -> None:
        self.arrays = dict(arrays)
        self.max_bytes = max_bytes
        self._measure()
        self.first = self.index = 0
        self.rounds: list[Round] = []
        self._next_key = 0

    @property
    def last(self) -> int:
        """Newest round."""
        return self.first + len(self.rounds)

    @property
    def nbytes(self) -> int:
        """Memory of all rounds."""
        return sum(r.nbytes for r in self.rounds)

    def _measure(self) -> None:
        self.extents = {name: extents_of(array) for name, array in self.arrays.items()}
        self.filled = int(np.count_nonzero(self.arrays["mask"])) if "mask" in self.arrays else 0

    def restore(self, arrays: Mapping[str, np.ndarray], rounds: list[Round], first: int, index: int) -> None:
        """Take over saved arrays, which are those of round `index`, and rounds."""
        self.arrays = dict(arrays)
        self.rounds, self.first, self.index = rounds, first, index
        self._next_key = max((r.key for r in rounds), default=-1) + 1
        self._measure()

    def push(
        self, arrays: Mapping[str, np.ndarray], facts: dict[str, Any], within: Mapping[str, Box | None] | None = None
    ) -> Round:
        """Make `arrays` the present state as a new round; they are known to differ from the present ones in boxes."""
        made = Round(self._next_key, changes_between(self.arrays, arrays, within), facts)
        self._next_key += 1
        del self.rounds[self.index - self.first :]
        for name, change in made.changes.items():
            self._change(name, change)
        self.rounds.append(made)
        self.index += 1
        while self.nbytes > self.max_bytes and len(self.rounds) > 1:
            self.rounds.pop(0)
            self.first += 1
        return made

    def back(self) -> Round | None:
        """Undo one round and return it, ``None`` at the oldest."""
        if self.index == self.first:
            return None
        self.index -= 1
        return self._apply(self.index)

    def forward(self) -> Round | None:
        """Redo one round and return it, ``None`` at the newest."""
        if self.index == self.last:
            return None
        self.index += 1
        return self._apply(self.index - 1)

    def made(self, index: int) -> Round | None:
        """Return the round that led to `index`."""
        return self.rounds[index - self.first - 1] if self.first < index <= self.last else None

    def _apply(self, number: int) -> Round:
        done = self.rounds[number - self.first]
        for name, change in done.changes.items():
            self._change(name, change)
        return done

    def _change(self, name: str, change: Change) -> None:
        array = self.arrays[name]
        part = array[change.box]
        filled = int(np.count_nonzero(part))
        change.apply(array)
        if name == "mask":
            self.filled += int(np.count_nonzero(part)) - filled
        self.extents[name] = joined(self.extents[name], extents_of(array, change.box))


class Earlier(NamedTuple):
    """Mask and strokes that a round goes on from, where the mask differs from the present one, and its extents.

    `where` is a box outside of which the strokes are those of the round to come.
    """

    mask: np.ndarray
    scribbles: np.ndarray
    mask_box: Box | None
    extents: Extents
    where: Box | None


def taken_back(history: History, marks: np.ndarray, where: Box | None) -> Earlier:
    """Return what `marks` go on from: what was taken back or erased and is back leaves no trace.

    The newest state with just these strokes; without one the newest all of whose strokes are still in `marks`, which
    differ from the present strokes in the box `where` only.
    """
    mask, strokes, extents = history.arrays["mask"], history.arrays["scribbles"], history.extents["mask"]
    mask_box: Box | None = None
    same = _round_back(history, _difference(history, marks, where))
    for index in range(history.index, history.first, -1):
        made = history.made(index)
        gone = index != same if same is not None else _lacks(marks, strokes, where)
        if not gone or made is None or made.facts["kind"] in BEGINNINGS:
            break
        if index == history.index:
            mask, strokes = mask.copy(), strokes.copy()
        if "mask" in made.changes:
            change = made.changes["mask"]
            change.apply(mask)
            mask_box, extents = union(mask_box, change.box), joined(extents, extents_of(mask, change.box))
        if "scribbles" in made.changes:
            made.changes["scribbles"].apply(strokes)
            where = union(where, made.changes["scribbles"].box)
    return Earlier(mask, strokes, mask_box, extents, where)


def _lacks(marks: np.ndarray, strokes: np.ndarray, where: Box | None) -> bool:
    """Whether strokes are missing in `marks`, which differ from them in the box `where` only."""
    return where is not None and bool(((strokes[where] > 0) & (marks[where] == 0)).any())


def round_with(history: History, marks: np.ndarray, where: Box | None) -> int | None:
    """Return the round nearest to the present one, on the same object, whose strokes are `marks`, or ``None``.

    `marks` differ from the present strokes in the box `where` only.
    """
    back = _round_back(history, _difference(history, marks, where))
    if back is not None:
        return back
    difference = _difference(history, marks, where)
    for index in range(history.index + 1, history.last + 1):
        made = history.made(index)
        if made is None or made.facts["kind"] in BEGINNINGS:
            return None
        if "scribbles" in made.changes:
            difference.apply(made.changes["scribbles"])
            if not difference.count:
                return index
    return None


class _Difference:
    """XOR of the strokes of two states, and how many voxels differ; only boxes that change are ever touched."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._array, self.count = np.zeros(shape, np.uint8), 0

    def apply(self, change: Change) -> None:
        part = self._array[change.box]
        self.count -= int(np.count_nonzero(part))
        change.apply(self._array)
        self.count += int(np.count_nonzero(part))


def _difference(history: History, marks: np.ndarray, where: Box | None) -> _Difference:
    found = _Difference(marks.shape)
    change = None if where is None else Change.between(history.arrays["scribbles"], marks, where)
    if change is not None:
        found.apply(change)
    return found


def _round_back(history: History, difference: _Difference) -> int | None:
    """Return the newest round on the present object whose strokes differ by nothing, ``None`` if there is none."""
    for index in range(history.index, history.first - 1, -1):
        if not difference.count:
            return index
        made = history.made(index)
        if made is None or made.facts["kind"] in BEGINNINGS:
            return None
        if "scribbles" in made.changes:
            difference.apply(made.changes["scribbles"])
    return None
