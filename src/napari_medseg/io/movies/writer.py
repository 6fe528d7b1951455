"""Write movies through PyAV: lossless FFV1, H.264 or MPEG-4, with the frame rate and size that are given."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from napari_medseg.errors import DataError, MissingDependencyError, WriteError
from napari_medseg.io.files import replacing
from napari_medseg.io.movies.index import pyav

Codec = Literal["ffv1", "libx264", "mpeg4"]
SUFFIX: dict[str, str] = {"ffv1": ".mkv", "libx264": ".mp4", "mpeg4": ".mp4"}
PIXELS = {"ffv1": ("bgr0", "gray"), "libx264": ("yuv420p", "yuv420p"), "mpeg4": ("yuv420p", "yuv420p")}
HD_ROWS = 720  # from here on players take colours without a tag for BT.709, below for BT.601
COLOURS = {True: ("ITU709", 1), False: ("ITU601", 6)}  # matrix, and its number in H.273: kept in the file
MILLISECOND = Fraction(1, 1000)


class MovieWriter:
    """Encode frames one by one; closing makes a playable file of whatever was written.

    Parameters
    ----------
    path
        File to write; an existing one is replaced when the movie is closed and whole.
    fps
        Frames per second, kept exactly (a fraction such as 30000/1001).
    size
        Height and width in pixels.
    codec
        ``"ffv1"`` is lossless and takes any size; ``"libx264"`` and ``"mpeg4"`` need even sizes in most players, so
        odd sizes are kept by coding H.264 without chroma subsampling.
    options
        Encoder options, for example ``{"g": "12", "crf": "18"}``.
    aspect
        Width of a pixel divided by its height; players stretch the picture by it. With ``"ffv1"``, whose container has
        no place for it here, the picture itself is stretched.
    timed
        `write` is given the time of every frame, in whole milliseconds; else they are evenly spaced.

    Raises
    ------
    WriteError
        If the folder does not exist or cannot be written.
    MissingDependencyError
        If PyAV, or the codec in it, is missing.
    """

    def __init__(
        self,
        path: str | Path,
        fps: Fraction | float,
        size: tuple[int, int],
        codec: Codec = "ffv1",
        gray: bool = False,
        options: dict[str, str] | None = None,
        *,
        aspect: Fraction = Fraction(1),
        timed: bool = False,
    ) -> None:
        self.path, self._size, self._timed, self._last = Path(path), size, timed, -1
        self._gray = gray and codec == "ffv1"
        av = pyav()
        if codec not in av.codecs_available:
            raise MissingDependencyError(
                f"This PyAV has no encoder {codec!r}. Choose the codec ffv1, or install a PyAV built with it: "
                'pip install --upgrade "av>=12"  (or: conda install -c conda-forge av)'
            )
        if not self.path.parent.is_dir():
            raise WriteError(f"The folder {self.path.parent} does not exist. Create it first.")
        pixels = PIXELS[codec][self._gray]
        if codec == "libx264" and (size[0] % 2 or size[1] % 2):
            pixels = "yuv444p"
        rate = Fraction(fps).limit_denominator(1_000_000)
        self._place = replacing(self.path)
        self._part = self._place.__enter__()
        try:
            self._container = av.open(str(self._part), "w")
            self._stream: Any = self._container.add_stream(codec, rate=rate, options=options or {})
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._discard(error)
            raise WriteError(f"{self.path} cannot be written as a movie: {error}. Use .mkv, .mp4, .mov or .avi.") from (
                error
            )
        self._width = round(size[1] * aspect) if codec == "ffv1" else size[1]
        self._stream.height, self._stream.width = size[0], self._width
        self._stream.pix_fmt = pixels
        self._pixels = pixels
        context = self._stream.codec_context
        self._colours, number = COLOURS[size[0] >= HD_ROWS]
        if pixels.startswith("yuv"):
            context.colorspace = context.color_primaries = context.color_trc = number
            context.color_range = 1  # of television: 16 to 235
        if aspect != 1 and codec != "ffv1":
            context.sample_aspect_ratio = aspect
        context.time_base = MILLISECOND if timed else 1 / rate
        self._stream.codec_context.thread_count = min(os.cpu_count() or 1, 8)
        self.written = 0
        self._open, self._failed = True, False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, frame: np.ndarray, seconds: float = 0.0) -> None:
        """Append one frame: uint8 (Y, X, 3) RGB or (Y, X) gray; `seconds`: its time, if the movie is timed.

        Raises
        ------
        DataError
            If its size differs from the movie's.
        WriteError
            If encoding or writing fails.
        """
        if frame.shape[:2] != self._size or frame.dtype != np.uint8:
            raise DataError(
                f"Frame {self.written} is {frame.shape} {frame.dtype}; the movie takes uint8 frames of {self._size}."
            )
        av = pyav()
        if frame.ndim == 2 and not self._gray:
            frame = np.repeat(frame[..., None], 3, 2)
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="gray" if self._gray else "rgb24")
        if self._pixels.startswith("yuv"):
            picture = picture.reformat(format=self._pixels, dst_colorspace=self._colours)
        if self._width != self._size[1]:
            picture = picture.reformat(width=self._width)
        self._last = max(round(seconds * 1000), self._last + 1) if self._timed else self.written
        picture.pts = self._last
        self._mux(picture)
        self.written += 1

    def close(self) -> None:
        """Flush the encoder and give the file its name, if any frame was written and none is missing.

        Raises
        ------
        WriteError
            If the disk refuses; an older file stays. Not again after `write` has said so.
        """
        if not self._open:
            return
        self._open = False
        try:
            with self._refusals():
                if self.written and not self._failed:
                    self._container.mux(self._stream.encode(None))
                self._container.close()
                if self.written and not self._failed:
                    self._check()
        except WriteError as error:
            self._discard(error)
            if not self._failed:
                raise
        else:
            if self.written and not self._failed:
                self._place.__exit__(None, None, None)
            else:
                self._discard(WriteError(f"{self.path} has no frame."))

    def _mux(self, picture: Any) -> None:
        try:
            with self._refusals():
                self._container.mux(self._stream.encode(picture))
        except WriteError:
            self._failed = True
            raise

    def _check(self) -> None:
        """Refuse a file that does not hold every frame."""
        with pyav().open(str(self._part)) as file:
            found = sum(1 for packet in file.demux(video=0) if packet.size)
        if found != self.written:
            raise WriteError(f"{self.path} could not be written: {found} of {self.written} frames are in it.")

    def _discard(self, reason: Exception) -> None:
        """Remove what was written."""
        with suppress(WriteError):
            self._place.__exit__(type(reason), reason, None)

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except (pyav().error.FFmpegError, OSError) as error:
            raise WriteError(
                f"{self.path} could not be written: {error.strerror or error}. Free disk space or choose another codec."
            ) from error
