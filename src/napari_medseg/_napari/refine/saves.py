"""Saved sessions: one folder per image and start; of each image the newest ones are kept."""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Layer
from napari.utils.notifications import show_warning

from napari_medseg._napari.refine.steps import SAVE, Steps, timer
from napari_medseg.errors import MedSegError, ReadError, counted
from napari_medseg.image import Image
from napari_medseg.io.files import home, read_json, write_json
from napari_medseg.io.geometry import PART
from napari_medseg.jobs import Job, Progress
from napari_medseg.refinement import RefinementSession
from napari_medseg.refinement.boxes import Box
from napari_medseg.refinement.log import SavedElsewhereError, image_hash

SESSIONS = home() / ".napari-medseg" / "sessions"
KEPT, WAIT_MS, SESSION = 20, 800, "medseg_session"
OTHERS = "others"
HASH = 12  # letters of an image's hash that name its folder


@dataclass(frozen=True)
class Saved:
    """A saved session that can be continued; `part`: of a pyramid the level, and the box of it, that it was made on."""

    folder: Path
    time: float
    rounds: int
    part: tuple[int, Box] | None = None

    def describe(self) -> str:
        """Say when it was and how long."""
        then, now = time.localtime(self.time), time.localtime()
        form = "%H:%M" if then[:3] == now[:3] else "%d %b, %H:%M"
        where = "" if self.part is None else f", level {self.part[0]}"
        return f"session of {time.strftime(form, then)} ({counted(self.rounds, 'round')}{where})"


class Autosave:
    """Save each round, a moment after it, between the steps; `saving` is what `save` is called with."""

    def __init__(self, saving: tuple[RefinementSession, Path, Mapping[str, Any]], steps: Steps) -> None:
        self.saving, self.steps, self.dirty = saving, steps, False
        self.timer = timer(WAIT_MS, self._save)
        self.thread: threading.Thread | None = None

    def note(self) -> None:
        """Remember that there is something to save."""
        self.dirty = True
        self.timer.start()

    def _save(self) -> None:
        if self.dirty and self.steps.closing is None:
            self.dirty = False
            self.steps.do(SAVE, self._job, self._saved)

    def _job(self) -> Job[Path]:
        yield Progress(0, 1, "saving")
        return save(*self.saving)

    def _saved(self, folder: Path) -> None:
        session, _, models = self.saving
        self.saving = session, folder, models

    def last(self) -> None:
        """Save at the end, without holding up the window."""
        if self.dirty:
            self.thread = threading.Thread(target=_save_quietly, args=self.saving)
            self.thread.start()
            self.dirty = False

    def now(self) -> None:
        """Save what is not saved yet, and wait for it."""
        if self.dirty:
            self.dirty = False
            _save_quietly(*self.saving)

    @property
    def pending(self) -> bool:
        """Whether something is still to be saved."""
        return self.dirty or not self.steps.idle or (self.thread is not None and self.thread.is_alive())


def save(session: RefinementSession, folder: Path, models: Mapping[str, Any]) -> Path:
    """Write the session, the names of the models it uses and which objects are those of other parts; return where.

    Where another window saved the same session meanwhile, a folder beside it is taken. Of each image `KEPT` sessions
    stay; when there are more, the oldest is removed, and the user is told both.
    """
    wanted = folder
    while True:
        try:
            session.save(folder)
            break
        except SavedElsewhereError:
            session.save_token, folder = "", _unused(wanted)
            show_warning(f"This session went on in another window too. This window's rounds are kept in {folder}.")
    others = [int(number) for number in models.get(OTHERS, (0, 0))]
    paths = {name: str(path or "") for name, path in models.items() if name != OTHERS}
    write_json(folder / "models.json", {**paths, OTHERS: others})
    _make_room(folder)
    return folder


def _unused(folder: Path) -> Path:
    return next(other for k in count(2) if not (other := folder.with_name(f"{folder.name}-{k}")).exists())


def new_folder(image_hash: str) -> Path:
    """Return the folder of a new session of an image; no two windows get the same."""
    return SESSIONS / image_hash[:HASH] / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(8)}"


