"""What many tests say: types of the window's fixtures, a command line with what it prints, the notes of an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from napari_medseg.cli.main import main
from napari_medseg.image import Image

Open = Callable[[str], tuple[Any, Any]]  # fixture `open_dock`: name of a dock -> (viewer, dock)
Wait = Callable[[Callable[[], bool]], None]  # fixture `wait`: lets the window run until a condition holds


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Run ``medseg`` with these words; return its exit code, what it prints and what it prints of errors."""
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def notes(image: Image) -> str:
    """Return what a reader noted of an image, in one string."""
    return " ".join(image.metadata.get("notes", []))
