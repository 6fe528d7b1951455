"""The table of a slide's objects, written tile by tile; the distances of neighbours come at the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from napari_medseg.image import Image
from napari_medseg.io.files import disk_errors, replacing
from napari_medseg.measure.nuclei import nearest_neighbours, table_of
from napari_medseg.slides.tiles import Box

ROWS = 50_000
CENTRES, NEIGHBOUR = slice(7, 9), 9  # columns of the table of nuclei


class ObjectTable:
    """Rows of `napari_medseg.measure.nuclei.table`, appended to a CSV.

    Parameters
    ----------
    path
        The working file.
    image
        The slide: pixel size and colours.
    size
        Bytes of an earlier run's file that are to be kept; 0 starts anew.

    Raises
    ------
    WriteError
        If the disk refuses, here or when rows are added.
    """

    def __init__(self, path: Path, image: Image, size: int = 0) -> None:
        self.path, self.image, self.size = path, image, size
        if size:
            with disk_errors(path), path.open("r+b") as file:
                file.truncate(size)
            return
        empty = image.replace(data=np.zeros((1, 1, image.n_channels), np.uint8))
        header = table_of(np.zeros((1, 1), int), empty.labels_like(np.zeros((1, 1), int)), empty)
        with disk_errors(path):
            path.write_text(header.to_csv(index=False, lineterminator="\n"), "utf-8", newline="")
        self.size = path.stat().st_size

    def add(self, labels: np.ndarray, first: int, block: Box, rgb: np.ndarray) -> None:
        """Measure the objects 1 .. N of a tile's labels (Y, X), which become first + 1 .. first + N on the slide."""
        if not labels.any():
            return
        tile = self.image.replace(data=rgb)
        frame = table_of(labels.astype(np.int64), tile.labels_like(labels), tile)
        frame["label"] += first
        for column, side, step in zip(frame.columns[CENTRES], block, self.image.scale, strict=True):
            frame[column] += side.start * step
        with disk_errors(self.path), self.path.open("a", encoding="utf-8", newline="") as file:
            frame.to_csv(file, index=False, header=False, lineterminator="\n")
        self.size = self.path.stat().st_size

    def finish(self, path: Path) -> int:
        """Add the distances of nearest neighbours, write the table to `path` and return its number of rows."""
        names = list(pd.read_csv(self.path, nrows=0).columns)
        centres = pd.read_csv(self.path, usecols=names[CENTRES])[names[CENTRES]].to_numpy(float)
        distances = nearest_neighbours(centres)
        with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
            pd.DataFrame(columns=names).to_csv(file, index=False, lineterminator="\n")
            start = 0
            for frame in pd.read_csv(self.path, dtype=str, keep_default_na=False, chunksize=ROWS):
                frame[names[NEIGHBOUR]] = distances[start : start + len(frame)]
                frame.to_csv(file, index=False, header=False, lineterminator="\n")
                start += len(frame)
        return len(centres)
