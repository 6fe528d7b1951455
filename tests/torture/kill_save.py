"""Refine and save a session over and over: ``python kill_save.py FOLDER``; "saved" is printed after each save."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from napari_medseg.image import Image
from napari_medseg.jobs import run
from napari_medseg.refinement import RefinementSession, RefinementSettings


def halves() -> Image:
    data = np.full((48, 64), 100, np.int16)
    data[:, 32:] = 900
    return Image(data, "YX", name="halves")


def scribble(k: int) -> np.ndarray:
    """Return the strokes of round `k`: one more row each time."""
    marks = np.zeros((48, 64), np.uint8)
    rows = np.arange(k % 40 + 1) + 2
    marks[rows, 3], marks[rows, 60] = 1, 2
    return marks


def main() -> None:
    session = RefinementSession(halves(), settings=RefinementSettings(crf=False))
    for k in range(100_000):
        run(session.refine(scribble(k)))
        session.save(Path(sys.argv[1]))
        print("saved", k, flush=True)


if __name__ == "__main__":
    main()
