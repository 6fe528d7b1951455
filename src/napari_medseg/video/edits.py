"""Intervals of nerve and outlines that a person corrected, and what they make of a run's table and summary.

``frames.csv`` and ``masks`` stay what the networks said. ``frames_edited.csv`` holds the same rows by the corrections,
``intervals.csv`` the corrected intervals, ``masks_edited`` the outlines that were drawn or made since, with their
measures in ``masks_edited.csv``, and ``edited`` in ``summary.json`` the movie's numbers by them.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medseg.errors import DataError, ReadError, one_line
from napari_medseg.io.files import read_json, write_bytes, write_json
from napari_medseg.io.spreadsheets import table_of
from napari_medseg.io.write import write_table
from napari_medseg.measure.video import intervals as runs_of
from napari_medseg.measure.video import seconds_of, summarise
from napari_medseg.video.decision import p_columns

if TYPE_CHECKING:
    from pandas import DataFrame

TABLE, EDITED, INTERVALS, SUMMARY = "frames.csv", "frames_edited.csv", "intervals.csv", "summary.json"
WORDS = ("name", "label", "edited")
OF_MASKS = ("centroid_y", "centroid_x", "nbr", "cnr")  # empty where there is none
CORRECTED, MEASURED, OVERLAY = "masks_edited", "masks_edited.csv", "overlay_edited"
AREA, PIECES = "mask_area_", "n_components"  # how names of columns of areas begin; that of the parts of a mask
UNKNOWN = "not nerve"


def inside(times: np.ndarray, intervals: Sequence[tuple[float, float]], step: float) -> np.ndarray:
    """Return which frames, shown from `times` on for `step` seconds, have their middle in an interval (N,)."""
    middle = np.asarray(times, float)[:, None] + step / 2
    bounds = np.asarray(list(intervals), float).reshape(-1, 2)
    return np.asarray(((middle >= bounds[:, 0]) & (middle < bounds[:, 1])).any(1))


def relabel(frames: DataFrame, nerve: np.ndarray, nerve_class: str, classes: Sequence[str] = ()) -> DataFrame:
    """Return the rows of a run's table with nerve where `nerve` (N,) says so.

    A frame that is no longer nerve loses its mask: areas are 0, place and contrast empty, and its class is the
    likeliest other one. A frame that became nerve has no mask yet. ``edited`` marks both.
    """
    before = (frames["label"].str.lower() == nerve_class.lower()).to_numpy()
    result = frames.copy()
    off = before & ~nerve
    result.loc[off, "label"] = _others(frames, nerve_class, classes)[off]
    result.loc[nerve & ~before, "label"] = nerve_class
    result.loc[off, [name for name in map(str, frames) if name.startswith(AREA) or name == PIECES]] = 0
    result.loc[off, [name for name in OF_MASKS if name in frames]] = np.nan
    return result.assign(edited=before != nerve)


def save_edits(folder: Path, intervals: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Apply corrected intervals (start, stop in seconds) to the run in `folder`; return its summary.

    Raises
    ------
    DataError
        If `folder` holds no run.
    WriteError
        If it cannot be written.
    """
    frames, summary = read_run(folder)
    return _write(folder, frames, summary, inside(frames["time_s"].to_numpy(), intervals, _step(summary)))


def refresh_edits(folder: Path) -> dict[str, Any] | None:
    """Apply the corrections of an earlier time to a run that went on: new frames keep what the networks said."""
    if not (folder / EDITED).is_file():
        return None
    frames, summary = read_run(folder)
    edited, name = read_table(folder / EDITED), _nerve_class(summary)
    by_hand = dict(zip(edited["frame"], edited["label"].str.lower() == name.lower(), strict=True))
    found = frames["label"].str.lower() == name.lower()
    nerve = [by_hand.get(k, one) for k, one in zip(frames["frame"], found, strict=True)]
    return _write(folder, frames, summary, np.array(nerve, bool))


def has_edits(folder: Path) -> bool:
    """Whether a person corrected the intervals of a run."""
    return any((folder / name).exists() for name in (EDITED, INTERVALS, CORRECTED))


def remove_edits(folder: Path) -> None:
    """Delete corrections and what was made by them."""
    for path in (folder / EDITED, folder / INTERVALS, folder / MEASURED, *folder.glob(f"{OVERLAY}.*")):
        path.unlink(missing_ok=True)
    shutil.rmtree(folder / CORRECTED, ignore_errors=True)


def outline_path(folder: Path, name: str) -> Path:
    """Return where the corrected outline of a frame lies."""
    return folder / CORRECTED / f"{name}.png"


