"""Folders of frames: one folder for each class, frames named after their movie."""

from __future__ import annotations

import re
from pathlib import Path

from napari_medseg.io.files import folders_in
from napari_medseg.io.pairs import list_images

SYNONYMS = {"general field": ("opening wound", "general"), "nerve": ("nerves",)}
PARTS = ("train", "val", "test")
FRAME_NAME = re.compile(r"^(.+)_\d+$")


def class_folders(folder: Path) -> list[Path]:
    """List the folders with frames below `folder`, or below its train, val and test folders."""
    roots = [folder / part for part in PARTS if (folder / part).is_dir()] or [folder]
    children = [p for root in roots for p in folders_in(root) if not p.name.startswith(".")]
    return [child for child in children if list_images(child)]


def movie_name(stem: str) -> str:
    """Return the movie or animal of a frame: the name before ``_<number>``, or all of it."""
    match = FRAME_NAME.match(stem)
    return match[1] if match else stem
