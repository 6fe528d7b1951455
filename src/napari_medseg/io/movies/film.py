"""A movie as an image: frames that are read when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import MedSegError, ReadError, one_line
from napari_medseg.image import PIXEL, Image, Kind


class Frames:
    """An array (T, ...) that reads frame `k` by ``frame(k)`` and holds none itself.

    Indexing gives numpy arrays. A chunk per frame in a general lazy array would cost time with the number of frames.

    Parameters
    ----------
    frame
        From frame number to frame, of ``shape[1:]``.
    shape, dtype
        Of the whole.
    """

    def __init__(self, frame: Callable[[int], np.ndarray], shape: tuple[int, ...], dtype: Any) -> None:
        self._frame, self.shape, self.dtype = frame, tuple(int(n) for n in shape), np.dtype(dtype)
        self.ndim, self.size = len(self.shape), math.prod(self.shape)
        self.nbytes = self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.read, range(len(self)))

    def __repr__(self) -> str:
        return f"Frames(shape={self.shape}, dtype={self.dtype})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype)

    def read(self, k: int) -> np.ndarray:
        """Return frame `k`, or raise `ReadError`: damage in the middle of a file shows only now."""
        try:
            frame = self._frame(k)
        except MedSegError:
            raise
        except Exception as error:  # each library has its own errors for damaged files
            raise ReadError(f"Frame {k} is damaged: {one_line(error)}. Copy the file again.") from error
        if frame.shape != self.shape[1:]:
            raise ReadError(f"Frame {k} is {frame.shape}, not {self.shape[1:]}: the file is damaged. Copy it again.")
        return frame

    def mapped(self, change: Callable[[int, np.ndarray], np.ndarray], dtype: Any, count: int | None = None) -> Frames:
        """Return the first `count` frames (all) as ``change(k, frame)``, of the same size and of `dtype`."""
        shape = (len(self) if count is None else count, *self.shape[1:])
        return Frames(lambda k: np.asarray(change(k, self.read(k)), dtype), shape, dtype)

    def __getitem__(self, key: Any) -> np.ndarray:
        first, *rest = self._complete(key)
        within = tuple(rest)
        if isinstance(first, int | np.integer):
            return np.asarray(self.read(range(len(self))[first])[within])
        numbers = range(len(self))[first] if isinstance(first, slice) else np.arange(len(self))[first]
        if not len(numbers):
            return np.empty((0, *self.shape[1:]), self.dtype)[(slice(None), *within)]
        return np.stack([self.read(int(k))[within] for k in numbers])

    def _complete(self, key: Any) -> tuple[Any, ...]:
        """Return an index for every axis, ``...`` spelled out."""
        keys = key if isinstance(key, tuple) else (key,)
        if len(keys) > self.ndim + any(one is Ellipsis for one in keys):
            raise IndexError(f"{len(keys)} indices for {self.ndim} axes")
        at = next((k for k, one in enumerate(keys) if one is Ellipsis), None)
        if at is None:
            return keys
        return (*keys[:at], *(slice(None),) * (self.ndim - len(keys) + 1), *keys[at + 1 :])


def film_image(
    data: Any, path: Path, step: float | None, video: dict[str, Any], kind: Kind = "image", channels: str = ""
) -> Image:
    """Return a movie (T, Y, X), in colour (T, Y, X, C), or with `channels` (T, C, Y, X)."""
    colour = data.ndim == 4 and not channels
    units = ("second" if step else PIXEL, PIXEL, PIXEL)
    return Image(
        data,
        "TYXC" if colour else f"T{channels}YX",
        (step or 1.0, 1.0, 1.0),
        units,
        kind=kind,
        name=path.stem,
        channels=("red", "green", "blue")[: data.shape[-1]] if colour else (),
        metadata={"source_file": str(path), "video": video},
    )
