"""Placeholder replaced by the real reader."""

from __future__ import annotations

from pathlib import Path

from napari_medseg.image import Image

PATTERNS: tuple[str, ...] = ()


def matches(path: Path) -> bool:
    """Whether this reader takes `path`."""
    return False


def read(path: Path) -> list[Image]:
    """Read `path`."""
    return []
