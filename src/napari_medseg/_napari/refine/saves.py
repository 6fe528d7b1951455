"""Saved sessions: one folder per image and start, the newest ones are kept."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Layer

from napari_medseg._napari.refine.steps import SAVE, Steps, timer
from napari_medseg.errors import MedSegError
from napari_medseg.jobs import Job, Progress
from napari_medseg.refinement import RefinementSession

SESSIONS = Path.home() / ".napari-medseg" / "sessions"
KEPT, WAIT_MS, SESSION = 20, 800, "medseg_session"


@dataclass(frozen=True)
class Saved:
    """A saved session that can be continued."""

    folder: Path
    time: float
    rounds: int

    def describe(self) -> str:
        """Return the text of the button."""
        then, now = time.localtime(self.time), time.localtime()
        form = "%H:%M" if then[:3] == now[:3] else "%d %b, %H:%M"
        return f"Continue session of {time.strftime(form, then)} ({self.rounds} round{'s' * (self.rounds != 1)})?"


class Autosave:
    """Save each round, a moment after it, between the steps; `saving` is what `save` is called with."""

    def __init__(self, saving: tuple[RefinementSession, Path, Mapping[str, Path | None]], steps: Steps) -> None:
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
            self.steps.do(SAVE, self._job, lambda folder: None)

    def _job(self) -> Job[Path]:
        yield Progress(0, 1, "saving")
        return save(*self.saving)

    def last(self) -> None:
        """Save at the end, without holding up the window."""
        if self.dirty:
            self.thread = threading.Thread(target=_save_quietly, args=self.saving)
            self.thread.start()
            self.dirty = False

    @property
    def pending(self) -> bool:
        """Whether something is still to be saved."""
        return self.dirty or not self.steps.idle or (self.thread is not None and self.thread.is_alive())


def save(session: RefinementSession, folder: Path, models: Mapping[str, Path | None]) -> Path:
    """Write the session and the names of the models it uses; drop the oldest sessions beyond `KEPT`."""
    session.save(folder)
    kept = {name: str(path or "") for name, path in models.items()}
    (folder / "models.json").write_text(json.dumps(kept), encoding="utf-8")
    for _, _, old in sorted(_documents(), key=lambda entry: entry[0])[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


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


def _save_quietly(session: RefinementSession, folder: Path, models: Mapping[str, Path | None]) -> None:
    try:
        save(session, folder, models)
    except (MedSegError, OSError) as error:
        logging.getLogger(__name__).warning("The refinement was not saved: %s", error)


def newest_saved(name: str, shape: tuple[int, ...]) -> Saved | None:
    """Return the newest session made on an image of this name and shape, if it has a round."""
    fitting = [d for d in _documents() if d[1].get("image") == name and d[1].get("shape") == list(shape)]
    for when, document, folder in sorted(fitting, key=lambda entry: -entry[0]):
        rounds = document.get("first", 0) + len(document.get("rounds", ()))
        if rounds:
            return Saved(folder, when, rounds)
    return None


def saved_models(folder: Path) -> dict[str, Path | None]:
    """Return the R-Net and P-Net files that a saved session used."""
    try:
        found = json.loads((folder / "models.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    return {name: Path(found[name]) if found.get(name) else None for name in ("rnet", "pnet")}


def _documents() -> list[tuple[float, dict[str, Any], Path]]:
    """Return time, content and folder of every saved session that can be read."""
    found = []
    for path in SESSIONS.glob("*/*/session.json"):
        with contextlib.suppress(OSError, ValueError):
            found.append((path.stat().st_mtime, json.loads(path.read_text(encoding="utf-8")), path.parent))
    return found
