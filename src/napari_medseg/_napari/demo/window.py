"""The window of a demo: wait for it, take its picture."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QApplication

PLUGIN = "napari-medseg"
WINDOW = (1380, 960)


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> bool:
    """Let the window work until `condition` holds; return whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        QApplication.processEvents()
        time.sleep(0.01)
    return condition()


def picture(viewer: Any, path: Path) -> None:
    """Save what the whole window shows."""
    for _ in range(20):
        QApplication.processEvents()
        time.sleep(0.02)
    path.parent.mkdir(parents=True, exist_ok=True)
    viewer.screenshot(str(path), canvas_only=False, flash=False)
