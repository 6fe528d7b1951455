"""Jobs behind the dock: what a session begins with, and opening it; nothing here knows a window."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from napari_medseg import __version__
from napari_medseg._napari.refine import saves as refine_saves
from napari_medseg.errors import MedSegError
from napari_medseg.image import Image
from napari_medseg.io.grids import moved_notes, on_grid
from napari_medseg.jobs import Job, Progress, run
from napari_medseg.refinement import RefinementSession
from napari_medseg.refinement.settings import RefinementSettings

T = TypeVar("T")
TOY = 24
MERGED = "All labels became one foreground. To keep them apart: Finish, set Settings > Classes, and start again."


@dataclass(frozen=True)
class Start:
    """What a session begins with.

    `saved`: folder of one to continue; `box`: layer of a box around the object; `note`: a sentence for the user.
    """

    image: Image
    settings: RefinementSettings = field(default_factory=RefinementSettings)
    initial: Image | None = None
    locked: Image | None = None
    rnet: Path | None = None
    pnet: Path | None = None
    saved: Path | None = None
    box: Any = None
    note: str = ""

    def provenance(self) -> dict[str, Any]:
        """Return what is kept with the layers that this makes."""
        method = "geodesic"
        if self.rnet:
            from napari_medseg.models.catalog import entry

            method = entry(self.rnet).card.get("method", "")
        return {
            "method": method,
            "checkpoint": str(self.rnet or ""),
            "proposal": str(self.pnet or ""),
            "settings": self.settings.model_dump(mode="json"),
            "version": __version__,
            "source_layer": self.image.name,
            "source_file": str(self.image.metadata.get("source_file", "")),
        }


@dataclass(frozen=True)
class Opened:
    """A session, what it began with, the folder it is saved in, and a sentence on where it is computed."""

    session: RefinementSession
    start: Start
    folder: Path
    note: str = ""

    @property
    def saving(self) -> tuple[RefinementSession, Path, dict[str, Path | None]]:
        """What `refine_saves.save` is called with."""
        return self.session, self.folder, {"rnet": self.start.rnet, "pnet": self.start.pnet}


def open_session(start: Start) -> Job[Opened]:
    """Load the models, make or reopen the session, warm up, and run P-Net if there is one."""
    from napari_medseg._napari import remote  # loads torch: here, beside the window
    from napari_medseg.models.catalog import load_model

    yield Progress(0, 3, "reading models")
    rnet = load_model(start.rnet, role="refine") if start.rnet else None
    pnet = load_model(start.pnet, role="propose") if start.pnet else None
    yield Progress(1, 3, "preparing the image")
    if start.saved is not None:
        session = RefinementSession.load(start.saved, start.image, model=rnet, pnet=pnet)
        start = replace(start, settings=session.settings, initial=None, locked=None, box=None)
    else:
        start = _placed(start)
        settings = start.settings.updated(classes=rnet.method.out_channels - 1) if rnet else start.settings
        session = RefinementSession(
            start.image, proposal=start.initial, model=rnet, pnet=pnet, settings=settings, locked=start.locked
        )
    folder = start.saved or refine_saves.new_folder(session.image_hash)
    yield Progress(2, 3, "warming up (longer the first time)")
    here = session.engine
    note = yield from remote.refine(session, start.rnet, start.pnet)
    if session.engine is here:
        warm_up(session, rnet)
    if start.initial is not None and session.settings.classes == 1 and start.initial.data.max() > 1:
        note = f"{note} {MERGED}".strip()
    moved = (sentence for one in (start.initial, start.locked) if one is not None for sentence in moved_notes(one))
    note = " ".join(filter(None, (start.note, note, *dict.fromkeys(moved))))
    if start.saved is None:
        yield from session.propose()
    else:
        session.engine.prepare()
    return Opened(session, start, folder, note)


def _placed(start: Start) -> Start:
    """Bring the labels that a session begins with onto the image's grid; what was done to them is in their notes."""
    initial, locked = (
        None if labels is None else on_grid(labels, start.image, "labels") for labels in (start.initial, start.locked)
    )
    return replace(start, initial=initial, locked=locked)


def warm_up(session: RefinementSession, rnet: Any = None) -> None:
    """Paint in a corner of the image and erase: no stroke then waits for compilers and imports."""
    image = session.image
    cut = tuple(slice(0, None if axis == "C" else TOY) for axis in image.axes)
    toy = image.replace(data=np.array(image.data[cut]), affine=None)
    marks = np.zeros(toy.spatial_shape, np.uint8)
    marks[(..., slice(0, 3))], marks[(..., slice(-3, None))] = 1, 2
    with contextlib.suppress(MedSegError):  # a corner may be too small for the network: nothing is lost
        toy_session = RefinementSession(toy, model=rnet, settings=session.settings)
        run(toy_session.refine(marks))
        marks[..., -1] = 0
        run(toy_session.refine(marks))


def call(message: str, function: Callable[..., T], *arguments: Any) -> Job[T]:
    """Make a job of a plain call."""
    yield Progress(0, 1, message)
    return function(*arguments)
