"""Undo and redo by stored changed boxes: a change is the XOR of old and new, so one piece serves both directions."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from napari_medseg.refinement.boxes import Box, Extents, changed_box, extents_of, joined, union

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
