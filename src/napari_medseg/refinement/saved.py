"""Reopen a saved session: every value of its files is checked before any of it is believed."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from napari_medseg.errors import DataError, MedSegError, one_line
from napari_medseg.image import Image
from napari_medseg.io.files import parse_json, read_json
from napari_medseg.io.geometry import PART, at_level, cut_out
from napari_medseg.refinement.history import Change, Round
from napari_medseg.refinement.log import (
    BOX,
    FORMATS,
    check_change,
    checksum,
    digests_of,
    image_hash,
    round_name,
    token_of,
)
from napari_medseg.refinement.settings import RefinementSettings

if TYPE_CHECKING:
    from napari_medseg.method import Model
    from napari_medseg.refinement import RefinementSession

HEADER = 1024  # bytes of an array's header, at most
CHECKED = {"checksum", "token", "state_sha256"}  # a session without any of them is older than they are
DAMAGED = (  # what readers of arrays raise on bytes that are none; encrypted or unknown entries are a `RuntimeError`
    OSError, ValueError, KeyError, TypeError, IndexError, OverflowError, EOFError, MemoryError, RuntimeError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
LIMITS = {"mask": 0, "given": 0, "scribbles": 1}  # by how much an array may exceed the number of classes


def _plain(name: str) -> str:
    if not name or Path(name).name != name or "\\" in name or ":" in name:
        raise ValueError("is no file name")
    return name


Name = Annotated[str, AfterValidator(_plain)]


class SavedRound(BaseModel, extra="allow"):
    """What ``session.json`` says of a round."""

    file: Name
    key: int = Field(ge=0)
    facts: dict[str, Any]


class Saved(BaseModel, extra="allow"):
    """What ``session.json`` says."""

    format: int
    sha256: str
    shape: list[int]
    settings: dict[str, Any]
    first: int = Field(ge=0)
    index: int
    events: int = Field(ge=1)
    state: Name
    state_sha256: dict[str, str] = Field(default_factory=dict)
    rounds: list[SavedRound]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.first <= self.index <= self.first + len(self.rounds):
            raise ValueError(f"round {self.index} is none of {self.first} to {self.first + len(self.rounds)}")
        keys = [made.key for made in self.rounds]
        if keys != sorted(set(keys)):
            raise ValueError("its rounds are not in order")
        if any(not isinstance(made.facts.get("kind"), str) for made in self.rounds):
            raise ValueError("a round does not say what it was")
        return self


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
        document = read_json(folder / "session.json")
        if isinstance(document, dict):
            check_format(document)
        saved = Saved.model_validate(document)
        if CHECKED & document.keys() and document.pop("checksum", None) != checksum(document):
            raise ValueError("session.json was changed or damaged")
    except DataError:
        raise
    except (MedSegError, ValueError) as error:
        raise _incomplete(folder, error) from error
    image = _source(document, image)
    check_hash(document, image)
    session = kind(image, model=model, pnet=pnet, settings=RefinementSettings.parse(saved.settings))
    own = session.history.arrays
    try:
        arrays = _read_state(folder, saved, own, session.settings.classes)
        rounds = [_read_round(folder, made, own) for made in saved.rounds]
        log = _read_events(folder / "log.jsonl", saved.events)
    except DAMAGED as error:
        raise _incomplete(folder, error) from error
    session.history.restore(arrays, rounds, saved.first, saved.index)
    session.log = log
    session.save_token = token_of(document)
    return session


def is_known_format(number: object) -> bool:
    """Whether this version reads sessions of that format: a whole number, neither true nor 1.0."""
    return type(number) is int and number in FORMATS


def check_format(document: Mapping[str, Any]) -> None:
    """Refuse a session or log of another version."""
    if not is_known_format(document.get("format")):
        read = " and ".join(map(str, FORMATS))
        raise DataError(f"The session has format {document.get('format')}; this version reads {read}. Update.")


def check_hash(document: Mapping[str, Any], image: Image) -> None:
    """Refuse an image that the saved session or log does not belong to."""
    check_format(document)
    if document.get("sha256") != image_hash(image):
        raise DataError(
            f"The session was made on {document.get('image')!r} {document.get('shape')}, not on {image.name!r} "
            f"{list(image.data.shape)} with these values. Open the image it was made on."
        )


def taken_part(document: Mapping[str, Any], image: Image) -> Image:
    """Return the part of a level of a pyramid that a saved session or log was made on; of any other image all.

    Raises
    ------
    DataError
        If the image has no such part.
    """
    part = document.get(PART)
    if part is None or "levels" not in image.metadata:
        return image
    try:
        level, box = int(part["level"]), tuple(slice(int(a), int(b)) for a, b in part["box"])
        found = cut_out(at_level(image, level), box)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"The session does not say which part of {image.name} it was made on.") from error
    return found.replace(data=np.asarray(found.data), metadata={**found.metadata, PART: part})


def _incomplete(folder: Path, error: Exception) -> DataError:
    reason = one_line(error)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc'])) or 'session.json'}: {first['msg']}"
    return DataError(f"{folder} holds no complete refinement session ({reason}). Choose its folder.")


def _source(document: Mapping[str, Any], image: Image | None) -> Image:
    if image is not None:
        return image
    from napari_medseg.io import read_one

    try:
        whole = read_one(str(document.get("source_file") or "?"))
        return taken_part(document, whole)
    except MedSegError as error:
        raise DataError(f"The session's image is not found ({error}). Open the image first.") from error


def _read_state(folder: Path, saved: Saved, own: Mapping[str, np.ndarray], classes: int) -> dict[str, np.ndarray]:
    """Return the present arrays, which must be like the session's `own`."""
    stored = _read_arrays(folder / saved.state, sum(array.nbytes for array in own.values()))
    known = digests_of(stored)
    if any(known[name] != value for name, value in saved.state_sha256.items() if name in known):
        raise ValueError(f"{saved.state} is not the state that was saved")
    arrays = {name: _spread(stored, name, own) for name in stored if not name.endswith(BOX)}
    if arrays.keys() | {"given"} != own.keys():
        raise ValueError(f"{saved.state} holds other arrays")
    for name, array in arrays.items():
        if array.shape != own[name].shape or array.dtype != own[name].dtype:
            raise ValueError(f"{name} is {array.dtype} {array.shape} instead of {own[name].dtype} {own[name].shape}")
        if name in LIMITS and array.max(initial=0) > classes + LIMITS[name]:
            raise ValueError(f"{name} holds a class that there is not")
    return {"given": arrays["mask"].copy(), **arrays}  # `given` is younger than the other arrays


