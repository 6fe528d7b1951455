"""Refine a mask with scribbles: the headless session behind the dock, the command line and the tests."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.jobs import Job, Progress
from napari_medseg.refinement.deepigeos_engine import DeepIGeoSEngine, undecided
from napari_medseg.refinement.engine import Engine
from napari_medseg.refinement.geodesic_engine import GeodesicEngine
from napari_medseg.refinement.history import BEGINNINGS, taken_back
from napari_medseg.refinement.log import encode, image_hash, write_session
from napari_medseg.refinement.places import boundary_uncertainty, disagreement, uncertain_place
from napari_medseg.refinement.saved import read_session
from napari_medseg.refinement.settings import RefinementSettings
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
        yield Progress(0, 1, "preparing the image")
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
        new = {"mask": self._imposed(labels, self.scribbles), "given": labels}
        return self._commit("propose", new, {"network": time.perf_counter() - start})

    def refine(self, scribbles: Image | np.ndarray) -> Job[RefinementState]:
        """Bring the mask to all scribbles painted so far (not only the new ones).

        Raises
        ------
        DataError
            If there is no stroke at all, or the scribbles do not fit the image.
        """
        marks = align_scribbles(scribbles, self.image, self.settings.classes)
        painted = marks.any()
        marks[self.result > 0] = 0
        if not marks.any() and not self.scribbles.any():
            raise DataError(
                "All strokes lie on locked objects. Paint beside them, or undo until the object is open again."
                if painted
                else "There is no stroke yet. Paint at least one stroke, then refine."
            )
        mask, before = taken_back(self.history, marks)
        answer = yield from self.engine.refine(marks, before, mask, self.history.arrays["given"])
        n_strokes = count_strokes(self.scribbles, marks)
        self.log.append({"event": "refine", **encode(self.history.arrays, scribbles=marks)})
        new = {"scribbles": marks, "mask": self._imposed(answer.labels, marks)}
        return self._commit("refine", new, answer.timings, answer.message, n_strokes)

    def accept_object(self, label: int | None = None) -> RefinementState:
        """Write the mask into the result under `label`, lock it, clear the strokes.

        By default an object that was opened again gets its label back, any other the next free one. With several
        classes, class k gets ``label + k - 1``.

        Raises
        ------
        DataError
            If the mask is empty, or the label is taken or not positive.
        """
        mask, result = self.mask, self.result
        if not mask.any():
            raise DataError("There is no object to accept: the mask is empty.")
        label = self._own_label() if label is None else label
        wanted = np.unique(mask[mask > 0]).astype(np.int64) + label - 1
        if label < 1 or wanted.max() > MAX_LABEL or np.isin(wanted, result).any():
            raise DataError(
                f"Label {label} is taken or not positive. Choose a free one, the next is {result.max() + 1}."
            )
        merged = np.where((mask > 0) & (result == 0), mask.astype(np.int32) + np.int32(label - 1), result)
        self.log.append({"event": "accept", "label": label})
        empty = np.zeros_like(mask)
        new = {"result": merged, "mask": empty, "given": empty, "scribbles": empty}
        return self._commit("accept", new, {})

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

    def _own_label(self) -> int:
        """Return the label of the object that was opened again and is not accepted since, else the next free one."""
        for made in reversed(self.history.rounds[: self.history.index - self.history.first]):
            if made.facts["kind"] == "reopen" and not (self.result == made.facts["label"]).any():
                return int(made.facts["label"])
            if made.facts["kind"] in BEGINNINGS:
                break
        return int(self.result.max()) + 1

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
            If the folder cannot be written, or holds a newer save of this session from another window.
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
