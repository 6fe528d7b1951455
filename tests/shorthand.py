"""What several tests say: types of the window's fixtures, a command line and its output, small things to test on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

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


def trainable(module: Any) -> int:
    """Return the number of values of a network that training changes."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def noise(path: Path, seed: int = 0) -> Path:
    """Write a grey PNG of 24 x 20 pixels of noise, whatever its name, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 20), np.uint8)).save(path, format="PNG")
    return path
