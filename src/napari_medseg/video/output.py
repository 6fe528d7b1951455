"""Files of a run: masks, overlays, frames.csv, summary.json; all valid whenever the run stops."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_medseg.errors import DataError, ReadError, WriteError
from napari_medseg.io.files import disk_errors, read_json, write_bytes, write_text
from napari_medseg.io.identity import is_same
from napari_medseg.io.movies.writer import SUFFIX, Codec, MovieWriter
from napari_medseg.io.write import AS_WRITTEN
from napari_medseg.measure.video import intervals, summarise
from napari_medseg.video.edits import (
    OF_MASKS,
    SUMMARY,
    TABLE,
    WORDS,
    has_edits,
    png,
    read_mask,
    refresh_edits,
    remove_edits,
)
from napari_medseg.video.settings import COLOURS, VideoSettings
from napari_medseg.video.source import Source

CODEC_OPTIONS = {
    "ffv1": {"g": "1", "slices": "12", "slicecrc": "1"},
    "libx264": {"preset": "veryfast", "crf": "18"},
    "mpeg4": {"qscale": "2"},
}


def paint(frame: np.ndarray, mask: np.ndarray, settings: VideoSettings) -> np.ndarray:
    """Return where(mask, (1 - a) frame + a colour, frame) as (Y, X, 3) uint8; outside the mask nothing changes.

    Parameters
    ----------
    frame
        Frame (Y, X, 1 or 3) uint8.
    mask
        Nerve (Y, X).
    settings
        Colour, opacity a and style; a contour is the mask's border, 1 to 3 pixels wide, in full colour.
    """
    out = np.repeat(frame, 3, 2) if frame.shape[2] == 1 else frame.copy(order="C")
    alpha = settings.alpha
    if settings.style == "contour" and mask.any():
        from scipy import ndimage

        width = 1 + min(mask.shape) // 400
        mask, alpha = mask & ~ndimage.binary_erosion(mask, iterations=min(width, 3), border_value=1), 1.0
    colour = np.array(COLOURS[settings.colour], np.float32)
    lookup = np.rint((1 - alpha) * np.arange(256, dtype=np.float32) + alpha * colour[:, None]).astype(np.uint8)
    pixels, inside = out.reshape(-1, 3), np.flatnonzero(mask)
    before = pixels[inside].T
    pixels[inside] = np.stack([table.take(values) for table, values in zip(lookup, before, strict=True)], 1)
    return out


def overlay_writer(path: Path, source: Source, codec: Codec) -> MovieWriter:
    """Begin the overlay movie of a source."""
    options = CODEC_OPTIONS[codec]
    return MovieWriter(
        path, source.output_fps, source.size, codec, options=options,
        aspect=source.pixel_aspect, timed=source.variable,
    )  # fmt: skip


class Output:
    """The folder of a run.

    Parameters
    ----------
    folder
        Created if it does not exist.
    source, settings
        What is processed and how.
    columns
        Of frames.csv.
    identity
        What must be equal for a run to be resumed.

    Raises
    ------
    DataError
        If the folder holds a run of something else and `settings.resume` is on.
    WriteError
        If the folder cannot be written.
    """

    def __init__(
        self, folder: Path, source: Source, settings: VideoSettings, columns: Sequence[str], identity: dict[str, Any]
    ) -> None:
        self.folder, self._source, self._settings, self._columns = folder, source, settings, list(columns)
        self._identity = identity
        try:
            for part in [folder] + [folder / n for n, on in self._parts() if on]:
                part.mkdir(parents=True, exist_ok=True)
            self.done = self._done_rows()
            self._start_table()
            self._file = (folder / TABLE).open("a", newline="", encoding="utf-8")
        except OSError as error:
            raise WriteError(f"{folder} cannot be written: {error}. Choose a folder you may write to.") from error
        self._csv = csv.DictWriter(self._file, self._columns)
        self.resumed, self.added = len(self.done), 0
        self._movie: MovieWriter | None = None
        self.movie_path: Path | None = None
        if settings.movie != "none":
            self.movie_path = folder / f"overlay{SUFFIX[settings.movie]}"
            self._movie = overlay_writer(self.movie_path, source, settings.movie)

    def mask_path(self, position: int) -> Path:
        """Return the file of the mask of the frame at `position`."""
        return self.folder / "masks" / f"{self._source.name(self._source.numbers[position])}.png"

    def done_mask(self, position: int) -> np.ndarray:
        """Read the mask (Y, X) of a frame that an earlier run finished."""
        return read_mask(self.mask_path(position))

    def write_pictures(self, position: int, mask: np.ndarray, overlay: np.ndarray | None) -> None:
        """Write mask and overlay pictures as far as they are wanted (from any thread)."""
        if self._settings.masks:
            write_bytes(self.mask_path(position), png(mask.astype(np.uint8) * np.uint8(255)), durable=False)
        if self._settings.pictures and overlay is not None:
            name = self.mask_path(position).name
            write_bytes(self.folder / "overlays" / name, png(overlay), durable=False)

    def add(self, position: int, row: Mapping[str, Any] | None, overlay: np.ndarray | None) -> None:
        """Append the frame at `position` to the movie and, unless an earlier run did, to the table."""
        if self._movie is not None and overlay is not None:
            numbers = self._source.numbers
            self._movie.write(overlay, self._source.time(numbers[position]) - self._source.time(numbers[0]))
        if row is not None:
            with disk_errors(self.folder / TABLE):
                self._csv.writerow({name: _text(row.get(name)) for name in self._columns})
                self._file.flush()
            self.added += 1

    def close(self, finished: bool, **facts: Any) -> dict[str, Any]:
        """Finish the files and write summary.json, also after a stop or an error; return the summary."""
        with suppress(OSError):  # what a full disk did not take was refused when it was added
            self._file.close()
        try:
            if self._movie is not None:
                self._movie.close()
        finally:
            summary = self._summary(finished, facts)
            write_text(self.folder / SUMMARY, json.dumps(summary, indent=2, allow_nan=False))
        return refresh_edits(self.folder) or summary

    def _parts(self) -> list[tuple[str, bool]]:
        return [("masks", self._settings.masks), ("overlays", self._settings.pictures)]

    def _done_rows(self) -> list[dict[str, Any]]:
        """Return the rows of an earlier run of the same thing whose masks are there too."""
        table, summary = self.folder / TABLE, self.folder / SUMMARY
        if not self._settings.resume or not table.is_file() or not summary.is_file():
            if self._settings.resume and has_edits(self.folder):
                raise DataError(
                    f"{self.folder} holds intervals that a person corrected, but its {TABLE} or {SUMMARY} is gone. "
                    "Choose another folder, or start anew with --no-resume (overwrites)."
                )
            remove_edits(self.folder)
            self._mark()
            return []
        try:
            before = read_json(summary)["run"]
        except (ReadError, TypeError, KeyError):
            before = None
        if not self._is_mine(before):
            raise DataError(
                f"{self.folder} holds a run of another movie, other models or settings. Choose another folder, or "
                "start anew with --no-resume (overwrites)."
            )
        with table.open(newline="", encoding="utf-8") as file:
            lines = [row for row in csv.DictReader(file) if None not in row and None not in row.values()]
        if self.movie_wanted and not self._settings.masks:
            return []
        rows: list[dict[str, Any]] = []
        for position, line in enumerate(lines):
            expected = position < len(self._source.numbers) and line["frame"] == str(self._source.numbers[position])
            if (
                not expected
                or not _holds_numbers(line)
                or (self._settings.masks and not _is_whole(self.mask_path(position)))
            ):
                break
            rows.append(line)
        return rows

    def _is_mine(self, before: Any) -> bool:
        """Whether a run was of the same movie, models and settings; files count by their content, not by their time."""
        if not isinstance(before, dict):
            return False
        was, now = before.get("content"), self._identity.get("content")
        if {**before, "content": now} != self._identity:
            return False
        return was == now or (isinstance(was, dict) and is_same(was, [Path(self._source.path)]))

    @property
    def movie_wanted(self) -> bool:
        """Whether an overlay movie is written."""
        return self._settings.movie != "none"

    def _mark(self) -> None:
        """Write who this run is before its first frame, so that a killed run can be resumed."""
        write_text(self.folder / SUMMARY, json.dumps({"run": self._identity, "finished": False}, indent=2))

    def _start_table(self) -> None:
        """Write header and the rows of the earlier run, leaving out what it wrote in half."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        writer.writerows(self.done)
        write_text(self.folder / TABLE, text.getvalue())

    def _summary(self, finished: bool, facts: dict[str, Any]) -> dict[str, Any]:
        """Return the content of ``summary.json``, from the table as it was written."""
        frame = pd.read_csv(self.folder / TABLE, **AS_WRITTEN)
        step = float(1 / self._source.output_fps)
        times, nerve = frame["time_s"].to_numpy(float), frame["mask_area_px"].to_numpy(float) > 0
        return {
            "run": self._identity,
            "finished": finished,
            "frames_total": len(self._source.numbers),
            "fps": str(self._source.output_fps),
            "size": list(self._source.size),
            "missing_frames_in_source": self._source.missing,
            "ring_px": {"gap": self._settings.ring_gap, "width": self._settings.ring_width},
            "classes": frame["label"].value_counts().to_dict(),
            **{name: _plain(value) for name, value in summarise(frame, step).items()},
            "nerve_intervals": intervals(nerve, step, times).to_dict("records"),
            **facts,
        }


def _holds_numbers(line: Mapping[str, str]) -> bool:
    """Whether every cell of a row but its words is a number; where there is no mask some are empty."""
    cells = [cell for name, cell in line.items() if name not in WORDS and (cell or name not in OF_MASKS)]
    try:
        return all(map(math.isfinite, map(float, cells)))
    except ValueError:
        return False


def _is_whole(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _text(value: Any) -> Any:
    """Return floats with the nine digits that give a float32 back; NaN becomes an empty cell."""
    if isinstance(value, float | np.floating):
        return "" if math.isnan(value) else f"{float(value):.9g}"
    return value


def _plain(value: float) -> float | None:
    return None if isinstance(value, float) and math.isnan(value) else value
