"""Long work as generators: they yield `Progress` and return their result."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from napari_medseg.image import Image

T = TypeVar("T")
SHORTEST = 0.5  # seconds over which a speed is measured: frames of one batch come all at once


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Parameters
    ----------
    step, total
        Work done and work in all, in the job's own unit (tiles, iterations, files).
    message
        One plain sentence for the user.
    metrics
        Named numbers of this step, for curves and logs.
    item
        What of many things the step is about: the path of a file.
    preview
        A picture of the present state, for example one validation case after an epoch.
    """

    step: int
    total: int
    message: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    preview: Image | None = None
    item: str = ""


class Speed:
    """How fast a job goes on, by the newer half of its steps: a slow start, or a quick one, is soon forgotten.

    What came before the first step that ended is not counted: there models are loaded and compiled.
    """

    def __init__(self) -> None:
        self._points: list[tuple[float, float]] = []  # step or share of the work done, seconds

    def note(self, done: float, seconds: float) -> float | None:
        """Take that `done` steps were done after `seconds`; return steps per second, ``None`` while nobody can tell."""
        points = self._points
        if points and done < points[-1][0]:  # another part of the job
            points.clear()
        if not points or done > points[-1][0]:
            points.append((done, seconds))
        half = bisect_right(points, ((points[0][0] + done) / 2, float("inf"))) - 1
        then, since = points[max(half, 1)] if len(points) > 2 else (done, seconds)
        return (done - then) / (seconds - since) if done > then and seconds - since >= SHORTEST else None


Job = Generator[Progress, None, T]


def relabel(job: Job[T], change: Callable[[Progress], Progress]) -> Job[T]:
    """Run `job` as a part of another one: each `Progress` is replaced by ``change(progress)``."""
    while True:
        try:
            progress = next(job)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        yield change(progress)


def run(job: Job[T], on_progress: Callable[[Progress], None] | None = None) -> T:
    """Drain `job`, handing each `Progress` to `on_progress`, and return the job's result."""
    while True:
        try:
            progress = next(job)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        if on_progress is not None:
            on_progress(progress)
