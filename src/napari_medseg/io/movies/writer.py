"""Write movies through PyAV: lossless FFV1, H.264 or MPEG-4, with the frame rate and size that are given."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from napari_medseg.errors import DataError, MissingDependencyError, WriteError
from napari_medseg.io.movies.index import pyav

Codec = Literal["ffv1", "libx264", "mpeg4"]
SUFFIX: dict[str, str] = {"ffv1": ".mkv", "libx264": ".mp4", "mpeg4": ".mp4"}
PIXELS = {"ffv1": ("bgr0", "gray"), "libx264": ("yuv420p", "yuv420p"), "mpeg4": ("yuv420p", "yuv420p")}


class MovieWriter:
    """Encode frames one by one; closing makes a playable file of whatever was written.

    Parameters
    ----------
    path
        File to write; an existing one is replaced.
    fps
        Frames per second, kept exactly (a fraction such as 30000/1001).
    size
        Height and width in pixels.
    codec
        ``"ffv1"`` is lossless and takes any size; ``"libx264"`` and ``"mpeg4"`` need even sizes in most players, so
        odd sizes are kept by coding H.264 without chroma subsampling.
    options
        Encoder options, for example ``{"g": "12", "crf": "18"}``.

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
    ) -> None:
        self.path, self._size = Path(path), size
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
        try:
            self._container = av.open(str(self.path), "w")
            self._stream: Any = self._container.add_stream(codec, rate=rate, options=options or {})
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise WriteError(f"{self.path} cannot be written as a movie: {error}. Use .mkv, .mp4, .mov or .avi.") from (
                error
            )
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = pixels
        self._stream.codec_context.time_base = 1 / rate
        self._stream.codec_context.thread_count = min(os.cpu_count() or 1, 8)
        self.written = 0
        self._open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, frame: np.ndarray) -> None:
        """Append one frame: uint8 (Y, X, 3) RGB or (Y, X) gray.

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
        picture.pts = self.written
        self._mux(picture)
        self.written += 1

    def close(self) -> None:
        """Flush the encoder and finish the file."""
        if self._open:
            self._open = False
            try:
                if self.written:
                    self._mux(None)
            finally:
                self._container.close()
            if not self.written:
                self.path.unlink(missing_ok=True)

    def _mux(self, picture: Any) -> None:
        av = pyav()
        try:
            self._container.mux(self._stream.encode(picture))
        except (av.error.FFmpegError, OSError) as error:
            raise WriteError(f"{self.path} could not be written: {error}. Free disk space or choose codec ffv1.") from (
                error
            )
