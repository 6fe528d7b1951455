"""How long docks hold up napari's window: ``python -m benchmarks window [--against COMMIT] [--dock NAME ...]``.

Each dock opens in a fresh process over a generated image. A timer of the window's thread should tick every few
milliseconds; the longest gaps between its ticks, in processor time of that thread so that a busy machine does not
count, are what a person feels. With ``--against`` an older commit, checked out beside this one, does the same in turns.
Needs a display (``xvfb-run``).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import header

DOCKS = ("Refine with scribbles", "Segment", "Measure", "Train", "Batch", "Nerve movie", "Evaluate")
REPEATS, LONGEST, MOST_MS = 3, 3, 300
OPEN = """
import json, sys, time
import napari, numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

def work(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.001)

viewer = napari.Viewer()
viewer.add_image(np.random.default_rng(0).random((20, 64, 64), np.float32))
work(1)
gaps, last, timer = [], [time.thread_time()], QTimer(interval=2)
def tick():
    now = time.thread_time()
    gaps.append(now - last[0])
    last[0] = now
timer.timeout.connect(tick)
timer.start()
work(0.3)
gaps.clear()
known, start = set(sys.modules), time.thread_time()
dock = viewer.window.add_plugin_dock_widget("napari-medseg", sys.argv[1])
shown, torch = time.thread_time() - start, "torch" in sys.modules
end = time.perf_counter() + 120
while not hasattr(list(viewer.window.dock_widgets.values())[-1], "run_bar") and time.perf_counter() < end:
    work(0.05)
work(3)
gaps.sort(reverse=True)
print("RESULT", json.dumps({"seconds": shown, "gaps": gaps[:3], "modules": len(set(sys.modules) - known), "torch": torch}))
viewer.close()
"""


def opened(source: Path, dock: str) -> dict[str, float]:
    """Open a dock with the package in `source`; return processor seconds, longest gaps, modules, whether torch is in."""
    with tempfile.TemporaryDirectory() as home:
        known = {**os.environ, "PYTHONPATH": str(source), "HOME": home, "OMP_NUM_THREADS": "1"}
        words = [sys.executable, "-W", "ignore", "-c", OPEN, dock]
        said = subprocess.run(words, env=known, capture_output=True, text=True, check=True).stdout
    line = next(line for line in said.splitlines() if line.startswith("RESULT"))
    return dict(json.loads(line.removeprefix("RESULT")))


def main(words: Sequence[str]) -> None:
    """Print a row for each dock and, with --against, the ratio of processor time."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks window", description=__doc__)
    parser.add_argument("--against", metavar="COMMIT", help="older commit to compare with")
    parser.add_argument("--dock", action="append", choices=DOCKS, help="default: all")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    arguments = parser.parse_args(words)
    root = Path(__file__).parents[1]
    print(header(" ".join(["window", *words]), ("numpy", "torch", "napari")) + "\n")
    print("| dock | processor time, s | longest blocks, ms | modules | torch loaded |", end="")
    print(" s before | ratio |\n|---|---|---|---|---|---|---|" if arguments.against else "\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / "old"
        if arguments.against:
            subprocess.run(["git", "-C", root, "worktree", "add", "-q", "--detach", old, arguments.against], check=True)
        try:
            for dock in arguments.dock or DOCKS:
                print(
                    row(dock, root / "src", old / "src" if arguments.against else None, arguments.repeats), flush=True
                )
        finally:
            if arguments.against:
                subprocess.run(["git", "-C", root, "worktree", "remove", "--force", old], check=True)


def row(dock: str, source: Path, old: Path | None, repeats: int) -> str:
    """Return the table's row of a dock: medians of processor time, of the run with it the blocks."""
    new, before = [], []
    opened(source, dock)  # byte code and caches
    if old is not None:
        opened(old, dock)
    for _ in range(repeats):
        new.append(opened(source, dock))
        before += [opened(old, dock)["seconds"]] if old is not None else []
    seconds = statistics.median(one["seconds"] for one in new)
    longest = [statistics.median(one["gaps"][k] for one in new) for k in range(LONGEST)]
    gaps = ", ".join(f"{1000 * gap:.0f}" + "!" * (1000 * gap > MOST_MS) for gap in longest)
    words = [dock, f"{seconds:.2f}", gaps, f"{new[0]['modules']:.0f}", "yes" if new[0]["torch"] else "no"]
    if before:
        words += [f"{statistics.median(before):.2f}", f"{statistics.median(before) / seconds:.1f}"]
    return f"| {' | '.join(words)} |"