def _spread(stored: Mapping[str, np.ndarray], name: str, own: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return an array of which a box may have been stored, like the session's own of its name."""
    part, box = stored[name], stored.get(name + BOX)
    if box is None:
        return part
    shape = own[name].shape
    if (
        box.shape != (len(shape), 2)
        or part.shape != tuple(box[:, 1] - box[:, 0])
        or not ((box[:, 0] >= 0).all() and (box[:, 1] <= shape).all())
    ):
        raise ValueError(f"the box of {name} does not fit")
    out = np.zeros(shape, part.dtype)
    out[tuple(slice(int(a), int(b)) for a, b in box)] = part
    return out


def _read_round(folder: Path, saved: SavedRound, own: Mapping[str, np.ndarray]) -> Round:
    largest = sum(2 * array.nbytes for array in own.values())
    stored = _read_arrays(folder / saved.file, largest)
    changes = {name: _stored(stored, name) for name in {key.rsplit(".", 1)[0] for key in stored}}
    made = Round(saved.key, changes, saved.facts)
    if round_name(made) != saved.file:
        raise ValueError(f"{saved.file} is not the round that was saved")
    for name, change in changes.items():
        check_change(change, own[name])
    return made


def _stored(stored: Mapping[str, np.ndarray], name: str) -> Change:
    box, kind, blob, count = (stored[f"{name}.{part}"] for part in ("box", "type", "blob", "count"))
    return Change(tuple(slice(int(a), int(b)) for a, b in box), str(kind), blob.tobytes(), int(count))


def _read_arrays(path: Path, largest: int) -> dict[str, np.ndarray]:
    """Return the arrays of an ``.npz`` file that hold at most `largest` bytes together."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > largest + HEADER * len(entries):
            raise ValueError(f"{path.name} holds more than an image of this size can have")
    with np.load(path, allow_pickle=False) as stored:
        return {name: np.asarray(stored[name]) for name in stored.files}


def _read_events(path: Path, count: int) -> list[dict[str, Any]]:
    """Return the first `count` events after the header: a save that was killed may have left a longer log."""
    lines = path.read_text(encoding="utf-8").splitlines()[1 : count + 1]
    events = [parse_json(line) for line in lines]
    if len(events) < count or any(not isinstance(one, dict) or "event" not in one for one in events):
        raise ValueError("log.jsonl is cut short or damaged")
    return events
