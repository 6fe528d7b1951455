"""Autosave of a session and its interaction log.

A session folder holds ``session.json`` (index, rounds, settings, timings, SHA-256 of the image), ``state_<n>.npz`` (the
present arrays), one ``round_<key>_<digest>.npz`` per round (changed boxes of mask, strokes and result) and
``log.jsonl``, one event per line, which `replay` turns into the same mask. Files are written under a temporary name and
renamed; ``session.json`` comes last and names the others, so a crash leaves the older save whole.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medseg import __version__
from napari_medseg.errors import DataError, MedSegError, WriteError
from napari_medseg.image import Image
from napari_medseg.refinement.history import Change, Round
from napari_medseg.refinement.settings import RefinementSettings

if TYPE_CHECKING:
    from napari_medseg.method import Model
    from napari_medseg.refinement import RefinementSession

FORMAT = 1
Event = Mapping[str, Any]


def image_hash(image: Image) -> str:
    """Return the SHA-256 of shape, type and values."""
    data = np.ascontiguousarray(image.data)
    digest = hashlib.sha256(f"{data.shape}{data.dtype.str}{image.axes}".encode())
    digest.update(data.data.cast("B"))
    return digest.hexdigest()


def encode(old: Mapping[str, np.ndarray] | None = None, **arrays: np.ndarray) -> dict[str, Any]:
    """Return JSON-serialisable changes of arrays against `old` (default: zeros)."""
    changes = {n: Change.between(np.zeros_like(a) if old is None else old[n], a) for n, a in arrays.items()}
    return {"changes": {n: _plain(c) for n, c in changes.items() if c is not None}}


def write_session(session: RefinementSession, folder: Path) -> Path:
    """Write `session` to `folder` and return the folder.

    Raises
    ------
    WriteError
        If the folder cannot be written.
    """
    history = session.history
    try:
        folder.mkdir(parents=True, exist_ok=True)
        state = f"state_{time.time_ns()}.npz"
        with _replacing(folder / state) as file:
            np.savez_compressed(file, **history.arrays)  # type: ignore[arg-type]
        rounds: list[dict[str, Any]] = []
        for made in history.rounds:
            rounds.append({"file": _round_name(made), "key": made.key, "facts": dict(made.facts)})
            _write_round(folder / rounds[-1]["file"], made)
        with _replacing(folder / "log.jsonl") as file:
            file.writelines(f"{json.dumps(event)}\n".encode() for event in [_header(session), *session.log])
        document = {
            **_header(session), "settings": session.settings.model_dump(), "first": history.first,
            "events": len(session.log), "index": history.index, "state": state, "rounds": rounds,
            "source_file": str(session.image.metadata.get("source_file", "")),
        }  # fmt: skip
        with _replacing(folder / "session.json") as file:
            file.write(json.dumps(document, indent=1).encode())
        kept = {state, *(r["file"] for r in rounds)}
        for old in (p for pattern in ("state_*.npz", "round_*.npz", ".*.part") for p in folder.glob(pattern)):
            if old.name not in kept:
                old.unlink()
    except OSError as error:
        raise WriteError(f"The session cannot be saved in {folder}: {error}. Choose a folder with room.") from error
    return folder


def read_session(
    kind: type[RefinementSession], folder: Path, image: Image | None, *, model: Model | None, pnet: Model | None
) -> RefinementSession:
    """Rebuild a session from `folder`.

    Raises
    ------
    DataError
        If the folder holds no whole session, or the image is another one.
    """
    try:
        document = json.loads((folder / "session.json").read_text())
        with np.load(folder / document["state"]) as stored:
            arrays = {name: stored[name] for name in stored.files}
        rounds = [_read_round(folder / r["file"], r["key"], r["facts"]) for r in document["rounds"]]
        log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()[1:]]
        log = log[: document.get("events", len(log))]  # a save that was killed may have left a longer one
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(f"{folder} holds no complete refinement session ({error}). Choose its folder.") from error
    image = _source(document, image)
    check_hash(document, image)
    session = kind(image, model=model, pnet=pnet, settings=RefinementSettings.parse(document["settings"]))
    arrays.setdefault("given", arrays.get("mask", np.zeros(0)).copy())  # saved before there was such an array
    if arrays.keys() != session.history.arrays.keys() or arrays["mask"].shape != image.spatial_shape:
        raise DataError(f"The session in {folder} does not fit the image {image.name!r}.")
    session.history.arrays = arrays
    session.history.restore(rounds, document["first"], document["index"])
    session.log = log
    return session


def apply_changes(event: Event, arrays: Mapping[str, np.ndarray]) -> None:
    """Apply the changes of an event (`encode`) to arrays, in place."""
    for name, value in event["changes"].items():
        Change(_box(value["box"]), value["dtype"], base64.b64decode(value["blob"]), 0).apply(arrays[name])


def _plain(change: Change) -> dict[str, Any]:
    box = [[s.start, s.stop] for s in change.box]
    return {"box": box, "dtype": change.dtype, "blob": base64.b64encode(change.blob).decode()}


def _box(pairs: Iterable[Iterable[int]]) -> tuple[slice, ...]:
    return tuple(slice(*map(int, pair)) for pair in pairs)


def _header(session: RefinementSession) -> dict[str, Any]:
    return {
        "event": "header", "format": FORMAT, "version": __version__, "image": session.image.name,
        "shape": list(session.image.data.shape), "sha256": session.image_hash,
    }  # fmt: skip


def check_hash(document: Event, image: Image) -> None:
    """Refuse an image that the saved session or log does not belong to."""
    if document.get("format") != FORMAT:
        raise DataError(f"The session has format {document.get('format')}; this version reads {FORMAT}. Update.")
    if document.get("sha256") != image_hash(image):
        raise DataError(
            f"The session was made on {document.get('image')!r} {document.get('shape')}, not on {image.name!r} "
            f"{list(image.data.shape)} with these values. Open the image it was made on."
        )


def _source(document: Event, image: Image | None) -> Image:
    if image is not None:
        return image
    from napari_medseg.io import read_one

    try:
        return read_one(document.get("source_file") or "?")
    except MedSegError as error:
        raise DataError(f"The session's image is not found ({error}). Open the image first.") from error


def _round_name(made: Round) -> str:
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
    with _replacing(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _read_round(path: Path, key: int, facts: dict[str, Any]) -> Round:
    with np.load(path) as stored:
        names = {file.rsplit(".", 1)[0] for file in stored.files}
        changes = {name: _stored(stored, name) for name in names}
    return Round(key, changes, facts)


def _stored(stored: Mapping[str, np.ndarray], name: str) -> Change:
    box, kind, blob, count = (stored[f"{name}.{part}"] for part in ("box", "type", "blob", "count"))
    return Change(_box(box), str(kind), blob.tobytes(), int(count))


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Any]:
    """Open a temporary file that takes the place of `path` when all went well."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
