"""Files of ours: which names and folders they may have, written whole or not at all, JSON read without trust.

What is written, a file or a folder such as a Zarr store, lies in a hidden folder of its own beside its place, under its
own name, until it is whole, on the disk, and renamed. What was there before stays until that moment. Hidden folders of
killed processes are swept away by the next one that writes there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import ntpath
import os
import platform
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from napari_medseg.errors import DataError, ReadError, WriteError, one_line

DOUBLE_SUFFIXES = (".nii.gz", ".ome.zarr", ".ome.tif", ".ome.tiff", ".ome.tf8", ".ome.btf")
LONGEST = 200  # bytes of a result's stem: file systems allow 255, `_probabilities.ome.zarr` and the like come after it
SHORT = 180  # letters: Windows takes 260 at once, and what is being written lies in a hidden folder or is a store
FORBIDDEN = set('<>:"|?*\\/')
RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{device}{k}" for device in ("COM", "LPT") for k in "0123456789¹²³")}
PREFIX = ".medseg-"
OLD = "old"  # below a hidden folder: what is being replaced, for the moment between two renames
FOREIGN_AGE = 7 * 86400.0  # seconds after which hidden folders of other computers count as left behind
CLOCK = 2.0  # seconds by which the clocks of a file system and of the processes may differ
TRIES, PAUSE = 5, 0.1  # virus scanners hold new files for a moment

MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
BEGINNING = 16  # bytes by which a file is known to hold nothing
_host = hashlib.sha256(platform.node().encode("utf-8", "replace")).hexdigest()[:6]
_mine: set[Path] = set()
_swept: set[Path] = set()


def home() -> Path:
    """Return the home folder, or where there is none a folder of this user among the temporary ones."""
    try:
        found = Path.home()
        if found.is_dir():
            return found
    except RuntimeError:  # neither a variable nor a user of this number
        pass
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"napari-medseg-{user}"


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return `path` with a leading ``~`` as the home folder, and such that Windows takes it at any length."""
    path = Path(path)
    try:
        path = path.expanduser()
    except RuntimeError:  # of a user that does not exist, or nobody's home
        path = home().joinpath(*path.parts[1:]) if path.parts[0] == "~" else path
    return Path(extended(str(path))) if sys.platform == "win32" else path


def extended(path: str) -> str:
    """Return a path of Windows in the form that may be longer than 260 letters; one that is short as it is."""
    whole = ntpath.abspath(path)
    if len(whole) < SHORT or whole.startswith("\\\\?\\"):
        return path
    return f"\\\\?\\UNC{whole[1:]}" if whole.startswith("\\\\") else f"\\\\?\\{whole}"


def inside(folder: Path, name: object) -> Path:
    """Return the file `name` of `folder`, which may lie in a folder below it.

    Raises
    ------
    DataError
        If `name` is none, or leads out of the folder, also by a link.
    """
    text = str(name)
    leads_out = (
        Path(text).is_absolute()
        or "\0" in text
        or ":" in text.split("/")[0]
        or ".." in text.replace("\\", "/").split("/")
    )
    if isinstance(name, str) and text and not leads_out:
        path = folder / text
        if path.resolve().is_relative_to(folder.resolve()):
            return path
    raise DataError(f"{folder} names a file outside of itself: {text!r}. Its record was changed; nothing was touched.")


def portable(name: str, room: int = LONGEST) -> str:
    """Return a name for a file of ours that every file system takes: Windows, macOS and Linux, in at most `room` bytes.

    What is cut off is told by a hash, so that long names that differ still do.
    """
    kept = "".join("_" if letter in FORBIDDEN or not letter.isprintable() else letter for letter in name)
    kept = kept.rstrip(". ") or "_"
    if kept.split(".")[0].rstrip().upper() in RESERVED:
        kept = f"_{kept}"
    encoded = kept.encode("utf-8", "replace")
    if len(encoded) <= room:
        return kept
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{encoded[: room - 9].decode('utf-8', 'ignore').rstrip('. ')}_{digest}"


def folders_in(folder: Path) -> list[Path]:
    """List the sub-folders of a folder, sorted, each once.

    Left out are links to another of them, to the folder itself, and to one that holds it, which would lead back.
    """
    place = Path(os.path.realpath(folder))
    own = {Path(os.path.realpath(path)): path for path in sorted(folder.iterdir(), reverse=True) if _is_linked(path)}
    own |= {place / path.name: path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()}
    return sorted(path for real, path in own.items() if not place.is_relative_to(real))


def _is_linked(path: Path) -> bool:
    return path.is_symlink() and path.is_dir()


def file_stem(path: Path) -> str:
    """Return the name without suffix; ``.nii.gz`` and ``.ome.tif`` count as one suffix."""
    lower = path.name.lower()
    double = next((suffix for suffix in DOUBLE_SUFFIXES if lower.endswith(suffix)), "")
    return path.name[: -len(double)] if double and len(lower) > len(double) else path.stem


@contextmanager
def quiet(library: str) -> Iterator[None]:
    """Keep the log lines of a format's library off the screen: what matters becomes a note or an error of ours."""
    log = logging.getLogger(library)
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)


