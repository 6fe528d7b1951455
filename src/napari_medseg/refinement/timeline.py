"""The present arrays of a session, its rounds, and the way between them; every step reports a `RefinementState`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.refinement.history import Box, History, Round, union
from napari_medseg.refinement.state import RefinementState, voxel_size


class Timeline:
    """Mask, strokes and accepted labels of one image, with undo, redo and an event log.

    Parameters
    ----------
    image
        The image, for its grid and units.
    arrays
        ``mask``, ``given`` (the mask before any stroke) and ``scribbles`` (uint8) and ``result`` (int32), each
        (*spatial).
    max_bytes
        Bound of the history's memory.
    """

    def __init__(self, image: Image, arrays: Mapping[str, np.ndarray], max_bytes: int) -> None:
        self.image = image
        self.history = History(arrays, max_bytes)
        self.log: list[dict[str, Any]] = []

    @property
    def mask(self) -> np.ndarray:
        """Present mask uint8 (*spatial), read only."""
        return _view(self.history.arrays["mask"])

    @property
    def scribbles(self) -> np.ndarray:
        """Strokes of the present state uint8 (*spatial), read only."""
        return _view(self.history.arrays["scribbles"])

    @property
    def result(self) -> np.ndarray:
        """Locked and accepted labels int32 (*spatial), read only."""
        return _view(self.history.arrays["result"])

    @property
    def can_undo(self) -> bool:
        """Whether there is an older round."""
        return self.history.index > self.history.first

    @property
    def can_redo(self) -> bool:
        """Whether there is a newer round."""
        return self.history.index < self.history.last

    @property
    def rounds(self) -> list[Mapping[str, Any]]:
        """Facts of the rounds that can be reached, oldest first (kind, strokes, voxels, volume, timings, time)."""
        return [r.facts for r in self.history.rounds]

    @property
    def state(self) -> RefinementState:
        """The present state, as if nothing had just changed."""
        return self._state("start" if not self.history.index else "now", [])

    # ---- moving
    def undo(self) -> RefinementState:
        """Go back one round (mask, strokes and accepted labels)."""
        return self.go_to(self.history.index - 1, "undo") if self.can_undo else self._still("There is nothing to undo.")

    def redo(self) -> RefinementState:
        """Go forward one round."""
        return self.go_to(self.history.index + 1, "redo") if self.can_redo else self._still("There is nothing to redo.")

    def go_to(self, index: int, kind: str = "go to") -> RefinementState:
        """Go to round `index` (0: the start).

        Raises
        ------
        DataError
            If that round does not exist or was dropped to save memory.
        """
        history = self.history
        if not history.first <= index <= history.last:
            raise DataError(f"Round {index} is not kept; rounds {history.first} to {history.last} are.")
        before = self._foreground()
        moved: list[Round] = []
        while history.index != index:
            step = history.back() if history.index > index else history.forward()
            moved += [step] if step else []
        self.log.append({"event": "go_to", "index": index})
        return self._state(kind, moved, before)

    # ---- inner workings
    def _commit(
        self, kind: str, new: Mapping[str, np.ndarray], timings: dict[str, float], message: str = "",
        n_strokes: int = 0, **more: Any,
    ) -> RefinementState:  # fmt: skip
        if self.can_redo:
            dropped = self.history.last - self.history.index
            message = f"{message} {dropped} later round{'s' if dropped > 1 else ''} dropped.".strip()
        before = self._foreground()
        facts = {
            "kind": kind,
            "n_strokes": n_strokes,
            "timings": timings,
            "message": message,
            "time": time.time(),
            **more,
        }
        made = self.history.push(new, facts)
        state = self._state(kind, [made], before)
        made.facts.update(n_changed=state.n_changed, volume_change=state.volume_change, unit=state.unit)
        return state

    def _state(self, kind: str, moved: list[Round], before: int | None = None, message: str = "") -> RefinementState:
        size, unit = voxel_size(self.image)
        boxes: dict[str, Box | None] = {"mask": None, "scribbles": None, "result": None}
        for step in moved:
            for name in boxes:
                if name in step.changes:
                    boxes[name] = union(boxes[name], step.changes[name].box)
        changed = sum(step.count("mask") for step in moved)
        made = self.history.made(self.history.index)
        facts = made.facts if made is not None and kind not in ("start", "now") else {}
        change = 0.0 if before is None else (self._foreground() - before) * size
        return RefinementState(
            self.mask, self.scribbles, self.result, boxes["mask"], boxes["scribbles"], boxes["result"],
            changed, change, unit, self.history.index, self.history.last, kind,
            facts.get("n_strokes", 0) if kind == "refine" else 0,
            facts.get("timings", {}) if len(moved) == 1 and kind in ("refine", "propose") else {},
            message or (facts.get("message", "") if kind in ("refine", "propose", "accept", "reopen") else ""),
        )  # fmt: skip

    def _still(self, message: str) -> RefinementState:
        return self._state("now", [], message=message)

    def _foreground(self) -> int:
        return int(np.count_nonzero(self.mask))

    def _imposed(self, labels: np.ndarray, marks: np.ndarray) -> np.ndarray:
        """Return uint8 labels with scribbled voxels at their class and locked voxels at 0."""
        out = np.where(marks > 0, marks - 1, labels).astype(np.uint8)
        out[self.result > 0] = 0
        return out


def _view(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view
