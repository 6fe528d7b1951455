"""Whether files are the ones that they were, by size, time and content, and hold no more than their size says."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_medseg.errors import ReadError

HASHED_BYTES = 2**26  # of larger sources size and time must do
BLOCK = 2**20


def fingerprint(paths: Sequence[Path]) -> dict[str, Any]:
    """Return what tells files, or folders with all they hold, from others of the same names.

    Returns
    -------
    dict
        ``bytes`` (all together), ``modified`` (ns, the newest), ``stamp`` (a hash of the sizes, times and places on the
        disk) and ``sha256`` (of the content; empty above 64 MB). Empty where a file is not there.
    """
    try:
        known = _facts(paths)
        return {**known, "sha256": _content(paths) if known["bytes"] <= HASHED_BYTES else ""}
    except OSError:
        return {}


def is_same(known: Mapping[str, Any], paths: Sequence[Path]) -> bool:
    """Whether `paths` hold what they held when `fingerprint` returned `known`."""
    try:
        now = _facts(paths)
        if not known or known.get("bytes") != now["bytes"]:
            return False
        if known.get("stamp") == now["stamp"]:
            return True
        if known.get("sha256"):
            return bool(known["sha256"] == _content(paths))
        return bool(known.get("modified") == now["modified"])
    except OSError:
        return False


def sha256(path: Path) -> str:
    """Return the file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_inflating(path: Path) -> None:
    """Refuse a ZIP archive whose entries are compressed, or claim more bytes than the file has.

    Weight files are archives of plain bytes; a small one that unpacks to many gigabytes is made to fill the memory.
    What is no archive at all is left to its reader.

    Raises
    ------
    ReadError
        If it would grow.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return
    claimed = sum(entry.file_size for entry in entries)
    if claimed > path.stat().st_size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ReadError(
            f"{path.name} was refused: its {path.stat().st_size} bytes would unpack to {claimed}. Weights are never "
            "packed like this."
        )


def _facts(paths: Sequence[Path]) -> dict[str, Any]:
    digest, size, newest = hashlib.sha256(), 0, 0
    for name, file in _files(paths):
        state = file.stat()
        facts = (name, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
        digest.update(repr(facts).encode())
        size, newest = size + state.st_size, max(newest, state.st_mtime_ns)
    return {"bytes": size, "modified": newest, "stamp": digest.hexdigest()[:16]}


def _content(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for name, file in _files(paths):
        digest.update(repr((name, file.stat().st_size)).encode())
        with file.open("rb") as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
    return digest.hexdigest()


def _files(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Yield every file with its name below the path it belongs to, in one order."""
    for path in paths:
        if not path.is_dir():
            yield path.name, path
            continue
        for folder, inner, names in os.walk(path):
            inner.sort()
            for name in sorted(names):
                file = Path(folder) / name
                yield file.relative_to(path).as_posix(), file
