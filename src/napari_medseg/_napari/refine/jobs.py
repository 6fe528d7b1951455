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
from napari_medseg.errors import DataError, ElsewhereError, MedSegError, counted, one_line
from napari_medseg.image import Image
from napari_medseg.io.grids import moved_notes, on_grid
from napari_medseg.jobs import Job, Progress, run
from napari_medseg.refinement import RefinementSession
from napari_medseg.refinement.settings import RefinementSettings
from napari_medseg.refinement.state import label_array

T = TypeVar("T")
TOY = 24
MERGED = (
    "All labels became one foreground. To keep them apart: Finish, and start from the objects of a Labels layer; or "
    "set Settings > Classes."
)


@dataclass(frozen=True)
class Start:
    """What a session begins with.

    `others`: objects accepted on other parts of the picture; `whole`: which picture and time point the image is all or
    a part of; `saved`: folder of a session to continue; `box`: layer of a box around the object; `given`: layer of
    the labels that are corrected; `note`: a sentence for the user.
    """

    image: Image
    settings: RefinementSettings = field(default_factory=RefinementSettings)
    initial: Image | None = None
    locked: Image | None = None
    others: tuple[Image, ...] = ()
    whole: str = ""
    rnet: Path | None = None
    pnet: Path | None = None
    saved: Path | None = None
    box: Any = None
    given: Any = None
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
    """A session, what it began with, the folder it is saved in, and a sentence on where it is computed.

    `others`: the numbers, from the first up to the second one, under which objects of other parts are locked.
    """

    session: RefinementSession
    start: Start
    folder: Path
    note: str = ""
    others: tuple[int, int] = (0, 0)

    @property
    def saving(self) -> tuple[RefinementSession, Path, dict[str, Any]]:
        """What `refine_saves.save` is called with."""
        return self.session, self.folder, {"rnet": self.start.rnet, "pnet": self.start.pnet, "others": self.others}


def open_session(start: Start) -> Job[Opened]:
    """Load the models, make or reopen the session, warm up, and run P-Net if there is one."""
    from napari_medseg._napari import remote  # loads torch: here, beside the window
    from napari_medseg.models.catalog import load_model

    yield Progress(0, 3, "reading models")
    rnet = load_model(start.rnet, role="refine") if start.rnet else None
    pnet = load_model(start.pnet, role="propose") if start.pnet else None
    yield Progress(1, 3, "preparing the image")
    start = replace(start, image=in_memory(start.image))
    if start.saved is not None:
        session = RefinementSession.load(start.saved, start.image, model=rnet, pnet=pnet)
        start = replace(start, settings=session.settings, initial=None, locked=None, box=None)
        others = refine_saves.saved_others(start.saved)
    else:
        start = _placed(start)
        locked, others, lost = with_others(start)
        start = replace(start, note=" ".join(filter(None, (start.note, *lost))))
        settings = start.settings.updated(classes=rnet.method.out_channels - 1) if rnet else start.settings
        session = RefinementSession(
            start.image, proposal=start.initial, model=rnet, pnet=pnet, settings=settings, locked=locked
        )
    folder = start.saved or refine_saves.new_folder(session.image_hash)
    yield Progress(2, 3, "warming up (longer the first time)")
    here = session.engine
    note = yield from remote.refine(session, start.rnet, start.pnet)
    if session.engine is here:
        warm_up(session, rnet)
    if start.initial is not None and session.settings.classes == 1 and _are_several(start.initial.data):
        note = f"{note} {MERGED}".strip()
    moved = (sentence for one in (start.initial, start.locked) if one is not None for sentence in moved_notes(one))
    note = " ".join(filter(None, (start.note, note, _said(others), *dict.fromkeys(moved))))
    if start.saved is None:
        yield from session.propose()
    else:
        session.engine.prepare()
    return Opened(session, start, folder, note, others)


def _are_several(labels: Any) -> bool:
    present = labels[labels > 0]
    return bool(present.size and present.min() != present.max())


def with_others(start: Start) -> tuple[np.ndarray | None, tuple[int, int], list[str]]:
    """Return the objects that are locked, the numbers of those of other parts, and why others are not locked.

    Objects that were accepted on other parts of the picture, and reach into this one, get the numbers that follow.

    Returns
    -------
    tuple
        int32 (*spatial), or ``None`` without any; the first number of other parts and the last + 1; a sentence for
        each part whose objects cannot be brought onto the image.
    """
    own = None if start.locked is None else label_array(start.locked, start.image, "locked label map")
    if not start.others:
        return own, (0, 0), []
    locked = np.zeros(start.image.spatial_shape, np.int32) if own is None else own.astype(np.int32)
    first = following = int(locked.max(initial=0)) + 1
    lost = []
    for labels in start.others:
        try:
            there = np.asarray(on_grid(labels, start.image, "labels").data)
        except ElsewhereError:
            continue
        except MedSegError as error:
            lost.append(f"The objects of {labels.name} are not locked here: {error}")
            continue
        new = (there > 0) & (locked == 0)
        numbers, places = np.unique(there[new], return_inverse=True)
        locked[new] = following + places
        following += len(numbers)
    return locked, (first, following), lost


def _said(others: tuple[int, int]) -> str:
    count = others[1] - others[0]
    if not count:
        return ""
    one = count == 1
    return (
        f"{counted(count, 'object')} accepted on other parts {'is' if one else 'are'} locked here and "
        f"{'stays' if one else 'stay'} in the layer of {'its' if one else 'their'} part; to correct "
        f"{'it' if one else 'them'}, start from that layer."
    )


def in_memory(image: Image, name: str = "") -> Image:
    """Return an image with its values read, of which a large file may have left some where they are stored.

    Raises
    ------
    DataError
        If they cannot be read, or there is no room for them.
    """
    if isinstance(image.data, np.ndarray):
        return image
    try:
        return image.replace(data=np.asarray(image.data))
    except MemoryError as error:
        raise DataError(
            f"There is not enough memory to read {name or image.name}. Close other programs, or refine a part: press "
            "Draw a box and drag it around the object."
        ) from error
    except (OSError, ValueError, RuntimeError, LookupError) as error:
        raise DataError(f"{name or image.name} cannot be read ({one_line(error)}). Copy it again.") from error


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
