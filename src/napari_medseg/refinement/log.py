"""Autosave of a session and its interaction log.

A session folder holds ``session.json`` (index, rounds, settings, timings, hashes of the image, of the arrays and of
itself, a token that every save draws anew), ``state_<token>.npz`` (the filled boxes of the present arrays), one
``round_<key>_<digest>.npz`` per round (changed boxes of mask, strokes and result) and ``log.jsonl``, one event per
line, which `replay` turns into the same mask. Each file appears when it is complete; ``session.json`` comes last and
names the others, so a crash leaves the older save whole.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import secrets
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medseg import __version__
from napari_medseg.errors import ReadError, WriteError
from napari_medseg.image import Image
from napari_medseg.io.files import disk_errors, read_json, replacing, sweep, write_text
from napari_medseg.io.geometry import PART
from napari_medseg.io.locks import WAIT, holding
from napari_medseg.refinement.boxes import Box, around_all
from napari_medseg.refinement.history import Change, History, Round, changes_between

if TYPE_CHECKING:
    from napari_medseg.refinement import RefinementSession

FORMATS = (1, 2)  # that are read; the last is written: the state may hold boxes of large arrays
LARGE = 2**24  # values: larger arrays are saved as the box that is filled
BOX = ".box"  # after the name of an array: where what is stored of it lies
Event = Mapping[str, Any]


class SavedElsewhereError(WriteError):
    """The folder holds a newer save of the same session, another session, or another program's file of that name."""


def image_hash(image: Image) -> str:
    """Return the SHA-256 of shape, type and values."""
    data = np.ascontiguousarray(image.data)
    digest = hashlib.sha256(f"{data.shape}{data.dtype.str}{image.axes}".encode())
    digest.update(data.data.cast("B"))
    return digest.hexdigest()


def encode(
    old: Mapping[str, np.ndarray] | None = None, within: Mapping[str, Box | None] | None = None, **arrays: np.ndarray
) -> dict[str, Any]:
    """Return JSON-serialisable changes of arrays against `old` (default: zeros), which are known to lie in boxes."""
    changes = changes_between({n: np.zeros_like(a) for n, a in arrays.items()} if old is None else old, arrays, within)
    return {"changes": {n: _plain(c) for n, c in changes.items()}}


def write_session(session: RefinementSession, folder: Path) -> Path:
    """Write `session` to `folder` and return the folder.

    Raises
    ------
    WriteError
        If the folder cannot be written.
    SavedElsewhereError
        If another window saved this session there meanwhile, or something else is there.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with holding(folder, "session", wait=WAIT):
            _check_token(session, folder)
            return _write(session, folder)


def _check_token(session: RefinementSession, folder: Path) -> None:
    """Refuse to save over anything but what this session was loaded from or saved to last; that may be damaged."""
    path = folder / "session.json"
    if not path.exists():
        return
    try:
        there = read_json(path)
    except ReadError:
        if session.save_token:
            return
        there = None
    there = there if isinstance(there, dict) else {}
    if session.save_token and token_of(there) == session.save_token:
        return
    if session.save_token and there.get("sha256") == session.image_hash:
        raise SavedElsewhereError(
            f"{folder} holds a newer save of this session, from another window or program. Nothing was overwritten: "
            "save into another folder."
        )
    raise SavedElsewhereError(
        f"{folder} holds another session, or another program's session.json. Nothing was overwritten: save into "
        "another folder."
    )


def _write(session: RefinementSession, folder: Path) -> Path:
    history, token = session.history, secrets.token_hex(8)
    sweep(folder)
    state = f"state_{token}.npz"
    with replacing(folder / state) as part, part.open("wb") as file:
        stored = _filled(history)
        np.savez_compressed(file, **stored)  # type: ignore[arg-type]
    rounds: list[dict[str, Any]] = []
    for made in history.rounds:
        rounds.append({"file": round_name(made), "key": made.key, "facts": dict(made.facts)})
        _write_round(folder / rounds[-1]["file"], made)
    write_text(folder / "log.jsonl", "".join(f"{json.dumps(event)}\n" for event in [_header(session), *session.log]))
    document = {
        **_header(session), "settings": session.settings.model_dump(), "first": history.first,
        "events": len(session.log), "index": history.index, "state": state, "token": token,
        "state_sha256": digests_of(stored), "rounds": rounds,
        "source_file": str(session.image.metadata.get("source_file", "")),
    }  # fmt: skip
    write_text(folder / "session.json", json.dumps({**document, "checksum": checksum(document)}, indent=1))
    session.save_token = token
    kept = {state, *(r["file"] for r in rounds)}
    for old in (p for pattern in ("state_*.npz", "round_*.npz") for p in folder.glob(pattern)):
        if old.name not in kept:
            old.unlink()
    return folder


def _filled(history: History) -> dict[str, np.ndarray]:
    """Return each array; of a `LARGE` one, which is mostly empty, a box that holds all that is not 0, and the box."""
    out: dict[str, np.ndarray] = {}
    for name, array in history.arrays.items():
        if array.size <= LARGE:
            out[name] = array
            continue
        box = around_all(history.extents[name]) or (slice(0, 1),) * array.ndim
        out[name], out[name + BOX] = array[box], np.array([[s.start, s.stop] for s in box])
    return out


def checksum(document: Mapping[str, Any]) -> str:
    """Return a hash of what ``session.json`` says, as JSON keeps it."""
    kept = {key: value for key, value in document.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def token_of(document: Mapping[str, Any]) -> str:
    """Return what tells a save from the next one; of an older one, which has no token, its checksum."""
    return str(document.get("token") or checksum(document))


def digests_of(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return a hash of each array."""
    return {n: hashlib.sha256(np.ascontiguousarray(a).data.cast("B")).hexdigest() for n, a in arrays.items()}


