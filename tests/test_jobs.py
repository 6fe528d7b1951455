from __future__ import annotations

import pytest

from napari_medseg.jobs import Job, Progress, Speed, run


def test_run_returns_the_result_and_reports_every_step() -> None:
    def job() -> Job[str]:
        yield Progress(1, 2)
        yield Progress(2, 2, "done")
        return "result"

    seen: list[Progress] = []
    assert run(job(), seen.append) == "result"
    assert [p.step for p in seen] == [1, 2]


def test_speed_forgets_a_slow_first_step() -> None:
    speed = Speed()
    assert speed.note(0, 0.0) is None
    assert speed.note(1, 40.0) is None, "40 s of compiling say nothing of the second frame"
    assert speed.note(2, 42.0) == 0.5
    assert [speed.note(step, 38.0 + 2 * step) for step in range(3, 60)] == [0.5] * 57


def test_speed_waits_until_frames_that_come_together_tell_something() -> None:
    speed = Speed()
    batch = [speed.note(step, 30.0) for step in range(1, 5)]
    assert batch == [None] * 4
    assert speed.note(5, 34.0) == pytest.approx((5 - 3) / 4.0)
    assert speed.note(5, 36.0) is not None, "a step that is told twice counts once"


def test_speed_follows_a_change_and_begins_anew_with_another_part() -> None:
    speed = Speed()
    for step in range(100):
        speed.note(step, step * 0.1)
    for step in range(100, 400):
        known = speed.note(step, 10 + (step - 100) * 1.0)
    assert known == pytest.approx(1.0)
    assert speed.note(0, 400.0) is None
    assert speed.note(1, 401.0) is None
    assert speed.note(2, 411.0) == pytest.approx(0.1)
