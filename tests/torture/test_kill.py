"""``kill -9`` at random moments, and long sessions: nothing that was finished is lost, memory stays flat.

The short cut kills 3 saves and refines 100 rounds; with ``MEDSEG_TORTURE`` set 50 saves, 50 trainings, 500 rounds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from toy import write_cases

sys.path.insert(0, str(Path(__file__).parent))
from kill_save import halves, scribble

from napari_medseg.jobs import run
from napari_medseg.refinement import RefinementSession, RefinementSettings

FULL = bool(os.environ.get("MEDSEG_TORTURE"))
KILLS, ROUNDS = (50, 500) if FULL else (3, 100)
FLAT = 30 * 2**20
START = 120.0
TINY = ["--architecture", "unet2", "--batch-size", "2", "--steps-per-epoch", "1"]
TINY += ["--device", "cpu", "--stop-patience", "0"]
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


@pytest.mark.skipif(not FULL, reason="minutes; a killed training of the short set is in tests/test_cli.py")
def test_a_killed_training_resumes(tmp_path: Path) -> None:
    cases, folder = write_cases(tmp_path / "cases", n=4, size=32), tmp_path / "run"
    words = [sys.executable, "-m", "napari_medseg", "train", "afm-unet", str(cases), "-o", str(folder), *TINY]
    rng, seen = np.random.default_rng(1), 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            [*words, "--resume", "--epochs", "90000"], stderr=subprocess.DEVNULL, env=ENVIRONMENT
        )
        deadline = time.monotonic() + START
        while epochs(folder) <= seen and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(float(rng.uniform(0, 0.2)))
        process.kill()
        assert process.wait() == -9
        assert epochs(folder) > seen, "the killed run did not go on from the one before"
        seen = epochs(folder)
    finish = subprocess.run(
        [*words, "--resume", "--epochs", str(seen + 2)], capture_output=True, text=True, check=False
    )
    assert finish.returncode == 0, finish.stderr
    assert epochs(folder) == seen + 2
    log_line(test="kill -9 of a training, then --resume", kills=KILLS, epochs=seen)


def epochs(folder: Path) -> int:
    try:
        return max(len((folder / "history.csv").read_text().splitlines()) - 1, 0)
    except OSError:
        return 0


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
