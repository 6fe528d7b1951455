"""Traps of thread workers: RuntimeErrors must arrive, stopped jobs must be closed, progress counts steps."""

from __future__ import annotations

import time
from typing import Any

import pytest
from qtpy.compat import isalive
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QLabel
from shorthand import Wait

from napari_medseg._napari.widgets.run_bar import RunBar
from napari_medseg._napari.worker import JobWorker
from napari_medseg.jobs import Job, Progress


@pytest.mark.usefixtures("qapp")
def test_a_runtime_error_arrives(wait: Wait) -> None:
    def job() -> Job[None]:
        yield Progress(0, 1)
        raise RuntimeError("CUDA out of memory")

    bar = RunBar(job, lambda _: None)
    bar.start()
    wait(lambda: bar.current is None)
    assert "CUDA out of memory" in bar.message.text()
    assert bar.run_button.isEnabled()


@pytest.mark.usefixtures("qapp")
def test_stop_closes_the_job(wait: Wait) -> None:
    closed: list[bool] = []

    def job() -> Job[None]:
        try:
            for step in range(10_000):
                time.sleep(0.001)
                yield Progress(step, 10_000, "working")
        finally:
            closed.append(True)

    results: list[Any] = []
    bar = RunBar(job, results.append)
    bar.start()
    wait(lambda: bar.message.text().startswith("working"))
    bar.stop()
    wait(lambda: bar.current is None)
    assert closed == [True]
    assert results == []
    assert bar.message.text() == "Stopped. Nothing was changed."


@pytest.mark.usefixtures("qapp")
def test_the_bar_shows_steps_of_the_job_not_yields(wait: Wait) -> None:
    seen: list[int] = []

    def job() -> Job[str]:
        for _ in range(5):
            yield Progress(1, 2)
        return "done"

    bar = RunBar(job, lambda _: None, lambda _: seen.append(bar.bar.value()))
    bar.start()
    wait(lambda: bar.current is None)
    assert seen == [50] * 5


def test_napari_knows_of_a_job_while_it_runs(make_napari_viewer: Any, wait: Wait) -> None:
    viewer = make_napari_viewer()
    tasks = viewer.window._task_status_manager
    going, closed = [True], list[bool]()

    def job() -> Job[None]:
        try:
            while going:
                time.sleep(0.005)
                yield Progress(0, 1, "working")
        finally:
            closed.append(True)

    for end in (going.clear, tasks.cancel_all):  # it ends by itself; napari is closed and the user agrees
        going[:] = [True]
        bar = RunBar(job, lambda _: None)
        bar.start()
        wait(lambda bar=bar: bar.message.text() == "working")
        assert tasks.is_busy()
        assert any("napari-medseg" in line for line in tasks.get_status())
        end()
        wait(lambda bar=bar: bar.current is None)
        assert not tasks.is_busy()
    assert closed == [True, True]


@pytest.mark.usefixtures("qapp")
def test_a_widget_that_is_gone_hears_nothing_and_the_job_ends(wait: Wait) -> None:
    closed: list[bool] = []

    def job() -> Job[str]:
        try:
            for step in range(50):
                time.sleep(0.002)
                yield Progress(step, 50, "working")
            return "done"
        finally:
            closed.append(True)

    line = QLabel("")
    told = {"on_result": line.setText, "on_error": lambda error: line.setText(str(error))}
    worker = JobWorker(
        job(), on_progress=lambda p: line.setText(p.message), on_end=lambda: line.setText("ended"), owner=line, **told
    )
    wait(lambda: line.text() == "working")
    line.deleteLater()
    QApplication.sendPostedEvents(line, QEvent.Type.DeferredDelete.value)
    assert not isalive(line)
    wait(lambda: bool(closed) and not worker.running)