@contextmanager
def replacing(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a place for a new file or folder and, when the block succeeds, let it take the place of `path`.

    Parameters
    ----------
    path
        What appears when the block ends. Its folder is made. A device such as ``/dev/stdout`` is written to directly.
    durable
        Wait until the disk has it; without that a power cut may leave an empty file.

    Raises
    ------
    WriteError
        If the folder is not writable or the disk is full; what was there before is left as it was.
    """
    given, path = Path(path), expanded(path)
    with disk_errors(given):
        is_device = path.exists() and not (path.is_file() or path.is_dir())
    if is_device:
        with disk_errors(given):
            yield path
        return
    with disk_errors(given):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent, again=False)
        with _hidden_folder(path.parent) as own:
            part = own / path.name
            yield part
            if durable:
                _flush(part)
            _take_place(part, path, own)
            if durable:
                _flush_names(path.parent)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into a `WriteError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"{path} cannot be written: {error.strerror or error}. Choose a folder that exists, is writable and has "
            "room, and close the file where it is open; nothing that was there is lost."
        ) from error


def write_bytes(path: str | Path, content: bytes, *, durable: bool = True) -> Path:
    """Write `content`."""
    path = Path(path)
    with replacing(path, durable=durable) as part:
        part.write_bytes(content)
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Write `text` as UTF-8; the odd bytes of a file name that is none become backslash escapes."""
    return write_bytes(path, text.encode("utf-8", "backslashreplace"))


def read_json(path: str | Path) -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    ReadError
        If there is no such file, or it is no JSON, or its brackets are nested too deeply.
    """
    path = Path(path)
    try:
        return parse_json(path.read_text("utf-8-sig"))
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise ReadError(f"{path} is no JSON ({one_line(error)}); it is damaged, cut short or another file.") from error


def is_blank(path: Path) -> bool:
    """Whether a file begins with zeros alone, as no result does: file systems leave such after a crash."""
    try:
        with path.open("rb") as file:
            head = file.read(BEGINNING)
    except OSError:
        return False
    return bool(head) and not any(head)


def decoded(content: bytes) -> str:
    """Return text in the encoding that its byte order mark states, else UTF-8, else that of older Windows programs."""
    for start, encoding in MARKS:
        if content.startswith(start):
            return content.decode(encoding, "replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def parse_json(text: str | bytes) -> Any:
    """Return what JSON text holds; `ValueError` for whatever is none, also for brackets nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its brackets are nested too deeply") from None


def write_json(path: str | Path, value: Any) -> Path:
    """Write `value` as JSON; what JSON cannot hold becomes text, NaN becomes null."""
    return write_text(path, as_json(value))


def as_json(value: Any) -> str:
    """Return `value` as the text that `write_json` writes."""
    return json.dumps(json_safe(value), indent=1, ensure_ascii=False) + "\n"


def json_safe(value: Any) -> Any:
    """Turn `value` into what JSON can hold: arrays become lists, NaN becomes null, anything unknown its text."""
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return json_safe(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [json_safe(item) for item in value]
    if isinstance(value, np.generic):
        return json_safe(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def sweep(folder: Path, *, again: bool = True) -> None:
    """Remove what killed processes left half written in `folder`, and put back what they had moved aside.

    Parameters
    ----------
    folder
        Its subfolders are not searched.
    again
        Look also where this process has looked before.
    """
    place = Path(os.path.abspath(folder))
    if place in _swept and not again:
        return
    _swept.add(place)
    with contextlib.suppress(OSError):
        for own in [entry for entry in place.iterdir() if entry.name.startswith(PREFIX)]:
            if own.is_dir() and _is_left(own):
                _put_back(own)


def sweep_below(folder: Path) -> None:
    """Sweep a folder of results and the folders below it, but not the insides of Zarr stores."""
    for place, folders, _ in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(PREFIX) and not name.endswith((".zarr", ".part"))]
        sweep(Path(place))


@contextmanager
def _hidden_folder(parent: Path) -> Iterator[Path]:
    own = Path(os.path.abspath(parent)) / f"{PREFIX}{_host}-{os.getpid()}-{secrets.token_hex(4)}"
    _mine.add(own)
    try:
        own.mkdir()
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        _mine.discard(own)


def _take_place(part: Path, path: Path, own: Path) -> None:
    """Rename `part` to `path`; a folder cannot be renamed over another, so the older one first goes aside."""
    with contextlib.suppress(OSError):
        if path.is_file():
            shutil.copymode(path, part)
    if not (part.is_dir() and path.exists()):
        _rename(part, path)
        return
    aside = own / OLD / path.name
    aside.parent.mkdir()
    _rename(path, aside)
    try:
        _rename(part, path)
    except OSError:
        os.replace(aside, path)
        raise


def _rename(source: Path, target: Path) -> None:
    for left in range(TRIES - 1, -1, -1):
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if not left or sys.platform != "win32":
                raise
            time.sleep(PAUSE)


def _flush(part: Path) -> None:
    """Wait until the disk has the file, or all files of the folder; an error that was put off shows here."""
    for file in [part] if part.is_file() else [p for p in part.rglob("*") if p.is_file()]:
        handle = os.open(file, os.O_RDWR | getattr(os, "O_BINARY", 0))
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _flush_names(folder: Path) -> None:
    if sys.platform == "win32":  # folders cannot be opened there
        return
    with contextlib.suppress(OSError):  # some network file systems refuse this
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _is_left(own: Path) -> bool:
    """Whether the process that made a hidden folder is gone."""
    parts = own.name.removeprefix(PREFIX).split("-")
    if len(parts) != 3 or not parts[1].isdecimal():
        return False
    made = own.stat().st_mtime
    if parts[0] != _host:
        return time.time() - made > FOREIGN_AGE
    number = int(parts[1])
    if number == os.getpid():
        return own not in _mine
    try:
        return bool(psutil.Process(number).create_time() > made + CLOCK)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def _put_back(own: Path) -> None:
    """Remove a hidden folder; what it holds of the moment between two renames gets its name back."""
    for old in (own / OLD).glob("*"):
        if not (own.parent / old.name).exists():
            os.replace(old, own.parent / old.name)
    shutil.rmtree(own, ignore_errors=True)
