"""Run a job in a napari thread worker; results and errors come back in the window's thread."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from napari import current_viewer
from napari.qt.threading import GeneratorWorker
from napari.utils import progress as activity
from qtpy.compat import isalive

from napari_medseg._napari import PLUGIN
from napari_medseg.errors import MedSegError
from napari_medseg.jobs import Job, Progress


class JobWorker:
    """One running job.

    A RuntimeError in a generator worker would vanish without a signal, so it is raised again as `MedSegError`;
    stopping a worker does not close its generator, so the job is closed when the worker has ended. A widget that is its
    `owner` hears nothing any more once it is gone.
    """

    def __init__(
        self,
        job: Job[Any],
        *,
        on_progress: Callable[[Progress], None],
        on_result: Callable[[Any], None],
        on_error: Callable[[Exception], None],
        on_end: Callable[[], None],
        title: str = "",
        quick: bool = False,
        owner: Any = None,
    ) -> None:
        self.job, self.owner = job, owner
        # a bar in the activity dock takes longer to make than a quick job to run
        self.bar: Any = None if quick else activity(total=100, desc=title or "Medical segmentation")
        self.on_progress = self._while_alive(on_progress)
        self.worker: Any = GeneratorWorker(_guarded, job)
        self.worker.yielded.connect(self._progress)
        self.worker.returned.connect(self._while_alive(on_result))
        self.worker.errored.connect(self._while_alive(on_error))
        self.worker.finished.connect(self._end)
        self.on_end = self._while_alive(on_end)
        self.task = None if quick else _Task(title or "Medical segmentation", self.stop)
        self.worker.start()

    def _while_alive(self, call: Callable[..., None]) -> Callable[..., None]:
        """Return `call`, to be left out when the owner is gone."""
        return lambda *arguments: call(*arguments) if self.owner is None or isalive(self.owner) else None

    def stop(self) -> None:
        """Ask the job to end after its present step."""
        self.worker.quit()

    @property
    def running(self) -> bool:
        """Whether the job is under way."""
        return bool(self.worker.is_running)

    def _progress(self, progress: Progress) -> None:
        if progress.total and self.bar is not None:
            self.bar.n = round(100 * progress.step / progress.total)
            self.bar.refresh()
        self.on_progress(progress)

    def _end(self) -> None:
        self.job.close()
        if self.bar is not None:
            self.bar.close()
        if self.task is not None:
            self.task.end()
        self.on_end()


class _Task:
    """A job as napari's window knows it: closing the window while it runs asks first, and then stops it."""

    def __init__(self, title: str, stop: Callable[[], None]) -> None:
        viewer = current_viewer()
        self.window: Any = None if viewer is None else viewer.window
        if not hasattr(self.window, "_register_task_status"):  # napari up to 0.6
            self.window = None
            return
        from napari.utils.task_status import Status

        self.done = Status.COMPLETED
        self.id = self.window._register_task_status(PLUGIN, Status.BUSY, f"{title} is running", stop)

    def end(self) -> None:
        """Say that nothing runs any more."""
        if self.window is not None:
            self.window._update_task_status(self.id, self.done)


def _guarded(job: Job[Any]) -> Generator[Progress, None, Any]:
    try:
        return (yield from job)
    except RuntimeError as error:
        raise MedSegError(f"The computation failed: {error}") from error
