from __future__ import annotations

from napari_medseg.jobs import Job, Progress, run


def test_run_returns_the_result_and_reports_every_step() -> None:
    def job() -> Job[str]:
        yield Progress(1, 2)
        yield Progress(2, 2, "done")
        return "result"

    seen: list[Progress] = []
    assert run(job(), seen.append) == "result"
    assert [p.step for p in seen] == [1, 2]
