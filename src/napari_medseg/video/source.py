"""The frames to process, in order, as 8-bit pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from napari_medseg.errors import DataError
from napari_medseg.image import WHITE, Image
from napari_medseg.io.movies.index import as_rate
from napari_medseg.io.movies.reader import frame_reader, read_movie
from napari_medseg.preprocessing.stains import white_level
from napari_medseg.video.settings import VideoSettings

SAMPLED = 16  # frames that are looked at for the value of white


class Source:
    """A movie and which of its frames to take.

    Raises
    ------
    DataError
        If the image has no time axis or no frames.
    """

    def __init__(self, movie: str | Path | Image, settings: VideoSettings) -> None:
        image = movie if isinstance(movie, Image) else read_movie(movie)
        if image.axes not in ("TYX", "TYXC") or not image.data.shape[0]:
            raise DataError(
                f"{image.name or 'The movie'} has the axes {image.axes} and shape {image.data.shape}; expected frames "
                "over time, TYX or TYXC. Give a movie, a TIFF with a time axis or a folder of frames."
            )
        self.image, self.path = image, str(image.metadata.get("source_file", image.name))
        video = image.metadata.get("video", {})
        known = Fraction(video["fps"]) if video.get("fps") else None
        timed = image.units[0] == "second"
        self.assumed = known is None and not timed
        self.fps = known or as_rate(1 / image.scale[0] if timed else settings.fps)
        self._times, self._files = video.get("times"), video.get("files")
        count, self.step = image.data.shape[0], settings.every
        if settings.every_ms:
            self.step = max(round(settings.every_ms / 1000 * float(self.fps)), 1)
        self.numbers: Sequence[int] = range(0, count, self.step)
        self.output_fps = self.fps / self.step
        if settings.every_ms and self._times:
            self.step = 0
            self.numbers = _by_the_clock(self._times, settings.every_ms / 1000)
            self.output_fps = as_rate(1000 / settings.every_ms)
        self.size = (int(image.data.shape[1]), int(image.data.shape[2]))
        self.missing = int(video.get("missing_frames", 0))
        self._read = frame_reader(image)
        self.pixel_aspect = Fraction(video.get("pixel_aspect", 1))
        self._peak = self._white(np.dtype(image.data.dtype))

    def _white(self, dtype: np.dtype) -> float:
        """Return the value of white: of frames wider than 8 bits what the file states, else by what some hold."""
        if dtype == np.uint8 or dtype.kind not in "uif":
            return 255.0
        if stated := self.image.metadata.get(WHITE):
            return float(stated)
        some = np.unique(np.linspace(0, self.image.data.shape[0] - 1, SAMPLED).astype(int))
        return white_level(np.stack([np.asarray(self._read(int(k))) for k in some]))

    @property
    def white(self) -> float:
        """Value of the frames that becomes 255."""
        return self._peak

    @property
    def variable(self) -> bool:
        """Whether the frames have times of their own, unevenly spaced."""
        return bool(self._times)

    @property
    def named(self) -> bool:
        """Whether the frames are files with names of their own."""
        return bool(self._files)

    def time(self, number: int) -> float:
        """Return the time of frame `number` in seconds."""
        return float(self._times[number]) if self._times else number / float(self.fps)

    def name(self, number: int) -> str:
        """Return the name of a frame: its file's, or ``frame_000012``."""
        return Path(self._files[number]).stem if self._files else f"frame_{number:06d}"

    def frames(self, start: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield position (among the frames taken) and frame (Y, X, C) uint8, from position `start` on."""
        for position in range(start, len(self.numbers)):
            frame = self._read(self.numbers[position])
            yield position, self._eight_bit(frame if frame.ndim == 3 else frame[..., None])

    def _eight_bit(self, frame: np.ndarray) -> np.ndarray:
        if frame.dtype == np.uint8:
            return frame[..., :3]
        return np.clip(np.rint(frame[..., :3] * (255 / self._peak)), 0, 255).astype(np.uint8)


def _by_the_clock(times: Sequence[float], step: float) -> list[int]:
    """Return the first frame of each stretch of `step` seconds in which there is one; `times` in seconds."""
    slots = np.floor((np.asarray(times, float) - times[0]) / step + 1e-6)
    return [int(k) for k in np.unique(slots, return_index=True)[1]]
