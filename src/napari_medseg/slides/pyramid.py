"""Slide-sized arrays as OME-Zarr: written part by part in compressed chunks, coarser levels last."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import require
from napari_medseg.image import Image
from napari_medseg.io.exports import SMALLEST_LEVEL, ZARR_FORMAT, ome_attributes
from napari_medseg.io.files import disk_errors, replacing
from napari_medseg.slides.tiles import boxes

CHUNK, PIECE = 512, 2048


class Pyramid:
    """Array (Y, X) or (C, Y, X) on disk; parts that were never written are 0 and take no room.

    Parameters
    ----------
    path
        Folder to write; until `finish` it is called ``<path>.part``.
    shape, dtype
        Of the full resolution.
    fresh
        Start anew, or go on with the working folder of a stopped run.

    Raises
    ------
    WriteError
        If the disk refuses, here or when a part is written.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: type, *, fresh: bool = True) -> None:
        self.path, self.part = path, path.with_name(path.name + ".part")
        zarr = require("zarr", "slide", "Predicting a whole slide")
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if fresh:
                self._group = zarr.open_group(str(self.part), mode="w", zarr_format=ZARR_FORMAT)
                self._levels = [self._create(0, shape, np.dtype(dtype))]
            else:
                self._group = zarr.open_group(str(self.part), mode="r+")
                self._levels = [self._group["0"]]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the full resolution."""
        return tuple(self._levels[0].shape)

    @property
    def dtype(self) -> np.dtype:
        """Type of the values."""
        kind: np.dtype = self._levels[0].dtype
        return kind

    def __getitem__(self, box: tuple[slice, ...]) -> np.ndarray:
        """Read a part of (Y, X), all channels."""
        return np.asarray(self._levels[0][(..., *box)])

    def __setitem__(self, box: tuple[slice, ...], values: np.ndarray) -> None:
        """Write a part of (Y, X), all channels."""
        with disk_errors(self.path):
            self._levels[0][(..., *box)] = values

    def coarsen(self) -> np.ndarray:
        """Write levels of every second pixel down to 256 pixels; return the smallest of at least 1024, or the first."""
        with disk_errors(self.path):
            while max(self._levels[-1].shape[-2:]) > SMALLEST_LEVEL:
                self._levels.append(self._halved(self._levels[-1]))
        large = [level for level in self._levels if max(level.shape[-2:]) >= 2 * CHUNK]
        return np.asarray((large or self._levels)[-1 if large else 0][...])

    def finish(self, image: Image) -> None:
        """Describe the levels by the geometry of `image` and give the folder its name."""
        with disk_errors(self.path):
            self._group.attrs.update(ome_attributes(image, len(self._levels)))
            with replacing(self.path, durable=False) as place:
                os.replace(self.part, place)

    def _create(self, level: int, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        chunks = (*(1 for _ in shape[:-2]), *(min(n, CHUNK) for n in shape[-2:]))
        names = list("cyx")[-len(shape) :]
        return self._group.create_array(
            str(level), shape=shape, dtype=dtype, chunks=chunks, fill_value=0, dimension_names=names,
            overwrite=True,  # a level that a stopped run left behind
        )  # fmt: skip

    def _halved(self, fine: Any) -> Any:
        shape = (*fine.shape[:-2], *(-(-n // 2) for n in fine.shape[-2:]))
        coarse = self._create(len(self._levels), shape, self.dtype)
        for box in boxes(shape[-2:], PIECE):
            source = tuple(slice(2 * s.start, 2 * s.stop) for s in box)
            coarse[(..., *box)] = np.asarray(fine[(..., *source)])[..., ::2, ::2]
        return coarse
