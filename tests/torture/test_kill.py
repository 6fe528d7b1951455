"""``kill -9`` at random moments, and long sessions: nothing that was finished is lost, memory stays flat.

The short cut kills each 3 times and refines 100 rounds; with ``MEDSEG_TORTURE`` set 50 times each, 500 rounds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import forkserver, get_context
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import kill_jobs
from kill_save import halves, scribble

from napari_medseg.io.files import PREFIX, sweep
from napari_medseg.jobs import run
from napari_medseg.refinement import RefinementSession, RefinementSettings

FULL = bool(os.environ.get("MEDSEG_TORTURE"))
KILLS, ROUNDS, PAIRS = (50, 500, 20) if FULL else (3, 100, 2)
FLAT = 30 * 2**20
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def log_line(**facts: object) -> None:
    with open(os.environ.get("MEDSEG_TORTURE_LOG", os.devnull), "a", encoding="utf-8") as log:
        log.write(json.dumps(facts) + "\n")


def test_a_killed_save_leaves_a_session_that_loads(tmp_path: Path) -> None:
    """The process is killed while it saves without pause; what loads is never older than the last finished save."""
    rng = np.random.default_rng(0)
    for kill in range(KILLS):
        folder = tmp_path / f"session{kill}"
        words = [sys.executable, str(Path(__file__).with_name("kill_save.py")), str(folder)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        assert process.stdout is not None
        assert process.stdout.readline() == "saved 0\n"
        time.sleep(float(rng.uniform(0, 0.3)))
        process.kill()
        out, _ = process.communicate()
        finished = 1 + sum(line.startswith("saved") and line.endswith("\n") for line in out.splitlines(True))
        session = RefinementSession.load(folder, halves())
        rounds = sum(event["event"] == "refine" for event in session.log)
        assert rounds in (finished, finished + 1)
        np.testing.assert_array_equal(session.scribbles, scribble(rounds - 1))
        run(session.refine(scribble(rounds + 5)))
        session.save(folder)
        again = RefinementSession.load(folder, halves())
        again.undo()
        np.testing.assert_array_equal(again.scribbles, scribble(rounds - 1))
        assert not list(folder.glob(".*.part"))
    log_line(test="kill -9 while a session is saved", kills=KILLS)


class Killer:
    """Starts work in processes that have everything loaded already, and kills it."""

    def __init__(self, seed: int) -> None:
        self.context = get_context("forkserver")
        self.context.set_forkserver_preload(["kill_jobs"])
        with pytest.MonkeyPatch.context() as patch:  # the server finds what it is to load by the environment alone
            patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
            patch.setenv("OMP_NUM_THREADS", "1")
            forkserver.ensure_running()
        self.rng = np.random.default_rng(seed)

    def start(self, work: Callable[..., None], *words: object, seconds: float | None = None) -> bool:
        """Return whether the work ended before it was killed; without `seconds` it is left to end."""
        process = self.context.Process(target=work, args=words)
        process.start()
        process.join(seconds)
        alive = process.is_alive()
        process.kill()
        process.join()
        assert alive or process.exitcode == 0
        return not alive


def hidden(folder: Path) -> list[str]:
    return [p.name for p in folder.rglob("*") if p.name.startswith(PREFIX) or p.name.endswith(".part")]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a fork server")
@pytest.mark.parametrize("kind", ["batch", "slide", "movie", "training"])
def test_killed_work_goes_on_to_the_same_result(kind: str, tmp_path: Path) -> None:
    """Killed up to ten times at random moments, it ends in the bytes of work that was never killed."""
    killer, source = Killer(1), tmp_path / "source"
    source.mkdir()
    kill_jobs.prepare(kind, source)
    killer.start(kill_jobs.work, kind, source, tmp_path / "first")
    begun = time.monotonic()
    killer.start(kill_jobs.work, kind, source, tmp_path / "whole")
    length, kills, runs = time.monotonic() - begun, 0, 0
    wanted = kill_jobs.result(kind, tmp_path / "whole")
    assert len(wanted) > 3
    while kills < KILLS:
        out, runs = tmp_path / f"killed{runs}", runs + 1
        for _ in range(10):
            if killer.start(kill_jobs.work, kind, source, out, seconds=float(killer.rng.uniform(0.02, length))):
                break
            kills += 1
        killer.start(kill_jobs.work, kind, source, out)
        assert kill_jobs.result(kind, out) == wanted
        assert hidden(out) == []
    log_line(test=f"kill -9 of {kind}, then again", kills=kills, runs=runs, seconds=round(length, 2))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a fork server")
def test_a_killed_export_leaves_the_older_or_the_newer_file(tmp_path: Path) -> None:
    killer, out = Killer(2), tmp_path / "out"
    for value in (1, 2):
        for name in kill_jobs.EXPORTS:
            kill_jobs.export_one(tmp_path / str(value) / name, value)
    allowed = {n: {kill_jobs.exported(tmp_path / v / n) for v in "12"} for n in kill_jobs.EXPORTS}
    assert all(len(two) == 2 for two in allowed.values())
    out.mkdir()
    for name in kill_jobs.EXPORTS:
        kill_jobs.export_one(out / name, 1)
    for _ in range(KILLS):
        assert not killer.start(kill_jobs.export, out, seconds=float(killer.rng.uniform(0.05, 0.6)))
        sweep(out)
        assert hidden(out) == []
        assert {name for name in allowed if kill_jobs.exported(out / name) not in allowed[name]} == set()
    log_line(test="kill -9 of exports", kills=KILLS, files=len(allowed))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a fork server")
@pytest.mark.parametrize("kind", ["batch", "movie", "training"])
def test_two_processes_on_one_folder_end_in_one_whole_result(kind: str, tmp_path: Path) -> None:
    killer, source = Killer(3), tmp_path / "source"
    source.mkdir()
    kill_jobs.prepare(kind, source)
    killer.start(kill_jobs.work, kind, source, tmp_path / "whole")
    wanted, refused = kill_jobs.result(kind, tmp_path / "whole"), 0
    for pair in range(PAIRS):
        out, reports = tmp_path / f"out{pair}", [tmp_path / f"report{pair}{k}" for k in "ab"]
        both = [killer.context.Process(target=kill_jobs.attempt, args=(kind, source, out, r)) for r in reports]
        for process in both:
            process.start()
            time.sleep(float(killer.rng.uniform(0, 0.1)))
        for process in both:
            process.join()
        said = sorted(report.read_text(encoding="utf-8") for report in reports)
        assert said[1] == "done"
        assert said[0] == "done" or "Another process or window is writing into" in said[0]
        refused += said[0] != "done"
        assert kill_jobs.result(kind, out) == wanted
        assert hidden(out) == []
    log_line(test=f"two processes on one folder, {kind}", pairs=PAIRS, refused=refused)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a fork server")
def test_two_processes_on_one_session_lose_no_round(tmp_path: Path) -> None:
    killer = Killer(4)
    for pair in range(PAIRS):
        folder, other, start = (tmp_path / f"{name}{pair}" for name in ("session", "other", "start"))
        session = RefinementSession(halves(), settings=RefinementSettings(crf=False))
        run(session.refine(scribble(0)))
        session.save(folder)
        firsts = (1, 11)
        both = [killer.context.Process(target=kill_jobs.go_on, args=(folder, other, k, start)) for k in firsts]
        for process in both:
            process.start()
        while not all(start.with_suffix(f".{k}").exists() for k in firsts):
            time.sleep(0.01)
        start.touch()
        for process in both:
            process.join()
            assert process.exitcode == 0
        ends = [RefinementSession.load(place, halves()).scribbles for place in (folder, other)]
        assert {int((end == 1).sum()) for end in ends} == {int((scribble(k + 2) == 1).sum()) for k in firsts}
    log_line(test="two processes on one session", pairs=PAIRS)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")
def test_many_rounds_need_no_more_memory() -> None:
    session = RefinementSession(halves(), settings=RefinementSettings(crf=False, max_history_mb=1))
    half = 0
    for k in range(ROUNDS):
        run(session.refine(scribble(k)))
        if k == ROUNDS // 2:
            half = resident()
    rise = resident() - half
    assert len([event for event in session.log if event["event"] == "refine"]) == ROUNDS
    log_line(test="refinement rounds", rounds=ROUNDS, rise_mb=round(rise / 2**20, 1))
    assert rise < FLAT


def resident() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))
