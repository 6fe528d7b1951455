"""Make the overlay, masks and measures of a movie anew after a person corrected intervals or outlines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io.locks import held_folder
from napari_medseg.io.movies.writer import SUFFIX, MovieWriter
from napari_medseg.io.write import write_table
from napari_medseg.jobs import Job, Progress
from napari_medseg.measure.video import area_of, contrast, shape_of
from napari_medseg.method import Model
from napari_medseg.video.edits import (
    EDITED,
    MEASURED,
    OVERLAY,
    frame_names,
    keep_outline,
    outline_path,
    read_mask,
    read_run,
    read_table,
    save_edits,
)
from napari_medseg.video.networks import Networks
from napari_medseg.video.output import overlay_writer, paint
from napari_medseg.video.settings import VideoSettings
from napari_medseg.video.source import Source


def apply_edits(
    movie: str | Path | Image,
    folder: Path,
    intervals: list[tuple[float, float]],
    segmenter: Model | None = None,
) -> Job[dict[str, Any]]:
    """Apply corrected intervals and outlines to the run in `folder`: table, masks and overlay; return its summary.

    Parameters
    ----------
    movie
        What the run was made of.
    folder
        Of the run; ``masks_edited`` holds the outlines that were corrected.
    intervals
        Start and stop in seconds.
    segmenter
        Outlines the frames that became nerve; without it they stay without a mask.

    Raises
    ------
    DataError
        If `folder` holds no run, or one of another movie.
    WriteError
        If it cannot be written.
    """
    with held_folder(folder, "video"):
        frames, summary = read_run(folder)
        settings = VideoSettings.parse(summary["run"]["settings"])
        source = Source(movie, settings)
        if list(source.size) != summary["size"] or len(source.numbers) < len(frames):
            raise DataError(f"{folder} holds the result of another movie. Open {summary['run']['source']} first.")
        save_edits(folder, intervals)
        edited = read_table(folder / EDITED)
        nerve = (edited["label"].str.lower() == settings.nerve_class.lower()).to_numpy()
        names = frame_names(frames)
        if segmenter is not None:
            new = edited["edited"].to_numpy() & nerve & (frames["mask_area_px"] == 0).to_numpy()
            missing = [k for k in np.flatnonzero(new).tolist() if not outline_path(folder, names[k]).is_file()]
            yield from _outline(source, segmenter, settings, folder, names, missing)
        measured = yield from _paint(source, settings, folder, names, nerve)
        if measured:
            write_table(folder / MEASURED, pd.DataFrame(measured))
        else:
            (folder / MEASURED).unlink(missing_ok=True)
        return save_edits(folder, intervals)


def _outline(
    source: Source, segmenter: Model, settings: VideoSettings, folder: Path, names: list[str], missing: list[int]
) -> Job[None]:
    """Outline the frames that became nerve."""
    networks = Networks(None, segmenter, settings)
    for count, item in enumerate(networks.run(_frames(source, missing), []), 1):
        if item.mask is not None:
            keep_outline(folder, names[item.position], networks.method.clean(item.mask))
        yield Progress(count, len(missing) + len(names), f"outlining frame {count} of {len(missing)}")


def _frames(source: Source, positions: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    for position in positions:
        yield next(source.frames(position))


def _paint(
    source: Source, settings: VideoSettings, folder: Path, names: list[str], nerve: np.ndarray
) -> Job[list[dict[str, Any]]]:
    """Write the overlay movie by the corrected masks; return the measures of those that differ from the run's."""
    rows: list[dict[str, Any]] = []
    path = folder / f"{OVERLAY}{SUFFIX.get(settings.movie, '')}"
    part = path.with_name(f"{OVERLAY}.part{path.suffix}")
    writer: MovieWriter | None = overlay_writer(part, source, settings.movie) if settings.movie != "none" else None
    start = source.time(source.numbers[0])
    try:
        for position, frame in source.frames(0):
            if position >= len(names):
                break
            own = outline_path(folder, names[position])
            mask = _mask(folder, names[position], own, source.size) if nerve[position] else np.zeros(source.size, bool)
            number = source.numbers[position]
            if nerve[position] and own.is_file():
                row = {"frame": number, **shape_of(mask)}
                row |= area_of(row["mask_area_px"], source.image)
                rows.append(row | (contrast(frame, mask, settings.ring_gap, settings.ring_width)))
            if writer is not None:
                writer.write(paint(frame, mask, settings), source.time(number) - start)
            yield Progress(position + 1, len(names), f"painting frame {position + 1} of {len(names)}")
    except BaseException:
        if writer is not None:
            writer.close()
        part.unlink(missing_ok=True)
        raise
    if writer is not None:
        writer.close()
        os.replace(part, path)
    return rows


def _mask(folder: Path, name: str, own: Path, size: tuple[int, int]) -> np.ndarray:
    path = own if own.is_file() else folder / "masks" / f"{name}.png"
    return read_mask(path) if path.is_file() else np.zeros(size, bool)