def keep_outline(folder: Path, name: str, mask: np.ndarray) -> None:
    """Write the corrected outline (Y, X) of a frame; `save_edits` and `render` take it into account.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    write_bytes(outline_path(folder, name), png((np.asarray(mask) > 0).astype(np.uint8) * np.uint8(255)))


def png(array: np.ndarray) -> bytes:
    """Return `array` (Y, X) or (Y, X, 3) uint8 as a PNG file."""
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(array).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def read_mask(path: Path) -> np.ndarray:
    """Read a mask (Y, X) that `png` wrote."""
    from PIL import Image as Pillow

    with Pillow.open(path) as picture:
        return np.asarray(picture) > 0


def frame_names(frames: DataFrame) -> list[str]:
    """Return what the pictures of the frames are called."""
    if "name" in frames:
        return [str(name) for name in frames["name"]]
    return [f"frame_{number:06d}" for number in frames["frame"]]


def discard_edits(folder: Path) -> dict[str, Any]:
    """Forget the corrections; return the summary of the run.

    Raises
    ------
    DataError
        If `folder` holds no run.
    """
    _, summary = read_run(folder)
    remove_edits(folder)
    summary.pop("edited", None)
    write_json(folder / SUMMARY, summary)
    return summary


def read_run(folder: Path) -> tuple[DataFrame, dict[str, Any]]:
    """Return the table and the summary of a finished or stopped run.

    Raises
    ------
    DataError
        If they are missing or damaged.
    """
    if not (folder / TABLE).is_file() or not (folder / SUMMARY).is_file():
        raise DataError(f"{folder} holds no result. Choose a folder with {TABLE} and {SUMMARY}.")
    frames = read_table(folder / TABLE)
    try:
        summary = read_json(folder / SUMMARY)
        _nerve_class(summary), _classes(summary), _step(summary)
    except (ReadError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise DataError(
            f"The result in {folder} cannot be read: {SUMMARY}: {one_line(error)}. Run the movie again."
        ) from error
    return frames, summary


def read_table(path: Path) -> DataFrame:
    """Return the table of the frames of a run, or the one by corrected intervals.

    Raises
    ------
    DataError
        If it is none, or holds words where numbers belong.
    """
    try:
        frames = table_of(path)
        frames["label"] = frames["label"].astype(str)
        numbers = frames.drop(columns=[name for name in WORDS if name in frames])
        if len(frames) and not all(kind.kind in "biuf" for kind in numbers.dtypes):
            raise ValueError("there are words where numbers belong")
        if not np.isfinite(frames[["frame", "time_s", "mask_area_px"]].to_numpy(float)).all():
            raise ValueError("a number is missing")
    except (ReadError, ValueError, KeyError) as error:
        raise DataError(
            f"The result in {path.parent} cannot be read: {path.name}: {one_line(error)}. Run the movie again."
        ) from error
    return frames


def _write(folder: Path, frames: DataFrame, summary: dict[str, Any], nerve: np.ndarray) -> dict[str, Any]:
    """Write table, intervals and summary of the edited movie; `nerve` says of each frame whether it shows nerve."""
    name, step = _nerve_class(summary), _step(summary)
    table = _measured(relabel(frames, nerve, name, _classes(summary)), nerve, folder)
    found = runs_of(nerve, step, frames["time_s"].to_numpy(float))
    numbers = {**summarise(table, step), "nerve_frames": int(nerve.sum()), "nerve_share": float(nerve.mean())}
    summary["edited"] = {
        "frames_changed": int(table["edited"].sum()),
        "nerve_frames_without_mask": int((table["edited"] & nerve & (table["mask_area_px"] == 0)).sum()),
        "classes": table["label"].value_counts().to_dict(),
        **numbers,
        "intervals": len(found),
        "nerve_s": seconds_of(found),
        "nerve_intervals": found.to_dict("records"),
    }
    write_table(folder / EDITED, table)
    write_table(folder / INTERVALS, found)
    write_json(folder / SUMMARY, summary)
    return summary


def _measured(table: DataFrame, nerve: np.ndarray, folder: Path) -> DataFrame:
    """Put in the measures of corrected outlines, of the frames that show nerve."""
    if not (folder / MEASURED).is_file():
        return table
    known = _measures(folder / MEASURED)
    rows = table.index[nerve & table["frame"].isin(known.index).to_numpy()]
    names = [str(name) for name in known if name in table]
    table[names] = table[names].astype(float)
    table.loc[rows, names] = known.loc[table.loc[rows, "frame"], names].to_numpy(float)
    table.loc[rows, "edited"] = True
    return table


def _measures(path: Path) -> DataFrame:
    """Return the measures of corrected outlines by their frame.

    Raises
    ------
    DataError
        If the table is damaged: a frame is missing or there twice, or words stand where numbers belong.
    """
    import pandas as pd

    try:
        known = pd.read_csv(path).set_index("frame").astype(float)
        if not known.index.is_unique or not np.isfinite(known.index.to_numpy(float)).all():
            raise ValueError("a frame has no number, or is there twice")
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"The measures of corrected outlines in {path} cannot be read: {one_line(error)}. Delete that file, then "
            "Apply again: it is made anew from the outlines."
        ) from error
    return known


def _others(frames: DataFrame, nerve_class: str, classes: Sequence[str]) -> np.ndarray:
    """Return the likeliest class of each frame besides nerve."""
    columns = p_columns(classes)
    kept = [k for k, name in enumerate(classes) if name.lower() != nerve_class.lower() and columns[k] in frames]
    if not kept:
        return np.full(len(frames), UNKNOWN, object)
    best = frames[[columns[k] for k in kept]].to_numpy(float).argmax(1)
    return np.asarray(np.array([classes[k] for k in kept], object)[best])


def _nerve_class(summary: dict[str, Any]) -> str:
    return str(summary["run"]["settings"]["nerve_class"])


def _classes(summary: dict[str, Any]) -> list[str]:
    classifier = summary["run"].get("classifier") or {}
    return [name for name in str(classifier.get("settings", {}).get("classes", "")).split(",") if name]


def _step(summary: dict[str, Any]) -> float:
    return float(1 / Fraction(summary["fps"]))
