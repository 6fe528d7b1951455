"""Folders of frames: their playback order; one folder for each class, frames named after their movie."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from napari_medseg.io.files import folders_in
from napari_medseg.io.pairs import list_images

SYNONYMS = {"general field": ("opening wound", "general"), "nerve": ("nerves",)}
PARTS = ("train", "val", "test")
FRAME_NAME = re.compile(r"^(.+)_\d+$")
HALF_DAY = re.compile(r"(?<![\d.:])(\d{1,2})((?:[-.:_h]\d{2}){0,2})\s?([ap])\.?m\.?(?![a-z])", re.IGNORECASE)
YEAR_LAST = re.compile(r"(?<!\d)(\d{1,2})([-._])(\d{1,2})\2((?:19|20)\d{2})(?!\d)")
DECIMAL = re.compile(r"(?<![\d.,])(\d+)[.,](\d+)(?![.,]?\d)")


def class_folders(folder: Path) -> list[Path]:
    """List the folders with frames below `folder`, or below its train, val and test folders."""
    roots = [folder / part for part in PARTS if (folder / part).is_dir()] or [folder]
    children = [p for root in roots for p in folders_in(root) if not p.name.startswith(".")]
    return [child for child in children if list_images(child)]


def movie_name(stem: str) -> str:
    """Return the movie or animal of a frame: the name before ``_<number>``, or all of it."""
    match = FRAME_NAME.match(stem)
    return match[1] if match else stem


def in_order(files: Sequence[Path]) -> list[Path]:
    """Return frames in playback order.

    Names that differ in their numbers only (``2021-03-04_12-30-58``, ``clip1_2``) are ordered by all of these from left
    to right; of other names the last number counts (``Nerve_10`` after ``Opening Wound_9``), unless frames share it:
    then one clip follows the other (``left_2``, ``left_10``, ``right_2``). Times of day may be AM and PM, dates end in
    the year, and numbers be decimal (``0.5``, ``1``, ``1.25``).
    """
    stems = dict(zip(files, _plain_numbers([path.stem for path in files]), strict=True))
    if len({_shape(stem) for stem in stems.values()}) == 1:
        return sorted(files, key=lambda path: (_numbers(stems[path]), path.name))
    last = {path: (_numbers(stem.rpartition("_")[2]) or [0.0])[-1] for path, stem in stems.items()}
    if len(set(last.values())) == len(files):
        return sorted(files, key=lambda path: last[path])
    return sorted(files, key=lambda path: _words_and_numbers(stems[path]))


def frame_number(path: Path) -> tuple[int, str]:
    """Return the number after the last underscore of a frame file's name, and the name."""
    digits = re.findall(r"\d+", path.stem.rpartition("_")[2])
    return (int(digits[-1]) if digits else 0, path.name)


NUMBER = re.compile(r"\d+(?:\u2024\d+)?")  # a decimal point that no name holds


def _plain_numbers(stems: Sequence[str]) -> list[str]:
    """Return names whose times, dates and decimal numbers are in order when their numbers are."""
    clocks = [found for stem in stems for found in HALF_DAY.finditer(stem)]
    if clocks and all(1 <= int(found[1]) <= 12 for found in clocks):
        stems = [HALF_DAY.sub(_of_day, stem) for stem in stems]
    dates = [found for stem in stems for found in YEAR_LAST.finditer(stem)]
    order = r"\4\2\1\2\3" if any(int(found[3]) > 12 for found in dates) else r"\4\2\3\2\1"  # a day in the middle
    stems = [YEAR_LAST.sub(order, stem) for stem in stems]
    parts = [found[2] for stem in stems for found in DECIMAL.finditer(stem)]
    uneven = len(set(map(len, parts))) > 1 or len({_shape(stem) for stem in stems}) > 1
    if parts and uneven and not any(part.endswith("0") and part.strip("0") for part in parts):  # 1.9, 1.10: no decimals
        stems = [DECIMAL.sub("\\1\u2024\\2", stem) for stem in stems]
    return list(stems)


def _of_day(found: re.Match[str]) -> str:
    """Return a time of 24 hours for one with AM or PM."""
    return f"{int(found[1]) % 12 + 12 * (found[3].lower() == 'p'):02}{found[2]}"


def _shape(stem: str) -> str:
    return NUMBER.sub("#", stem)


def _numbers(stem: str) -> list[float]:
    return [_number(text) for text in NUMBER.findall(stem)]


def _number(text: str) -> float:
    """Return a number, whole ones exactly however many digits they have."""
    return int(text) if text.isdecimal() else float(text.replace("\u2024", "."))


def _words_and_numbers(stem: str) -> list[tuple[float, str]]:
    """Return the sort key of a name whose numbers count as numbers."""
    parts = re.split(f"({NUMBER.pattern})", stem)
    return [(_number(part), "") if NUMBER.fullmatch(part) else (-1.0, part) for part in parts]
