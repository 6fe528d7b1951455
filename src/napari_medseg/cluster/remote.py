"""Jobs on one worker of a scheduler: it keeps what is large, and a job here follows the one there step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np

from napari_medseg.batch.memory import predict_with
from napari_medseg.cluster.connection import UnreachableError, client_of
from napari_medseg.cluster.worker import GPU, ONE_AT_A_TIME, ask_workers, cached_model, model_path, share_model
from napari_medseg.errors import MedSegError, MissingDependencyError
from napari_medseg.image import Image
from napari_medseg.inference.network import Prediction
from napari_medseg.jobs import Job, Progress
from napari_medseg.method import Model
from napari_medseg.models.catalog import load_model
from napari_medseg.models.checkpoint import card, find_model, read_checkpoint
from napari_medseg.settings import PredictSettings

T = TypeVar("T")
TURN = 0.2  # seconds between answers of a worker
PATIENCE = 5.0  # seconds without an answer after which the worker is looked for


@dataclass(frozen=True)
class Answer:
    """What a worker says of its job: the last progress, and at the end its result or error."""

    progress: Progress | None = None
    done: bool = False
    result: Any = None
    error: Exception | None = None


class Host:
    """What lives on a worker, as a Dask actor: one job at a time, moved on when asked, and what it keeps."""

    def __init__(self) -> None:
        from distributed import get_worker

        self.worker = get_worker()
        self.kept: dict[str, Any] = {}
        self._job: Job[Any] | None = None

    def model(self, known: dict[str, Any]) -> Model:
        """Return the model that was shared with the workers under the sha256 of its card `known`."""
        path = str(model_path(self.worker, known["sha256"]))
        return replace(cached_model(path, known["sha256"]), card=known)

    def begin(self, make: Callable[..., Job[Any]], *arguments: Any) -> Answer:
        """Begin ``make(self, *arguments)`` instead of what is under way."""
        self.stop()
        self._job = make(self, *arguments)
        return self.advance()

    def advance(self) -> Answer:
        """Go on with the job for a moment."""
        job, last, start = self._job, None, time.monotonic()
        on_gpu = GPU in self.worker.state.total_resources
        try:
            with ONE_AT_A_TIME if on_gpu else nullcontext():
                while job is not None and time.monotonic() - start < TURN:
                    last = replace(next(job), preview=None)
        except StopIteration as stop:
            self._job = None
            return Answer(last, True, stop.value)
        except Exception as error:  # comes out on the other side
            self._job = None
            return Answer(last, True, error=_plain(error))
        return Answer(last)

    def stop(self) -> None:
        """Close the job that is under way."""
        if self._job is not None:
            self._job.close()
        self._job = None


class RemoteWorker:
    """One worker of the scheduler at an address; connecting takes seconds at most.

    Raises
    ------
    UnreachableError, DeviceError, MissingDependencyError
        If nothing answers, the workers have another version, or Dask is not installed here.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.client = client_of(address)
        _, resources = self._try(lambda: ask_workers(self.client))
        self.actor = self._try(
            lambda: self.client.submit(Host, actor=True, pure=False, resources=resources).result(timeout=30)
        )

    @property
    def place(self) -> str:
        """Name of the computer, for people."""
        return urlsplit(self.address).hostname or self.address

    def share(self, path: Path) -> dict[str, Any]:
        """Bring a model to the workers, unless they have it, and return its card."""
        path = find_model(path)
        known = card(read_checkpoint(path), path)
        self._try(lambda: share_model(self.client, path, known["sha256"]))
        return known

    def run(self, make: Callable[..., Job[T]], *arguments: Any) -> Job[T]:
        """Do ``make(host, *arguments)`` there; closing this job stops that one.

        Raises
        ------
        UnreachableError
            If the worker is lost.
        """
        answer = self._ask("begin", make, *arguments)
        try:
            while not answer.done:
                if answer.progress is not None:
                    yield answer.progress
                answer = self._ask("advance")
        finally:
            if not answer.done:
                with suppress(UnreachableError):
                    self._try(lambda: self.actor.stop())  # nobody waits for it
        if answer.error is not None:
            raise answer.error
        result: T = answer.result
        return result

    def _ask(self, name: str, *arguments: Any) -> Answer:
        answer: Answer = self._try(lambda: self._wait(getattr(self.actor, name)(*arguments)))
        return answer

    def _wait(self, future: Any) -> Any:
        """Wait for an answer as long as the worker is there."""
        while True:
            try:
                return future.result(timeout=PATIENCE)
            except TimeoutError:
                if self.actor._address not in self.client.nthreads():
                    raise

    def _try(self, call: Callable[[], Any]) -> Any:
        """Do something over the connection; whatever goes wrong with it is one error."""
        try:
            with self.client.as_current():  # an actor finds its client this way
                return call()
        except MedSegError:
            raise
        except Exception as error:  # distributed raises anything from OSError to its own
            raise UnreachableError(f"The connection to {self.address} was lost.") from error


def predict_images_at(
    address: str, path: Path, images: Sequence[Image], settings: PredictSettings, *, probabilities: bool = True
) -> Job[list[Prediction]]:
    """Do what `predict_images` does on a worker of the scheduler at `address`, or here where it cannot be reached.

    `Prediction.device` says where it was, and why here. Without `probabilities` they stay there and the array is empty.
    """
    try:
        yield Progress(0, 1, f"asking {address}")
        worker = RemoteWorker(address)
        known = worker.share(path)
        given = [image.replace(data=np.asarray(image.data)) for image in images]
        found = yield from worker.run(_predict_images, known, given, settings, probabilities)
        return [replace(p, device=f"{p.device} of {worker.place}") for p in found]
    except (UnreachableError, MissingDependencyError) as error:
        yield Progress(0, 1, f"{error} Computing here.")
        found = yield from predict_with(load_model(path), images, settings)
        return [replace(p, device=f"{p.device} of this computer. {error}") for p in found]


def _predict_images(
    host: Host, known: dict[str, Any], images: Sequence[Image], settings: PredictSettings, probabilities: bool
) -> Job[list[Prediction]]:
    found = yield from predict_with(host.model(known), images, settings)
    return found if probabilities else [replace(p, probabilities=p.probabilities[:0]) for p in found]


def _plain(error: Exception) -> Exception:
    """Return an error that can travel and be shown."""
    if isinstance(error, MedSegError):
        return error
    return MedSegError(f"The worker failed ({type(error).__name__}: {error}). Look at its log.")
