"""Refinement on a worker: it holds the image, the models and the geodesic maps; only changed boxes travel.

The session stays here: mask, strokes, rounds and their undo are small, survive a lost worker, and are saved as ever.
Its engine is replaced by one that sends the box in which strokes and mask changed since the last round and gets back
the box in which the labels differ from the mask, both compressed. When the worker is lost the engine of this computer,
which was never used until then, goes on from the same state.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.cluster.connection import UnreachableError
from napari_medseg.cluster.remote import Host, RemoteWorker
from napari_medseg.errors import DataError, MissingDependencyError
from napari_medseg.image import Image
from napari_medseg.inference.network import Prediction, predict
from napari_medseg.jobs import Job, Progress, run
from napari_medseg.method import Model
from napari_medseg.refinement import RefinementSession
from napari_medseg.refinement.boxes import Box, box_of
from napari_medseg.refinement.deepigeos_engine import undecided
from napari_medseg.refinement.engine import Answer, Engine, Known
from napari_medseg.refinement.history import Change
from napari_medseg.refinement.settings import RefinementSettings
from napari_medseg.settings import PredictSettings

NAMES = ("scribbles", "before", "mask", "given", "locked")
TOY = 24
Changes = Mapping[str, Change | None]
Part = tuple[Box, bytes] | None


def refine_at(address: str, session: RefinementSession, rnet: Path | None = None, pnet: Path | None = None) -> Job[str]:
    """Let a worker of the scheduler at `address` do the rounds of `session`; return a sentence on where they are done.

    Where it cannot be reached the session stays as it is.
    """
    try:
        yield Progress(0, 2, f"asking {address}")
        worker = RemoteWorker(address)
        cards = [None if path is None else worker.share(path) for path in (rnet, pnet)]
        engine = RemoteEngine(worker, session, *cards)
        yield from engine.open()
    except (UnreachableError, MissingDependencyError) as error:
        return f"{error} Refining on this computer."
    session.engine = engine
    return f"Rounds are computed by {worker.place}."


class RemoteEngine(Engine):
    """The engine of a session on a worker, with the interface of the engines here.

    Parameters
    ----------
    worker, session
        Where, and for which session, whose engine takes over when the worker is lost.
    rnet, pnet
        Cards of the models, which the worker has.
    """

    def __init__(
        self,
        worker: RemoteWorker,
        session: RefinementSession,
        rnet: dict[str, Any] | None = None,
        pnet: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(session.image)
        self.worker, self.local = worker, session.engine
        self.lost = False
        self._settings = session.settings
        self.border_doubt = self.local.border_doubt
        self._rnet, self._pnet = rnet, pnet
        self._sent = {name: np.zeros(session.mask.shape, np.uint8) for name in NAMES}

    def open(self) -> Job[None]:
        """Send the image, and load and warm up the engine there."""
        image = self.image
        plain = Image(np.asarray(image.data), image.axes, image.scale, image.units, image.affine, name=image.name)
        yield from self.worker.run(_open, plain, self._settings, self._rnet)

    def prepare(self) -> None:
        """Prepare what `open` did not."""
        if self.lost:
            self.local.prepare()

    def refine(
        self, scribbles: np.ndarray, before: np.ndarray, mask: np.ndarray, given: np.ndarray, locked: np.ndarray,
        known: Known | None = None,
    ) -> Job[Answer]:  # fmt: skip
        """Return the labels for all scribbles, as the engines here do."""
        now = dict(zip(NAMES, (scribbles, before, mask, given, (locked > 0).astype(np.uint8)), strict=True))
        message = ""
        if not self.lost:
            changes = {name: Change.between(self._sent[name], array) for name, array in now.items()}
            self._sent = {name: array.copy() for name, array in now.items()}
            try:
                change, timings, message = yield from self.worker.run(_refine, changes)
                labels = mask.copy()
                if change is not None:
                    change.apply(labels)
                return Answer(labels, timings, message, [] if change is None else [change.box])
            except UnreachableError as error:
                self.lost = True
                message = f"{error} Refining on this computer."
        answer = yield from self.local.refine(scribbles, before, mask, given, locked, known)
        answer.message = f"{message} {answer.message}".strip()
        return answer

    def uncertainty(self) -> np.ndarray | None:
        """Return how undecided each voxel was in the last round, float32 (*spatial), or ``None``."""
        if self.lost:
            return self.local.uncertainty()
        try:
            found: Part = run(self.worker.run(_uncertainty))
        except UnreachableError:
            self.lost = True
            return None
        return None if found is None else _unpacked(found, self.image.spatial_shape)

    def predict(self, model: Model, image: Image, settings: PredictSettings) -> Job[Prediction]:
        """Run P-Net there; `model` is the same here."""
        if not self.lost and self._pnet is not None:
            try:
                return (yield from self._predict(image, settings))
            except UnreachableError as error:
                self.lost = True
                yield Progress(0, 1, f"{error} Computing here.")
        return (yield from predict(model, image, settings))

    def _predict(self, image: Image, settings: PredictSettings) -> Job[Prediction]:
        change, part, device, seconds = yield from self.worker.run(_predict, self._pnet, settings)
        labels = np.zeros(image.spatial_shape, np.uint8)
        if change is not None:
            change.apply(labels)
        # one channel that `undecided` turns into what the worker found, instead of all channels
        p = 1 - _unpacked(part, image.spatial_shape) / 2
        return Prediction(image.labels_like(labels), p[None], f"{device} of {self.worker.place}", seconds)


def _open(host: Host, image: Image, settings: RefinementSettings, rnet: dict[str, Any] | None) -> Job[None]:
    """Make an engine for an image in a worker, and compile what it needs on a corner of the image."""
    yield Progress(0, 2, "preparing the image")
    model = host.model(rnet) if rnet else None
    session = RefinementSession(image, model=model, settings=settings)
    session.engine.prepare()
    yield Progress(1, 2, "warming up (longer the first time)")
    cut = tuple(slice(0, None if axis == "C" else TOY) for axis in image.axes)
    toy = RefinementSession(image.replace(data=image.data[cut], affine=None), model=model, settings=settings)
    marks = np.zeros(toy.mask.shape, np.uint8)
    marks[..., :3], marks[..., -3:] = 1, 2
    with suppress(DataError):  # a corner may be too small for the network: nothing is lost
        run(toy.refine(marks))
    host.kept = {"engine": session.engine, "image": image}
    host.kept |= {name: np.zeros(image.spatial_shape, np.uint8) for name in NAMES}


def _refine(host: Host, changes: Changes) -> Job[tuple[Change | None, dict[str, float], str]]:
    arrays = {name: host.kept[name] for name in NAMES}
    for name, change in changes.items():
        if change is not None:
            change.apply(arrays[name])
    copies = [array.copy() for array in arrays.values()]
    answer = yield from host.kept["engine"].refine(*copies)
    return Change.between(arrays["mask"], answer.labels), answer.timings, answer.message


def _uncertainty(host: Host) -> Job[Part]:
    yield Progress(0, 1, "uncertainty")
    found = host.kept["engine"].uncertainty()
    return None if found is None else _packed(found)


def _predict(
    host: Host, pnet: dict[str, Any], settings: PredictSettings
) -> Job[tuple[Change | None, Part, str, float]]:
    found = yield from predict(host.model(pnet), host.kept["image"], settings)
    labels = np.asarray(found.labels.data, np.uint8)
    fits = found.probabilities.shape[1:] == labels.shape
    unsure = undecided(found.probabilities) if fits else np.zeros(labels.shape, np.float32)
    return Change.between(np.zeros_like(labels), labels), _packed(unsure), found.device, found.seconds


def _packed(array: np.ndarray) -> Part:
    """Return the box in which `array` is not 0, and its float32 values compressed."""
    box = box_of(array != 0)
    return None if box is None else (box, zlib.compress(np.ascontiguousarray(array[box], np.float32).tobytes(), 1))


def _unpacked(part: Part, shape: tuple[int, ...]) -> np.ndarray:
    array = np.zeros(shape, np.float32)
    if part is not None:
        box, blob = part
        array[box] = np.frombuffer(zlib.decompress(blob), np.float32).reshape(array[box].shape)
    return array
