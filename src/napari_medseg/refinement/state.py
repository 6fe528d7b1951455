"""States of a refinement session, the way between them, and its inputs.

Scribbles are uint8 (*spatial): 0 none, 1 background, 2 foreground, 3 ... further classes; class k has the value k + 1.
Masks are uint8 (*spatial): 0 background, 1 foreground, 2 ... further classes. A voxel has one scribble value, so where
strokes cross the last one wins.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from napari_medseg.errors import DataError
from napari_medseg.image import FRAMES, ML_PER_MM3, PIXEL, SHORT_UNITS, Image
from napari_medseg.io.geometry import describe_grid, measurable
from napari_medseg.io.grids import index_matrix, on_grid, same_grid
from napari_medseg.measure.labels import foreground
from napari_medseg.refinement.boxes import Box, box_of, union
from napari_medseg.refinement.history import BEGINNINGS, History, Round

OUTLINE_GAP, OUTLINE_CORE = 0.1, 0.6  # of an outline's depth: how far outside is background, how deep is the object
LINE = 1.5  # width of a line of background, in pixels
STEPS = {"crf": "smoothing"}  # what steps are called where their name says too little


class Place(NamedTuple):
    """A place to look at: voxel index, how many voxels it stands for, and why."""

    position: tuple[int, ...]
    voxels: int
    why: str


@dataclass(frozen=True)
class RefinementState:
    """What a round did, and the arrays as they are now (read-only views).

    Parameters
    ----------
    mask, scribbles, result
        Present mask (uint8), strokes (uint8) and accepted labels with the locked ones (*spatial).
    box, stroke_box, result_box
        Smallest boxes that hold every changed voxel of `mask`, `scribbles` and `result`; ``None``: nothing changed.
    n_changed
        Changed voxels of the mask.
    volume_change, unit
        Change of the foreground, in mL (3D in mm), mm^2 (2D) or the like.
    timings
        Seconds of each step: ``geodesic``, ``network``, ``crf``.
    n_strokes
        New strokes of the round.
    index, n_rounds
        Present round (0: the start) and the newest there is.
    kind
        What made this state: start, propose, refine, draw, edit, accept, reopen, undo, redo or go to.
    message
        One sentence for the user, or nothing.
    """

    mask: np.ndarray
    scribbles: np.ndarray
    result: np.ndarray
    box: Box | None
    stroke_box: Box | None
    result_box: Box | None
    n_changed: int
    volume_change: float
    unit: str
    index: int
    n_rounds: int
    kind: str = "start"
    n_strokes: int = 0
    timings: Mapping[str, float] = field(default_factory=dict)
    message: str = ""

    def counted(self) -> str:
        """Return how many voxels of the mask changed; those of frames are pixels."""
        return elements(self.n_changed, 2 if self.unit.endswith("^2") else self.mask.ndim)

    def describe(self) -> str:
        """Return the status line: round, strokes, times, voxels and volume changed."""
        later = f" of {self.n_rounds}" if self.index < self.n_rounds else ""
        strokes = f" · {self.n_strokes} stroke{'s' if self.n_strokes != 1 else ''}" if self.n_strokes else ""
        times = " + ".join(f"{1000 * s:.0f} ms {STEPS.get(name, name)}" for name, s in self.timings.items())
        volume = amount(self.volume_change, self.unit, "+")
        change = f"{self.counted()} changed ({volume})"
        return f"round {self.index}{later}{strokes}{' · ' + times if times else ''} · {change}"


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
        n_strokes: int = 0, within: Mapping[str, Box | None] | None = None, **more: Any,
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
        made = self.history.push(new, facts, within)
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
            message or (facts.get("message", "") if kind in ("refine", "draw", "propose", *BEGINNINGS) else ""),
        )  # fmt: skip

    def _still(self, message: str) -> RefinementState:
        return self._state("now", [], message=message)

    def _foreground(self) -> int:
        return self.history.filled

    def _imposed(self, labels: np.ndarray, marks: np.ndarray, box: Box | None) -> np.ndarray:
        """Give scribbled voxels of uint8 labels in a box their class, in place, locked ones 0; return the labels."""
        if box is not None:
            part, strokes = labels[box], marks[box]
            np.copyto(part, strokes - 1, where=strokes > 0)
            part[self.result[box] > 0] = 0
        return labels


def _view(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def amount(value: float, unit: str, sign: str = "-") -> str:
    """Return a volume or an area with its unit: whole numbers, else three digits; `sign` as in a format."""
    rounded = value if float(value).is_integer() else float(f"{value:.3g}")
    return f"{rounded:{sign},.10g} {unit}"


def voxel_size(image: Image) -> tuple[float, str]:
    """Return the size of one voxel and its unit: mL for mm volumes, else unit^n; of a stack of frames the area."""
    if image.metadata.get(FRAMES):
        known = PIXEL not in image.units[-2:]
        unit = SHORT_UNITS.get(image.units[-1], image.units[-1]) if known else SHORT_UNITS[PIXEL]
        return image.scale[-2] * image.scale[-1] if known else 1.0, f"{unit}^2"
    image = measurable(image)
    n, size = len(image.scale), image.element_size
    if n == 3 and set(image.units) == {"millimeter"}:
        return size * ML_PER_MM3, "mL"
    return size, f"{SHORT_UNITS.get(image.units[-1], image.units[-1])}^{n}"


def check_image(image: Image) -> None:
    """Refuse what is not one 2D or 3D image."""
    if image.spatial_axes not in ("YX", "ZYX") or not image.data.size:
        raise DataError(
            f"Refinement works on one 2D or 3D image; {image.name or 'this image'} has axes {image.axes} and shape "
            f"{image.data.shape}. Take one of them (in napari: right-click the layer, Split Stack)."
        )


def as_mask(labels: Image | np.ndarray | None, image: Image, classes: int, what: str) -> np.ndarray:
    """Return `labels` as uint8 classes on the image's grid; with one class every label above 0 is foreground.

    Raises
    ------
    DataError
        If the grid differs or there are more classes than announced.
    """
    if labels is None:
        return np.zeros(image.spatial_shape, np.uint8)
    data = label_array(labels, image, what)
    if classes == 1:
        return foreground(data).astype(np.uint8)
    if data.size and data.max() > classes:
        raise DataError(f"The {what} holds label {data.max()}, but there are {classes} classes. Set classes to match.")
    return data.astype(np.uint8)


def label_array(labels: Image | np.ndarray, image: Image, what: str) -> np.ndarray:
    """Return the array of a label map on the image's grid.

    Raises
    ------
    DataError
        If it cannot be brought there, an array has another shape, or it holds no whole numbers.
    """
    if isinstance(labels, Image):
        labels = on_grid(labels, image, what).data
    data = np.asarray(labels)
    if data.shape != image.spatial_shape:
        raise DataError(
            f"The {what} has shape {data.shape}; the image {image.name!r} has {image.spatial_shape}. "
            "Give labels on the image's own grid."
        )
    if data.dtype.kind not in "buif" or (data.size and data.min() < 0):
        raise DataError(f"The {what} must hold whole numbers from 0; it holds {data.dtype}, smallest {data.min()}.")
    return data


def elements(n: int, ndim: int) -> str:
    """Return ``1 pixel``, ``2,000 voxels``: a number of elements of an image with `ndim` axes of space."""
    return f"{n:,} {'pixel' if ndim == 2 else 'voxel'}{'s' * (n != 1)}"


def align_scribbles(scribbles: Image | np.ndarray, image: Image, classes: int, box: Box | None = None) -> np.ndarray:
    """Return a uint8 copy of scribbles on the image's grid, or of those of a box of it.

    A scribble image with another affine or size is brought over voxel by voxel through world coordinates, so that
    thin strokes survive.

    Raises
    ------
    DataError
        If the shape of a plain array differs, all strokes lie outside the image, or a value has no class.
    """
    if box is not None:
        inside = Image(np.broadcast_to(np.uint8(0), [s.stop - s.start for s in box]), image.spatial_axes)
        data = label_array(np.asarray(scribbles), inside, "part of the scribble layer")
    elif isinstance(scribbles, Image) and not same_grid(scribbles, image):
        data = _through_world(scribbles, image)
    else:
        data = label_array(scribbles, image, "scribble layer")
    largest = int(data.max(initial=0))
    if largest > classes + 1:
        raise DataError(
            f"There are scribbles of value {largest}, but {classes} class{'es' if classes > 1 else ''} and background "
            f"use values 1 to {classes + 1} (1 background, 2 foreground). Repaint them, or set classes."
        )
    return data.astype(np.uint8)


def _through_world(scribbles: Image, image: Image) -> np.ndarray:
    matrix = index_matrix(scribbles, image, "scribble layer")
    data = np.asarray(scribbles.data)
    points = np.argwhere(data)
    index = np.rint(points @ matrix[:-1, :-1].T + matrix[:-1, -1]).astype(int)
    inside = ((index >= 0) & (index < image.spatial_shape)).all(1)
    if len(points) and not inside.any():
        raise DataError(
            f"All strokes ({describe_grid(scribbles)}) lie outside the image ({describe_grid(image)}). "
            "Check the scribble layer's affine and voxel size."
        )
    out = np.zeros(image.spatial_shape, data.dtype)
    out[tuple(index[inside].T)] = data[tuple(points[inside].T)]
    return out


def outline_strokes(inside: np.ndarray, value: int = 2) -> np.ndarray:
    """Return the strokes, uint8 (*plane), that a box or a lasso around an object stands for.

    What lies deep inside is painted with `value`, a line a little outside as background; between the two the image
    decides.

    Parameters
    ----------
    inside
        Pixels within the outline, bool (*plane).
    value
        Scribble value of the object.
    """
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    away = ndimage.distance_transform_edt(~inside) if not inside.all() else np.zeros(inside.shape)
    gap = max(1.0, OUTLINE_GAP * float(depth.max()))
    strokes = np.where((away > gap) & (away <= gap + LINE), 1, 0).astype(np.uint8)
    strokes[inside & (depth >= OUTLINE_CORE * depth.max())] = value
    return strokes


def count_strokes(old: np.ndarray, new: np.ndarray) -> int:
    """Return the number of connected pieces that are new in scribbles."""
    fresh = (new > 0) & (new != old)
    box = box_of(fresh)
    return 0 if box is None else int(ndimage.label(fresh[box], np.ones((3,) * new.ndim))[1])
