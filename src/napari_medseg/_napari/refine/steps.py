"""Run the steps of one session one after another in a worker; a newer stroke cancels an older refinement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QTimer

from napari_medseg._napari.worker import JobWorker
from napari_medseg.errors import MedSegError
from napari_medseg.jobs import Job, Progress

REFINE, ROUNDS, LOOK, SAVE = "refine", "rounds", "look", "save"
CANCEL_REFINEMENT = (REFINE, ROUNDS)
ONLY_NEWEST = (REFINE, LOOK, SAVE)


@dataclass
class Step:
    """One step: `make` returns its job (``None``: nothing to do), `done` gets what the job returned."""

    kind: str
    make: Callable[[], Job[Any] | None]
    done: Callable[[Any], None]
    result: Any = None
    finished: bool = False

    def job(self, job: Job[Any]) -> Job[Any]:
        """Run `job` and keep its result, which a cancelled worker would not hand over."""
        self.result = yield from job
        self.finished = True
        return self.result


class Steps:
    """The queue; `say` shows one sentence, `busy` what is going on (empty: nothing)."""

    def __init__(self, say: Callable[[str], None], busy: Callable[[str], None]) -> None:
        self.say, self.busy = say, busy
        self.queue: list[Step] = []
        self.current: Step | None = None
        self.worker: JobWorker | None = None
        self.closing: Callable[[], None] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        return self.current is None and not self.queue

    def do(self, kind: str, make: Callable[[], Job[Any] | None], done: Callable[[Any], None]) -> None:
        """Do a step as soon as the running one has ended; refinements and look-ups are replaced by newer ones."""
        if self.closing is not None:
            return
        self.queue = [step for step in self.queue if step.kind != kind or kind not in ONLY_NEWEST]
        self.queue.append(Step(kind, make, done))
        if self.current is None:
            self._next()
        elif self.current.kind == REFINE and kind in CANCEL_REFINEMENT and self.worker is not None:
            self.worker.stop()

    def close(self, then: Callable[[], None]) -> None:
        """Let the newest refinement end and cancel all else; call `then` once nothing runs."""
        if self.closing is not None:
            return
        self.queue = [step for step in self.queue if step.kind == REFINE]
        self.closing = then
        if self.current is None:
            then()
        elif self.worker is not None and self.current.kind != REFINE:
            self.worker.stop()

    def _next(self) -> None:
        while self.queue and self.current is None:
            step = self.queue.pop(0)
            job = step.make()
            if job is not None:
                self.current = step
                self.worker = JobWorker(
                    step.job(job), on_progress=self._progress, on_result=lambda _: None, on_error=self._error,
                    on_end=self._end, quick=True,
                )  # fmt: skip

    def _progress(self, progress: Progress) -> None:
        if self.closing is None:
            self.busy(progress.message)

    def _error(self, error: Exception) -> None:
        if self.closing is None:
            known = isinstance(error, MedSegError)
            self.say(str(error) if known else f"Unexpected error ({type(error).__name__}): {error}. Nothing changed.")

    def _end(self) -> None:
        step, self.current, self.worker = self.current, None, None
        if self.closing is not None:
            self._next()
            if self.current is None:
                self.closing()
            return
        self.busy("")
        if step is not None and step.finished:
            step.done(step.result)
        self._next()


def timer(wait: int, action: Callable[[], None]) -> QTimer:
    """Return a timer that calls `action` once, `wait` ms after its last start."""
    made = QTimer(interval=wait, singleShot=True)
    made.timeout.connect(action)
    return made
