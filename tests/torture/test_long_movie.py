"""A long movie needs no more memory than a short one (``MEDSEG_TORTURE`` set: 10,000 frames instead of 600)."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pytest

pytest.importorskip("av", reason="movies need PyAV: pip install 'napari-medseg[video]'")
from benchmarks.video import memory

FRAMES = 10_000 if os.environ.get("MEDSEG_TORTURE") else 600
FLAT_MB = 30


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="memory is read from /proc")
def test_memory_is_flat_over_a_long_movie() -> None:
    arguments = argparse.Namespace(frames=FRAMES, size=96, network_size=32, codec="libx264")
    readings = memory(arguments)["MB at tenths"]
    assert isinstance(readings, list)
    assert len(readings) == 10
    rise = readings[-1] - readings[4]
    with open(os.environ.get("MEDSEG_TORTURE_LOG", os.devnull), "a", encoding="utf-8") as log:
        log.write(json.dumps({"test": "frames of a movie", "frames": FRAMES, "rise_mb": rise}) + "\n")
    assert rise < FLAT_MB
