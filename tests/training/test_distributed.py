"""Two processes on loopback train to the same weights as one with the same global batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy import write_cases

from napari_medseg.models.checkpoint import read_checkpoint

SCRIPT = Path(__file__).with_name("ddp_run.py")
LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def test_two_processes_equal_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two = train([], tmp_path / "a"), train(LAUNCH, tmp_path / "b")
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], value, rtol=1e-4, atol=1e-5)
    assert [row["val_loss"] for row in one["history"]] == pytest.approx(
        [row["val_loss"] for row in two["history"]], rel=1e-3
    )


def train(launcher: list[str], folder: Path) -> dict[str, object]:
    cases = write_cases(folder / "cases", n=8)
    words = [sys.executable, *launcher, str(SCRIPT), str(cases), str(folder / "run")]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return read_checkpoint(folder / "run" / "last.pt")
