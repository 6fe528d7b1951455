"""The JSON beside a written image: everything of an `Image` that the picture format has no place for."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import DataError, ReadError, WriteError
from napari_medseg.image import CALIBRATION, FACTS, FRAME, SEGMENT_COLOURS, SEGMENT_NAMES, Image
from napari_medseg.io.files import as_json, disk_errors, file_stem, is_blank, json_safe, read_json, replacing
from napari_medseg.io.geometry import LEVEL

VERSION = 1
LAZY = ("levels",)  # metadata of an open pyramid, which no side-car holds
LONGEST_UNIT, FARTHEST = 40, 1e30  # letters; in any unit of length
DIFFERENCE = 100  # bytes by which the description of a file that is written is longer than that of one that is not
END_BYTES = 2**20  # beginning and end hold headers and directories, and all of most files


def sidecar_path(path: Path) -> Path:
    """Return the side-car of `path`; without one, where it would be looked for first: ``<stem>.json``."""
    places = path.with_name(f"{file_stem(path)}.json"), path.with_name(f"{path.name}.json")
    return next((place for place in places if _belongs(_content(place), path)), places[0])


def place_for(path: Path) -> Path:
    """Return where the side-car of `path` may be written without harming another program's or another image's.

    Raises
    ------
    WriteError
        If other programs' JSON files have both names.
    """
    for place in path.with_name(f"{file_stem(path)}.json"), path.with_name(f"{path.name}.json"):
        content = _content(place)
        left = content.get("medseg_image") == VERSION and not _is_of_other(content, place)
        if not _size(place) or is_blank(place) or left or _belongs(content, path):
            return place
    raise WriteError(
        f"{path.name}: its notes have no place, {file_stem(path)}.json and {path.name}.json are of other programs. "
        "Choose another name."
    )


@contextmanager
def beside(path: Path, image: Image) -> Iterator[Callable[[str], None]]:
    """Give a function that fills the side-car of `path`, to be called with the order of the axes in the file.

    Its room on the disk is taken before, so that a full one refuses the file and its side-car, or neither.

    Raises
    ------
    WriteError
        If other programs' JSON files have its names, or the disk refuses.
    """
    with replacing(place_for(path)) as part:
        draft = f"{as_json(describe(path, image, image.axes))}{' ' * DIFFERENCE}".encode("utf-8", "backslashreplace")
        with disk_errors(path):
            part.write_bytes(draft)

        def fill(file_axes: str) -> None:
            content = as_json(describe(path, image, file_axes)).encode("utf-8", "backslashreplace")
            with part.open("r+b") as file:
                file.write(content)
                file.truncate()

        yield fill


def describe(path: Path, image: Image, file_axes: str) -> dict[str, Any]:
    """Return what the side-car of `path` holds; `file_axes` is the order of the axes in the file."""
    fields = ("axes", "scale", "units", "affine", "kind", "name", "channels", "value_unit", "metadata")
    head = {"medseg_image": VERSION, "file": path.name, "file_axes": file_axes, "shape": image.data.shape}
    head |= {"content": content_of(path)}
    safe: dict[str, Any] = json_safe({**head, **{name: getattr(image, name) for name in fields}})
    return safe


def load(path: Path) -> dict[str, Any] | None:
    """Return the side-car of `path`, or ``None`` if there is none or it is another program's, another file's, or older.

    A file that another program wrote over says more of itself than what was known of the one before.
    """
    saved = _content(sidecar_path(path))
    if not _belongs(saved, path):
        return None
    stated = saved.get("content")
    return saved if not stated or stated == content_of(path) else None


def content_of(path: Path) -> str:
    """Return what tells a file from one that another program wrote over it: its size, and a hash of both its ends.

    Empty for what is not there yet, and for folders.
    """
    if not path.is_file():
        return ""
    size = path.stat().st_size
    with path.open("rb") as file:
        ends = hashlib.blake2b(file.read(END_BYTES), digest_size=16)
        file.seek(max(size - END_BYTES, 0))
        ends.update(file.read())
    return f"{size}-{ends.hexdigest()}"


def _size(place: Path) -> int:
    """Return the bytes of a file; 0 where there is none, or can be none because its name is too long."""
    try:
        return place.stat().st_size
    except OSError:
        return 0


def _content(place: Path) -> dict[str, Any]:
    try:
        saved = read_json(place)
    except ReadError:
        return {}
    return saved if isinstance(saved, dict) else {}


def was_written_over(path: Path) -> bool:
    """Whether another program wrote over the file `path` since its side-car was written."""
    saved = _content(sidecar_path(path))
    return _belongs(saved, path) and bool(saved.get("content")) and saved["content"] != content_of(path)


def _belongs(content: Mapping[str, Any], path: Path) -> bool:
    return content.get("medseg_image") == VERSION and content.get("file") == path.name


def _is_of_other(content: Mapping[str, Any], place: Path) -> bool:
    """Whether a side-car belongs to a file that is there."""
    name = content.get("file")
    return isinstance(name, str) and place.with_name(Path(name).name).exists()


def provenance(path: Path) -> dict[str, Any]:
    """Return how the image of `path` was made, and what its labels are called, as its side-car says."""
    metadata = (load(path) or {}).get("metadata")
    known = _sound(metadata, 0) if isinstance(metadata, dict) else {}
    return {
        key: known[key]
        for key in ("medseg", SEGMENT_NAMES, SEGMENT_COLOURS)
        if isinstance(known.get(key), dict) and known[key]
    }


def restore(data: np.ndarray, path: Path) -> Image | None:
    """Build the image that was written, or ``None`` without a side-car that belongs to these pixels."""
    saved = load(path)
    try:
        return _build(data, path, saved) if saved and data.size == math.prod(saved["shape"]) else None
    except (ValueError, KeyError, TypeError, OverflowError, DataError):  # LinAlgError is a ValueError
        return None


def _build(data: np.ndarray, path: Path, saved: Mapping[str, Any]) -> Image:
    """Make the image that was written of `data` and what its side-car says; raise where that cannot be."""
    axes, shape, file_axes = saved["axes"], saved["shape"], saved["file_axes"]
    words = (axes, file_axes, saved["name"], saved["value_unit"], *saved["units"], *saved["channels"])
    if saved["kind"] not in ("image", "labels") or not all(isinstance(word, str) for word in words):
        raise TypeError
    if any(len(unit) > LONGEST_UNIT for unit in saved["units"]) or any(step > FARTHEST for step in saved["scale"]):
        raise ValueError
    affine = None if saved["affine"] is None else np.array(saved["affine"], float)
    if affine is not None and not (np.isfinite(affine).all() and np.linalg.det(affine)):
        raise ValueError
    stored = [shape[axes.index(a)] for a in file_axes]
    if [n for n in stored if n > 1] != [n for n in data.shape if n > 1]:
        raise ValueError
    data = data.reshape(stored).transpose([file_axes.index(a) for a in axes])
    metadata = {**_sound(saved["metadata"], len(saved["scale"])), "source_file": str(path)}
    metadata.pop(CALIBRATION, None)  # what was written are the values
    units, channels = tuple(saved["units"]), tuple(saved["channels"])
    return Image(
        data, axes, tuple(saved["scale"]), units, affine, saved["kind"], saved["name"], channels, saved["value_unit"],
        metadata,
    )  # fmt: skip


def _sound(metadata: Mapping[str, Any], n: int) -> dict[str, Any]:
    """Return what a side-car says besides, without what is not what it should be, which a note names.

    `n` is the number of axes with a step.
    """
    if not isinstance(metadata, dict):
        raise TypeError
    fits: dict[str, Callable[[Any], bool]] = {
        "notes": lambda value: isinstance(value, list) and all(isinstance(note, str) for note in value),
        "medseg": lambda value: isinstance(value, dict),
        SEGMENT_NAMES: lambda value: _each(value, lambda name: isinstance(name, str)),
        SEGMENT_COLOURS: lambda value: _each(value, lambda colour: _numbers(colour) and len(colour) in (3, 4)),
        FACTS: lambda value: _each(value, _are_facts),
        FRAME: lambda value: _is_matrix(value, n),
        LEVEL: lambda value: type(value) is int and value >= 0 and FRAME in metadata,
    }
    lost = [key for key, fit in fits.items() if key in metadata and not fit(metadata[key])]
    kept = {key: value for key, value in metadata.items() if key not in (*lost, *LAZY)}
    if LEVEL in kept and FRAME in lost:
        del kept[LEVEL]
    if lost:
        kept["notes"] = [*kept.get("notes", ()), f"What its .json says of {', '.join(lost)} is damaged and left out."]
    return kept


def _each(value: Any, fit: Callable[[Any], bool]) -> bool:
    """Whether a value is a dict by label, and each of its values fits."""
    return isinstance(value, dict) and all(key.isdecimal() and fit(one) for key, one in value.items())


def _numbers(values: Any) -> bool:
    """Whether values are a list of numbers from 0 to 255."""
    return isinstance(values, list) and all(isinstance(one, int | float) and 0 <= one <= 255 for one in values)


def _are_facts(known: Any) -> bool:
    measured = known.get("measurements") if isinstance(known, dict) else 0
    return measured is None or isinstance(measured, dict)


def _is_matrix(value: Any, n: int) -> bool:
    """Whether a value is an invertible matrix of `n` axes and the place; of no axes, any value is."""
    try:
        matrix = np.array(value, float)
        return not n or (matrix.shape == (n + 1,) * 2 and np.isfinite(matrix).all() and abs(np.linalg.det(matrix)) > 0)
    except (TypeError, ValueError):
        return False
