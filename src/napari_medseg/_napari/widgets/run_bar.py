"""Run / Stop, one progress bar with step, time left and message, and the obvious next step."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_medseg._napari.widgets.named import named, push_button
from napari_medseg._napari.widgets.words import duration
from napari_medseg._napari.worker import JobWorker
from napari_medseg.errors import MedSegError
from napari_medseg.jobs import Job, Progress, Speed


class RunBar(QWidget):
    """Drive one job at a time; `make_job` is asked for a job when Run is pressed.

    `kept` says what Stop leaves, `tip` what Run does.
    """

    def __init__(
        self,
        make_job: Callable[[], Job[Any]],
        on_result: Callable[[Any], None],
        on_progress: Callable[[Progress], None] = lambda _: None,
        text: str = "Run",
        kept: str = "Nothing was changed.",
        tip: str = "",
    ) -> None:
        super().__init__()
        self.make_job, self.on_result, self.on_progress = make_job, on_result, on_progress
        self.current: JobWorker | None = None
        self.reason, self.stopping, self.failed = "", False, False
        self.kept = kept  # what is there after Stop, in a sentence
        self.tip = tip or text
        self.run_button, self.stop_button = (
            push_button(text, self.tip),
            push_button("Stop", "End after the step under way"),
        )
        self.bar, self.message = named(QProgressBar(), f"Progress: {text}", ""), QLabel("")
        self.device = QLabel("")
        for text in (self.message, self.device):
            text.setWordWrap(True)
        self.device.hide()
        self.next_button = QPushButton()
        self.next_button.hide()
        self.run_button.clicked.connect(self.start)
        self.stop_button.clicked.connect(self.stop)
        self.stop_button.setEnabled(False)
        row = QHBoxLayout()
        row.addWidget(self.run_button)
        row.addWidget(self.stop_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        for widget in (self.bar, self.message, self.next_button, self.device):
            layout.addWidget(widget)

    def set_reason(self, reason: str) -> None:
        """Disable Run with the reason in words; an empty reason enables it."""
        before, self.reason = self.reason, reason
        if self.current is None:
            self.run_button.setEnabled(not reason)
            self.run_button.setToolTip(reason or self.tip)
            if reason != before:  # what was made, or why something ended, stays to be read
                self.say(reason)
            if reason:
                self.next_button.hide()

    def start(self) -> None:
        """Start a job unless one runs."""
        if self.current is not None or self.reason:
            return
        self.next_button.hide()
        try:
            job = self.make_job()
        except MedSegError as error:
            self.say(str(error))
            return
        self.begin(job, self.on_result)

    def begin(self, job: Job[Any], done: Callable[[Any], None]) -> None:
        """Run a job; `done` gets its result."""
        if self.current is not None:
            return
        self.done = done
        self.next_button.hide()
        self.started, self.speed = time.monotonic(), Speed()
        self.failed = self.stopping = False
        self.bar.setValue(0)
        self.say("Starting ...")
        self.stop_button.setEnabled(True)
        if self.run_button.hasFocus():
            self.stop_button.setFocus()
        self.run_button.setEnabled(False)
        self.current = JobWorker(
            job,
            on_progress=lambda progress: self._progress(progress),
            on_result=lambda result: self._result(result),
            on_error=lambda error: self._error(error),
            on_end=lambda: self._end(),
            owner=self,
        )

    def stop(self) -> None:
        """Ask the running job to stop."""
        if self.current is not None:
            self.stopping = True
            self.say("Stopping after this step ...")
            self.current.stop()

    @property
    def spent(self) -> str:
        """How long the job has taken."""
        return duration(time.monotonic() - self.started)

    def say(self, text: str) -> None:
        """Show one message under the bar."""
        self.message.setText(text)

    def clear(self) -> None:
        """Take back what was said of a result that is gone."""
        if self.current is None:
            self.next_button.hide()
            self.bar.reset()
            self.say(self.reason)

    def offer(self, text: str, action: Callable[[], None]) -> None:
        """Show one button for the next step."""
        self.next_button.setText(text)
        self.next_button.setToolTip(f"The next step: {text}")
        with contextlib.suppress(TypeError):  # nothing was connected
            self.next_button.clicked.disconnect()
        self.next_button.clicked.connect(lambda: action())
        self.next_button.show()

    def _progress(self, progress: Progress) -> None:
        share = progress.step / progress.total if progress.total else 0
        self.bar.setValue(round(100 * share))
        if not self.stopping:
            self.say(progress.message + self._left(share))
        self.on_progress(progress)

    def _left(self, share: float) -> str:
        """Say how long the rest takes at the present speed."""
        speed = self.speed.note(share, time.monotonic() - self.started)
        return f" · {duration((1 - share) / speed)} left" if speed and share < 1 else ""

    def _result(self, result: Any) -> None:
        self.stopping = False
        self.bar.setValue(100)
        self.say(f"Done in {self.spent}")
        self.done(result)

    def _error(self, error: Exception) -> None:
        self.failed = True
        known = isinstance(error, MedSegError)
        self.say(str(error) if known else f"Unexpected error ({type(error).__name__}): {error}. Nothing was changed.")

    def _end(self) -> None:
        self.current = None
        self.run_button.setEnabled(not self.reason)
        if self.stop_button.hasFocus():
            self.run_button.setFocus()
        self.stop_button.setEnabled(False)
        if self.stopping and not self.failed:
            self.say(f"Stopped. {self.kept}")