def _make_room(folder: Path) -> None:
    """Remove the oldest sessions beyond `KEPT` of the image of `folder`, never that one, and say so."""
    others = sorted(entry for entry in _times(folder.parent) if entry[1] != folder)
    for then, old in others[: max(len(others) + 1 - KEPT, 0)]:
        shutil.rmtree(old, ignore_errors=True)
        date = time.strftime("%d %b %Y, %H:%M", time.localtime(then))
        show_warning(f"Of each image {KEPT} refinements are kept: that of {date} in {old} was removed.")


def _times(parent: Path) -> list[tuple[float, Path]]:
    found = []
    for path in parent.glob("*/session.json"):
        with contextlib.suppress(OSError):
            found.append((path.stat().st_mtime, path.parent))
    return found


def take_place(viewer: Any, layers: Sequence[Layer], folder: Path) -> None:
    """Let `layers` take the place of those that an earlier opening of the session in `folder` left unchanged."""
    earlier = [x for x in viewer.layers if x.metadata.get(SESSION) == str(folder) and x not in layers]
    for mine in layers:
        mine.metadata[SESSION] = str(folder)
        for old in earlier:
            same = old.data.shape == mine.data.shape and np.array_equal(old.data, mine.data)
            if same and old in viewer.layers and mine.name.startswith(old.name):
                name = old.name
                viewer.layers.remove(old)
                mine.name = name


def _save_quietly(session: RefinementSession, folder: Path, models: Mapping[str, Any]) -> None:
    try:
        save(session, folder, models)
    except (MedSegError, OSError) as error:
        logging.getLogger(__name__).warning("The refinement was not saved: %s", error)


def saved_sessions(image: Image, pyramid: Layer | None = None) -> list[Saved]:
    """Return the sessions with a round that were made on these values, whatever the file is called, newest first.

    Of a `pyramid` those made on a part of one of that name and size: whose values it has shows when it is opened.
    """
    if pyramid is None:
        fitting = [d for d in _documents() if d[1].get("shape") == list(image.data.shape)]
        own = image_hash(image) if fitting else ""
        fitting = [d for d in fitting if d[1].get("sha256") == own]
    else:
        fitting = [d for d in _documents() if d[1].get("image") == image.name and part_of(d[1], pyramid) is not None]
    found = []
    for when, document, folder in sorted(fitting, key=lambda entry: -entry[0]):
        first, rounds = document.get("first"), document.get("rounds")
        if isinstance(first, int) and isinstance(rounds, list) and first + len(rounds):
            part = None if pyramid is None else part_of(document, pyramid)
            found.append(Saved(folder, when, first + len(rounds), part))
    return found


def part_of(document: Mapping[str, Any], pyramid: Layer) -> tuple[int, Box] | None:
    """Return level and box of a layer of several resolutions that a session was made on, ``None`` if of another."""
    place = document.get(PART)
    try:
        level, box = int(place["level"]), tuple(slice(int(a), int(b)) for a, b in place["box"])  # type: ignore[index]
        shape = pyramid.data[level].shape[: pyramid.ndim][-len(box) :]
        inside = level >= 0 and all(0 <= s.start < s.stop <= n for s, n in zip(box, shape, strict=True))
        return (level, box) if inside and place["of"] == list(pyramid.data[0].shape) else None  # type: ignore[index]
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        return None


def saved_models(folder: Path) -> dict[str, Path | None]:
    """Return the R-Net and P-Net files that a saved session used."""
    try:
        found = read_json(folder / "models.json")
    except ReadError:
        found = {}
    names = {name: found.get(name) if isinstance(found, dict) else None for name in ("rnet", "pnet")}
    return {name: Path(path) if path and isinstance(path, str) else None for name, path in names.items()}


def saved_others(folder: Path) -> tuple[int, int]:
    """Return the numbers, from the first up to the second one, under which a saved session locks others' objects."""
    try:
        first, following = read_json(folder / "models.json")[OTHERS]
        return int(first), int(following)
    except (ReadError, KeyError, TypeError, ValueError, OverflowError):
        return 0, 0


def _documents() -> list[tuple[float, dict[str, Any], Path]]:
    """Return time, content and folder of every saved session that can be read."""
    found = []
    for path in SESSIONS.glob("*/*/session.json"):
        with contextlib.suppress(OSError, ReadError):
            document = read_json(path)
            if isinstance(document, dict):
                found.append((path.stat().st_mtime, document, path.parent))
    return found
