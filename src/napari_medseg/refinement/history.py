"""Undo and redo by stored changed boxes: a change is the XOR of old and new, so one piece serves both directions."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Box = tuple[slice, ...]
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
    def between(cls, old: np.ndarray, new: np.ndarray) -> Change | None:
        """Return the change from `old` to `new` (same shape and dtype), ``None`` if they are equal."""
        box = changed_box(old, new)
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


def changed_box(old: np.ndarray, new: np.ndarray) -> Box | None:
    """Return the smallest box that holds every difference."""
    return box_of(old != new)


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
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], max_bytes: int) -> None:
        self.arrays = dict(arrays)
        self.max_bytes = max_bytes
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

    def restore(self, rounds: list[Round], first: int, index: int) -> None:
        """Take over saved rounds; the arrays are already those of `index`."""
        self.rounds, self.first, self.index = rounds, first, index
        self._next_key = max((r.key for r in rounds), default=-1) + 1

    def push(self, arrays: Mapping[str, np.ndarray], facts: dict[str, Any]) -> Round:
        """Make `arrays` the present state as a new round."""
        found = {name: Change.between(self.arrays[name], new) for name, new in arrays.items()}
        made = Round(self._next_key, {name: c for name, c in found.items() if c is not None}, facts)
        self._next_key += 1
        del self.rounds[self.index - self.first :]
        for name, change in made.changes.items():
            self.arrays[name][change.box] = arrays[name][change.box]
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
            change.apply(self.arrays[name])
        return done


def taken_back(history: History, marks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the (mask, strokes) from which `marks` go on: what was taken back or erased and is back leaves no trace.

    The newest state with just these strokes; without one the newest all of whose strokes are still in `marks`.
    """
    arrays = {name: history.arrays[name] for name in ("mask", "scribbles")}
    same = _round_with(history, marks)
    for index in range(history.index, history.first, -1):
        made = history.made(index)
        gone = index != same if same is not None else bool(((arrays["scribbles"] > 0) & (marks == 0)).any())
        if not gone or made is None or made.facts["kind"] in BEGINNINGS:
            break
        arrays = {name: array.copy() for name, array in arrays.items()}
        for name, array in arrays.items():
            if name in made.changes:
                made.changes[name].apply(array)
    return arrays["mask"], arrays["scribbles"]


def round_with(history: History, marks: np.ndarray) -> int | None:
    """Return the round nearest to the present one, on the same object, whose strokes are `marks`, or ``None``."""
    back = _round_with(history, marks)
    if back is not None:
        return back
    strokes = history.arrays["scribbles"].copy()
    for index in range(history.index + 1, history.last + 1):
        made = history.made(index)
        if made is None or made.facts["kind"] in BEGINNINGS:
            return None
        if "scribbles" in made.changes:
            made.changes["scribbles"].apply(strokes)
            if np.array_equal(strokes, marks):
                return index
    return None


def _round_with(history: History, marks: np.ndarray) -> int | None:
    """Return the newest round on the present object whose strokes are `marks`, ``None`` if there is none."""
    difference = history.arrays["scribbles"] ^ marks
    count = int(np.count_nonzero(difference))
    for index in range(history.index, history.first - 1, -1):
        if not count:
            return index
        made = history.made(index)
        if made is None or made.facts["kind"] in BEGINNINGS:
            return None
        change = made.changes.get("scribbles")
        if change is not None:
            count -= int(np.count_nonzero(difference[change.box]))
            change.apply(difference)
            count += int(np.count_nonzero(difference[change.box]))
    return None