def apply_changes(event: Event, arrays: Mapping[str, np.ndarray]) -> None:
    """Apply the changes of an event (`encode`) to arrays, in place."""
    for name, value in event["changes"].items():
        change = Change(_box(value["box"]), value["dtype"], base64.b64decode(value["blob"]), 0)
        check_change(change, arrays[name])
        change.apply(arrays[name])


def check_change(change: Change, array: np.ndarray) -> None:
    """Refuse, with `ValueError`, a change that does not fit an array, before it is inflated."""
    fits = len(change.box) == array.ndim and np.dtype(change.dtype) == array.dtype
    if not fits or any(not 0 <= s.start < s.stop <= n for s, n in zip(change.box, array.shape, strict=False)):
        raise ValueError("a change does not fit the image")
    size = math.prod(s.stop - s.start for s in change.box) * array.dtype.itemsize
    inflater = zlib.decompressobj()
    if len(inflater.decompress(change.blob, size + 1)) != size or not inflater.eof:
        raise ValueError("a change is damaged")


def _plain(change: Change) -> dict[str, Any]:
    box = [[s.start, s.stop] for s in change.box]
    return {"box": box, "dtype": change.dtype, "blob": base64.b64encode(change.blob).decode()}


def _box(pairs: Iterable[Iterable[int]]) -> tuple[slice, ...]:
    return tuple(slice(*map(int, pair)) for pair in pairs)


def _header(session: RefinementSession) -> dict[str, Any]:
    part = session.image.metadata.get(PART)
    return {
        "event": "header", "format": FORMATS[-1], "version": __version__, "image": session.image.name,
        "shape": list(session.image.data.shape), "sha256": session.image_hash,
        **({PART: part} if part else {}),
    }  # fmt: skip


def round_name(made: Round) -> str:
    """Return the file of a round, by its content: after a killed save the same key may name another round."""
    digest = hashlib.sha256()
    for name, change in sorted(made.changes.items()):
        digest.update(f"{name}{change.box}{change.dtype}{change.count}".encode())
        digest.update(change.blob)
    return f"round_{made.key:06}_{digest.hexdigest()[:12]}.npz"


def _write_round(path: Path, made: Round) -> None:
    if path.exists():
        return
    arrays: dict[str, np.ndarray] = {}
    for name, change in made.changes.items():
        arrays[f"{name}.box"] = np.array([[s.start, s.stop] for s in change.box])
        arrays[f"{name}.type"] = np.array(change.dtype)
        arrays[f"{name}.count"] = np.array(change.count)
        arrays[f"{name}.blob"] = np.frombuffer(change.blob, np.uint8)
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
