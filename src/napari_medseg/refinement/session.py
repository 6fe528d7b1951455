"""Refine a mask with scribbles: the headless session behind the dock, the command line and the tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_medseg.errors import DataError, counted
from napari_medseg.image import FRAMES, Image
from napari_medseg.jobs import Job, Progress
from napari_medseg.refinement.boxes import Box, around_all, changed_box, common, inner, union, whole
from napari_medseg.refinement.deepigeos_engine import DeepIGeoSEngine, undecided
from napari_medseg.refinement.engine import Engine, Known
from napari_medseg.refinement.geodesic_engine import GeodesicEngine
from napari_medseg.refinement.guidance import boundary_uncertainty, disagreement, uncertain_place
from napari_medseg.refinement.history import round_with, taken_back
from napari_medseg.refinement.log import encode, image_hash, write_session
from napari_medseg.refinement.saved import read_session
from napari_medseg.refinement.settings import RefinementSettings
from napari_medseg.refinement.slices import Carried, fill_between, propagate
from napari_medseg.refinement.state import (
    Place,
    RefinementState,
    Timeline,
    align_scribbles,
    as_mask,
    check_image,
    count_strokes,
    label_array,
)

if TYPE_CHECKING:
    from napari_medseg.method import Model

MEGABYTE = 2**20
MAX_LABEL = 2**31 - 1
LOCKED = 255  # a value that no class of a mask has


class RefinementSession(Timeline):
    """One image being segmented with scribbles, with undo over rounds and accepted objects.

    Every change is made at the end of a step: a step that fails or is closed half-way leaves the session as it was.

    Parameters
    ----------
    image
        2D or 3D image, channels allowed; voxels that are not finite count as dark.
    proposal
        Labels to start from.
    model, pnet
        R-Net for the engine ``deepigeos``, and P-Net for `propose`.
    settings
        How scribbles act.
    locked
        Label map on the image's grid whose labels are never overwritten; accepted objects join it.

    Raises
    ------
    DataError
        If the image is not one 2D or 3D image, a label map lies on another grid, or a model does not fit.
    """

    def __init__(
        self,
        image: Image,
        *,
        proposal: Image | np.ndarray | None = None,
        model: Model | None = None,
        pnet: Model | None = None,
        settings: RefinementSettings | None = None,
        locked: Image | np.ndarray | None = None,
    ) -> None:
        check_image(image)
        self.settings, self.pnet = settings or RefinementSettings(), pnet
        result = np.zeros(image.spatial_shape, np.int32)
        if locked is not None:
            result[:] = label_array(locked, image, "locked label map")
        mask = as_mask(proposal, image, self.settings.classes, "proposal")
        mask[result > 0] = 0
        arrays = {"mask": mask, "given": mask.copy(), "scribbles": np.zeros_like(mask), "result": result}
        super().__init__(image, arrays, self.settings.max_history_mb * MEGABYTE)
        self.engine: Engine = (
            DeepIGeoSEngine(image, model, self.settings)
            if self.settings.engine == "deepigeos"
            else GeodesicEngine(image, self.settings)
        )
        self._proposed: np.ndarray | None = None
        self.save_token = ""  # which save in a folder is this session's own
        self.log.append({"event": "start", "settings": self.settings.model_dump(), **encode(mask=mask, result=result)})

    # ---- what there is
    @cached_property
    def image_hash(self) -> str:
        """SHA-256 of the image's shape, type and values."""
        return image_hash(self.image)

    def mask_image(self) -> Image:
        """Return a copy of the mask as a label image on the image's grid."""
        return self.image.labels_like(self.mask.copy(), settings=self.settings.model_dump())

    # ---- steps
    def propose(self) -> Job[RefinementState]:
        """Prepare the engine, run P-Net and start from its mask; without a P-Net return the present state."""
        yield Progress(0, 1, "preparing the image (longer the first time, when kernels are compiled)")
        self.engine.prepare()
        if self.pnet is None:
            return self.state
        start = time.perf_counter()
        prediction = yield from self.engine.predict(self.pnet, self.image, self.settings.predict_settings())
        labels = as_mask(prediction.labels, self.image, self.settings.classes, "P-Net mask")
        probabilities = prediction.probabilities
        fits = probabilities.shape[1:] == self.image.spatial_shape
        self._proposed = undecided(probabilities) if fits else None
        self.log.append({"event": "propose"})
        new = {"mask": self._imposed(labels.copy(), self.scribbles, whole(labels.shape)), "given": labels}
        return self._commit("propose", new, {"network": time.perf_counter() - start})

    def refine(self, scribbles: Image | np.ndarray, box: Box | None = None) -> Job[RefinementState]:
        """Bring the mask to all scribbles painted so far (not only the new ones).

        Parameters
        ----------
        scribbles
            All strokes; with `box` those of that box, (*box), the others being as they are.
        box
            What is known to hold every stroke that changed since the present round, so that a large image is not
            looked through for them.

        Raises
        ------
        DataError
            If there is no stroke at all, or the scribbles do not fit the image.
        """
        marks, where, any_painted = self._marks(scribbles, box)
        if where is None and not self.scribbles[self._around("scribbles")].any():
            raise DataError(
                "All strokes lie on locked objects. Paint beside them, or undo until the object is open again."
                if any_painted
                else "There is no stroke yet. Paint at least one stroke, then refine."
            )
        arrays, history = self.history.arrays, self.history
        start = taken_back(history, marks, where)
        painted = union(around_all(history.extents["scribbles"]), where)
        taken = around_all(history.extents["result"])
        known = Known(start.where, start.extents, history.extents["given"], painted, taken)
        answer = yield from self.engine.refine(
            marks, start.scribbles, start.mask, arrays["given"], arrays["result"], known
        )
        n_strokes = 0 if where is None else count_strokes(self.scribbles[where], marks[where])
        within = {"scribbles": where, "mask": whole(marks.shape)}
        if answer.changed is not None:
            within["mask"] = union(start.mask_box, start.where)
            for changed in answer.changed:
                within["mask"] = union(within["mask"], changed)
        self.log.append({"event": "refine", **encode(arrays, within, scribbles=marks)})
        new = {"scribbles": marks, "mask": self._imposed(answer.labels, marks, within["mask"])}
        return self._commit("refine", new, answer.timings, answer.message, n_strokes, within=within)

    def draw(self, scribbles: Image | np.ndarray, box: Box | None = None) -> RefinementState:
        """Take strokes for the object as it is drawn: the mask changes under new strokes, and nowhere else.

        Parameters
        ----------
        scribbles, box
            As in `refine`.

        Raises
        ------
        DataError
            If no stroke is new, or the scribbles do not fit the image.
        """
        marks, where, _ = self._marks(scribbles, box)
        if where is None:
            raise DataError("There is no new stroke. Draw the object on a slice, with each class inside its border.")
        fresh = np.where(marks != self.scribbles, marks, np.uint8(0))
        mask = self._imposed(self.mask.copy(), fresh, where)
        self.log.append({"event": "draw", **encode(self.history.arrays, scribbles=marks)})
        new = {"scribbles": marks, "mask": mask, "given": mask}
        return self._commit("draw", new, {}, "Strokes were taken for the object as drawn.")

    @property
    def is_refined(self) -> bool:
        """Whether the present round is of `refine`, so that the same strokes would give the same mask."""
        made = self.history.made(self.history.index)
        return made is not None and made.facts["kind"] == "refine"

    def follow(self, scribbles: Image | np.ndarray, box: Box | None = None) -> Job[RefinementState]:
        """Go to the round that had just these strokes, earlier or later; where none had, `refine`."""
        marks, where, _ = self._marks(scribbles, box)
        index = round_with(self.history, marks, where)
        if index is None:
            return (yield from self.refine(scribbles, box))
        yield Progress(0, 1, "going there")
        return self.go_to(index)

    def _marks(self, scribbles: Image | np.ndarray, box: Box | None) -> tuple[np.ndarray, Box | None, bool]:
        """Return the strokes beside locked objects, where they differ from the present ones, and if any was painted."""
        present = self.history.arrays["scribbles"]
        if box is None:
            marks = align_scribbles(scribbles, self.image, self.settings.classes)
            painted, box = bool(marks.any()), whole(marks.shape)
            part = marks
        else:
            part = align_scribbles(scribbles, self.image, self.settings.classes, box)
            painted, marks = bool(part.any()), present.copy()
        taken = common(self._around("result"), box)
        if taken is not None:
            part[inner(taken, box)][self.history.arrays["result"][taken] > 0] = 0
        if part is not marks:
            marks[box] = part
        return marks, changed_box(present, marks, box), painted

    def _around(self, name: str) -> Box:
        """Return a box that holds everything in an array of the session."""
        return around_all(self.history.extents[name]) or (slice(0, 0),) * len(self.image.spatial_shape)

    def accept_object(self, label: int | None = None) -> RefinementState:
        """Write the mask into the result under `label`, lock it, clear the strokes.

        By default an object that was opened again gets its label back, any other the next free one. With several
        classes, class k gets ``label + k - 1``.

        Raises
        ------
        DataError
            If the mask is empty, or the label is taken or not positive.
        """
        within: dict[str, Box | None] = {name: self._around(name) for name in ("mask", "given", "scribbles")}
        box, taken = self._around("mask"), self.result[self._around("result")]
        mask = self.mask[box]
        if not mask.any():
            raise DataError("There is no object to accept: the mask is empty.")
        label = self._own_label() if label is None else label
        wanted = np.unique(mask[mask > 0]).astype(np.int64) + label - 1
        if label < 1 or wanted.max() > MAX_LABEL or np.isin(wanted, taken).any():
            free = int(taken.max(initial=0)) + 1
            raise DataError(f"Label {label} is taken or not positive. Choose a free one, the next is {free}.")
        result = self.result.copy()
        np.copyto(result[box], mask.astype(np.int32) + np.int32(label - 1), where=(mask > 0) & (result[box] == 0))
        self.log.append({"event": "accept", "label": label})
        empty = np.zeros_like(self.mask)
        new = {"result": result, "mask": empty, "given": empty, "scribbles": empty}
        return self._commit("accept", new, {}, within={**within, "result": box}, labels=wanted.tolist())

    def reopen_object(self, label: int) -> RefinementState:
        """Take the locked object `label` out of the result and into the mask, to be corrected and accepted again.

        Raises
        ------
        DataError
            If there is no such object, the mask holds another one, or there are several classes.
        """
        if self.settings.classes > 1:
            raise DataError("With several classes an object cannot be opened again. Undo until it is open.")
        if self.mask.any():
            raise DataError("The mask holds an object that is not accepted. Accept it or undo, then open another one.")
        mask = (self.result == label).astype(np.uint8) if label > 0 else np.zeros_like(self.mask)
        if not mask.any():
            raise DataError(f"There is no accepted object {label}. Give the number of one.")
        self.log.append({"event": "reopen", "label": label})
        result = np.where(mask > 0, np.int32(0), self.result)
        new = {"result": result, "mask": mask, "given": mask, "scribbles": np.zeros_like(mask)}
        message = f"Object {label} is open again. Correct it, then accept it: it keeps its number."
        return self._commit("reopen", new, {}, message, label=label)

    def accept_pieces(self) -> RefinementState:
        """Accept each connected piece of the mask as an object of its own, the largest first.

        Raises
        ------
        DataError
            If the mask is empty, or there are several classes.
        """
        if self.settings.classes > 1:
            raise DataError("With several classes a mask is accepted as one. Use Accept object.")
        pieces, count = ndimage.label(self.mask, np.ones((3,) * self.mask.ndim))
        if not count:
            raise DataError("There is no object to accept: the mask is empty.")
        order = np.argsort(-np.bincount(pieces.ravel())[1:], kind="stable")
        numbers = np.zeros(count + 1, np.int32)
        free = int(self.result.max()) + 1
        own = self._own_label()
        numbers[order + 1] = [own, *range(max(free, own + 1), max(free, own + 1) + count - 1)]
        result = np.where(pieces > 0, numbers[pieces], self.result)
        self.log.append({"event": "accept_pieces"})
        empty = np.zeros_like(self.mask)
        new = {"result": result, "mask": empty, "given": empty, "scribbles": empty}
        message = f"{counted(count, 'piece')} accepted, each as an object of its own."
        return self._commit("accept", new, {}, message, labels=numbers[order + 1].tolist())

    def join_object(self, label: int) -> RefinementState:
        """Take the locked object `label` into the mask, to be accepted with it as one object.

        Raises
        ------
        DataError
            If there is no such object, the mask is empty, or there are several classes.
        """
        if self.settings.classes > 1:
            raise DataError("With several classes objects cannot be joined.")
        if not self.mask.any():
            raise DataError("There is no open object to join with. Open one first (O), then join the other.")
        other = self.result == label
        if label < 1 or not other.any():
            raise DataError(f"There is no accepted object {label}. Give the number of one.")
        mask, result = np.where(other, np.uint8(1), self.mask), np.where(other, np.int32(0), self.result)
        return self.edit(f"Object {label} is part of the open one. Accept both as one.", mask, result)

    # ---- slices
    def fill_between(self, axis: int = 0) -> RefinementState:
        """Fill the slices along `axis` between those that the mask is on; see `slices.fill_between`.

        Raises
        ------
        DataError
            If the image is no volume, or no class is on two slices with a gap between them.
        """
        labels = np.where(self.result > 0, np.uint8(LOCKED), self.mask)
        classes = [int(k) for k in np.unique(self.mask) if k]
        if not classes:
            raise DataError(
                f"There is nothing to fill between: the mask is empty. Draw the object on two {self.plane}s."
            )
        slices = {k: int((np.moveaxis(self.mask, axis, 0) == k).any((1, 2)).sum()) for k in classes if labels.ndim == 3}
        for k in [k for k, n in slices.items() if n > 1] or classes[:1]:
            labels = fill_between(labels, k, axis)
        mask = np.where(labels == LOCKED, np.uint8(0), labels)
        if np.array_equal(mask, self.mask):
            raise DataError(f"There is no gap to fill: the object is on every {self.plane} between its first and last.")
        return self.edit(f"The {self.plane}s between are filled.", mask)

    @property
    def plane(self) -> str:
        """What a plane of the image is called."""
        return "frame" if self.image.metadata.get(FRAMES) else "slice"

    def propagate(
        self, start: int, stop: int, axis: int = 0, going: Callable[[], bool] = lambda: True
    ) -> Job[RefinementState]:
        """Carry the mask of slice `start` on to slice `stop` along `axis`; see `slices.propagate`.

        Each step yields, with the slice in its message. Once `going` says no, what was carried so far is kept.

        Raises
        ------
        DataError
            If the image is no volume, a slice does not exist, or there is no mask on slice `start`.
        """
        turned = _turned(self.image, axis)
        mask = self.mask.copy()
        along, locked = np.moveaxis(mask, axis, 0), np.moveaxis(self.result > 0, axis, 0)
        if turned.spatial_axes != "ZYX" or not 0 <= start < len(along) or not along[start].any():
            raise DataError(
                f"There is no mask on {self.plane} {start} to carry on. Go to a {self.plane} that shows the object."
            )
        if start == stop:
            raise DataError(f"There is no {self.plane} beyond {start} to carry the object on to.")
        reached, last, total = start, None, abs(stop - start)
        for k in (int(k) for k in np.unique(along[start]) if k):
            taken = locked | ((along > 0) & (along != k))
            for last in propagate(turned, along[start] == k, start, stop, taken=taken):
                along[last.index][along[last.index] == k] = 0
                along[last.index][last.mask] = k
                done = abs(last.index - start)
                reached = last.index if done > abs(reached - start) else reached
                yield Progress(done, total, f"{self.plane} {last.index}, confidence {last.confidence:.2f}")
                if not going():
                    break
        if last is None:
            beyond = np.moveaxis(self.result, axis, 0)[start + (1 if stop > start else -1)]
            there = ", ".join(str(n) for n in np.unique(beyond[along[start] > 0]) if n)
            why = f": accepted there is {there}, which is left as it is" if there else ""
            raise DataError(
                f"The object of {self.plane} {start} is not found on the next one{why}. "
                "Draw it there, then fill between."
            )
        return self.edit(_carried(last, f"{self.plane} {reached}", reached == stop), mask, slice=reached)

    def edit(self, what: str, mask: np.ndarray, result: np.ndarray | None = None, **facts: int) -> RefinementState:
        """Go on from a mask (uint8, *spatial) made in another way, as if it had been given; strokes are cleared.

        Parameters
        ----------
        what
            Sentence on what was done, for the user and the history.
        mask
            New mask; locked voxels are left out.
        result
            New accepted labels, int32 (*spatial), if they change too.
        **facts
            What else the round is to tell.
        """
        result = self.result if result is None else result
        mask = np.where(result > 0, np.uint8(0), mask)
        self.log.append({"event": "edit", "what": what, **encode(self.history.arrays, mask=mask, result=result)})
        new = {"mask": mask, "given": mask, "scribbles": np.zeros_like(mask), "result": result}
        return self._commit("edit", new, {}, what, 0, None, **facts)

    def _own_label(self) -> int:
        """Return the label of the object that was opened again and is not accepted since, else the next free one."""
        for made in reversed(self.history.rounds[: self.history.index - self.history.first]):
            if made.facts["kind"] == "reopen" and not (self.result == made.facts["label"]).any():
                return int(made.facts["label"])
            if made.facts["kind"] in ("accept", "reopen"):
                break
        return int(self.result[self._around("result")].max(initial=0)) + 1

    # ---- where to look
    def uncertainty(self) -> np.ndarray:
        """Return how undecided each voxel is, float32 (*spatial) in [0, 1]."""
        found = self.engine.uncertainty()
        found = self._proposed if found is None else found
        if found is not None and not self.engine.border_doubt:
            return found
        border = boundary_uncertainty(self.mask, self.engine.intensities)
        return border if found is None else np.maximum(found, border)

    def uncertain_place(self, visited: Sequence[tuple[int, ...]] = ()) -> Place | None:
        """Return the least decided place that is neither scribbled nor around a position of `visited`, or ``None``."""
        return uncertain_place(self.uncertainty(), self.scribbles, visited)

    def biggest_disagreement(self, reference: Image | np.ndarray) -> Place | None:
        """Return the middle of the largest region in which the mask differs from `reference`, or ``None``."""
        return disagreement(self.mask, as_mask(reference, self.image, self.settings.classes, "reference"))

    # ---- keeping
    def save(self, folder: str | Path) -> Path:
        """Write strokes, masks, settings, timings and log to `folder`; a crash leaves the older save whole.

        Raises
        ------
        WriteError
            If the folder cannot be written, or holds another session, or a newer save of this one from another window.
        """
        return write_session(self, Path(folder))

    @classmethod
    def load(
        cls, folder: str | Path, image: Image | None = None, *, model: Model | None = None, pnet: Model | None = None
    ) -> RefinementSession:
        """Reopen a saved session; without `image` it is read from the file it came from.

        Raises
        ------
        DataError
            If the folder holds no session, or the image is another one.
        """
        return read_session(cls, Path(folder), image, model=model, pnet=pnet)


def _turned(image: Image, axis: int) -> Image:
    """Return a volume with `axis` of space as its first, without its place."""
    n = len(image.spatial_axes)
    order = [axis, *(k for k in range(n) if k != axis)]
    data = image.channels_first().transpose(0, *(k + 1 for k in order))
    scale, units = (tuple(values[k] for k in order) for values in (image.scale, image.units))
    return image.replace(data=data, axes="C" + image.spatial_axes, scale=scale, units=units, affine=None)


def _carried(last: Carried, plane: str, whole: bool) -> str:
    said = f"Carried on to {plane} (confidence {last.confidence:.2f})"
    return f"{said}." if whole else f"{said}, not further. Correct it there if it needs it, and go on from there."
