"""The code of an older commit beside the present one, in processes of their own and in turns."""

from __future__ import annotations

import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def sources_of(commit: str, folder: Path) -> tuple[Path, Path]:
    """Put the sources of a commit into a folder; return where they and the present ones lie."""
    packed = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src", ROOT / "src"


def ask(source: Path, script: str, *words: str) -> dict[str, Any]:
    """Run `script` with the package in `source`; return what it printed last."""
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def row(what: str, pairs: Sequence[Sequence[float]]) -> None:
    """Print medians of (before, now) and of their ratios in each turn."""
    before, now = (statistics.median(values) for values in zip(*pairs, strict=True))
    ratio = statistics.median(old / new for old, new in pairs)
    print(f"| {what} | {before:.3g} | {now:.3g} | {ratio:.2f} |", flush=True)
