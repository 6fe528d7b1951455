"""How much each round of a recorded refinement was worth: the log is repeated, the mask compared after every step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medseg.errors import DataError, ReadError
from napari_medseg.evaluate.metrics.compare import compare
from napari_medseg.image import Image
from napari_medseg.io import read_one
from napari_medseg.io.files import read_json
from napari_medseg.io.grids import moved_notes, on_grid
from napari_medseg.jobs import Job, Progress
from napari_medseg.measure.labels import foreground
from napari_medseg.method import Model
from napari_medseg.models.catalog import load_model
from napari_medseg.refinement import RefinementSession
from napari_medseg.refinement.replay import read_log, replayed

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("step", "event", "round", "strokes", "dice", "foreground", "seconds")


def is_session(path: Path) -> bool:
    """Whether `path` is a recorded refinement: a session folder or a ``.jsonl`` file."""
    return (path / "log.jsonl").is_file() or (path.suffix == ".jsonl" and path.is_file())


def replay_scores(
    log: Path, truth: Image, image: Image | None = None, *, model: Model | None = None, pnet: Model | None = None
) -> Job[DataFrame]:
    """Repeat a recorded refinement and return one row per step: event, round, strokes so far, Dice, voxels, seconds.

    Parameters
    ----------
    log
        Session folder, or ``log.jsonl``.
    truth
        Reference on the image's grid. With one class, and where objects were accepted, foreground is compared; else
        the Dice is the mean over the classes.
    image
        The image that was refined; of a session folder by default the file it came from.
    model, pnet
        R-Net and P-Net, where the session used them; by default the files that it names.

    Raises
    ------
    DataError
        If the log is damaged, belongs to another image, or image or model cannot be found.
    """
    import pandas as pd

    image = _image(log) if image is None else image
    truth = on_grid(truth, image, "reference")
    for note in moved_notes(truth):
        yield Progress(0, 1, note)
    model, pnet = (given or _model(log, name) for given, name in ((model, "rnet"), (pnet, "pnet")))
    total, rows, strokes = sum(1 for _ in read_log(log)) - 1, [], 0
    for step, (event, session) in enumerate(replayed(image, log, model=model, pnet=pnet)):
        facts: dict[str, Any] = dict(session.rounds[-1]) if session.rounds and event["event"] == "refine" else {}
        strokes += int(facts.get("n_strokes", 0))
        dice, foreground = _score(session, truth)
        seconds = float(sum(facts.get("timings", {}).values()))
        row = (step, str(event["event"]).replace("_", " "), session.state.index, strokes, dice, foreground, seconds)
        rows.append(row)
        yield Progress(step + 1, max(total, step + 1), f"round {session.state.index}: Dice {dice:.3f}", {"dice": dice})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _score(session: RefinementSession, truth: Image) -> tuple[float, int]:
    """Return the Dice of what the session holds, accepted objects included, and its foreground voxels."""
    mask = session.mask
    if session.settings.classes > 1 and not session.result.any():
        return compare(truth.labels_like(mask), truth, ("dice",), "classes")["dice"], int(np.count_nonzero(mask))
    held = (foreground(mask) | foreground(session.result)).astype(np.uint8)
    wanted = truth.labels_like(foreground(truth.data).astype(np.uint8))
    return compare(truth.labels_like(held), wanted, ("dice",))["dice"], int(held.sum())


def _image(log: Path) -> Image:
    """Read the image of a session folder."""
    source = _note(log, "session.json").get("source_file")
    if not source:
        raise DataError(f"{log} does not say which image it refined. Give the image.")
    return read_one(Path(source))


def _model(log: Path, name: str) -> Model | None:
    path = _note(log, "models.json").get(name)
    return load_model(path) if path and isinstance(path, str) and Path(path).is_file() else None


def _note(log: Path, name: str) -> dict[str, Any]:
    try:
        note: dict[str, Any] = read_json((log if log.is_dir() else log.parent) / name)
    except ReadError:
        return {}
    return note if isinstance(note, dict) else {}
