"""Repeat a logged session, event by event, to the same mask."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io.files import parse_json
from napari_medseg.jobs import run
from napari_medseg.refinement.log import Event, apply_changes
from napari_medseg.refinement.saved import check_hash, taken_part
from napari_medseg.refinement.settings import RefinementSettings

DAMAGE = (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError, zlib.error)

if TYPE_CHECKING:
    from napari_medseg.method import Model
    from napari_medseg.refinement import RefinementSession


def read_log(log: str | Path) -> Iterator[dict[str, Any]]:
    """Read the events of a ``log.jsonl`` file (or of the session folder that holds it).

    Raises
    ------
    DataError
        If the file is missing or damaged.
    """
    path = Path(log) / "log.jsonl" if Path(log).is_dir() else Path(log)
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                event = parse_json(line)
                if not isinstance(event, dict):
                    raise ValueError("a line is no event")
                yield event
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no interaction log ({error}). Give a log.jsonl or its session folder.") from error


def replay(
    image: Image, log: str | Path | Iterable[Event], *, model: Model | None = None, pnet: Model | None = None
) -> Image:
    """Repeat a logged session on `image`, or on the part of that pyramid it was made on; return the mask as labels.

    Raises
    ------
    DataError
        If the log belongs to another image, or is damaged.
    """
    *_, (_, session) = replayed(image, log, model=model, pnet=pnet)
    return session.mask_image()


def replayed(
    image: Image, log: str | Path | Iterable[Event], *, model: Model | None = None, pnet: Model | None = None
) -> Iterator[tuple[Event, RefinementSession]]:
    """Repeat a logged session and yield each event with the session as it is after it, the start first.

    Raises
    ------
    DataError
        If the log belongs to another image, or is damaged.
    """
    from napari_medseg.refinement import RefinementSession

    events = list(read_log(log) if isinstance(log, str | Path) else log)
    if events and events[0].get("event") == "header":
        header = events.pop(0)
        image = taken_part(header, image)
        check_hash(header, image)
    if not events or events[0].get("event") != "start":
        raise DataError("The interaction log does not begin with a start event. Give a whole log.jsonl.")
    try:
        start = events[0]
        settings = RefinementSettings.parse(start["settings"])
        arrays: dict[str, np.ndarray] = {
            "mask": np.zeros(image.spatial_shape, np.uint8),
            "result": np.zeros(image.spatial_shape, np.int32),
        }
        apply_changes(start, arrays)
        session = RefinementSession(
            image, proposal=arrays["mask"], model=model, pnet=pnet, settings=settings, locked=arrays["result"]
        )
    except DAMAGE as error:
        raise _damaged(error) from error
    yield start, session
    for event in events[1:]:
        try:
            _repeat(session, event)
        except DAMAGE as error:
            raise _damaged(error) from error
        yield event, session


def _damaged(error: Exception) -> DataError:
    return DataError(f"The interaction log is damaged ({type(error).__name__}: {error}).")


def _repeat(session: RefinementSession, event: Event) -> None:
    if event["event"] in ("refine", "draw"):
        marks = {"scribbles": session.scribbles.copy()}
        apply_changes(event, marks)
        run(session.refine(marks["scribbles"])) if event["event"] == "refine" else session.draw(marks["scribbles"])
    elif event["event"] == "propose":
        if session.pnet is None:
            raise DataError("The log begins with a P-Net proposal. Give the P-Net model.")
        run(session.propose())
    elif event["event"] == "accept":
        session.accept_object(event["label"])
    elif event["event"] == "accept_pieces":
        session.accept_pieces()
    elif event["event"] == "reopen":
        session.reopen_object(event["label"])
    elif event["event"] == "edit":
        arrays = {"mask": session.mask.copy(), "result": session.result.copy()}
        apply_changes(event, arrays)
        session.edit(event["what"], arrays["mask"], arrays["result"])
    else:
        session.go_to(event["index"])
