"""Shared fixtures."""

from __future__ import annotations

import importlib.abc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

GUI = {"napari", "qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "magicgui", "superqt", "vispy", "pyqtgraph"}


class NoWindow(importlib.abc.MetaPathFinder):
    """Make napari and Qt unimportable, as on a server without them."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name.split(".")[0] in GUI:
            raise ModuleNotFoundError(f"{name} is blocked in the headless tests", name=name)


if os.environ.get("MEDSEG_HEADLESS"):
    sys.meta_path.insert(0, NoWindow())

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the local labelled data; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the local labelled data folder (shared/data beside the repository) is not here")
    return SHARED
