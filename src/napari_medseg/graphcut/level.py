"""A problem seen in cells of several voxels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy import ndimage

from napari_medseg.graphcut.appearance import Appearance
from napari_medseg.graphcut.cut import Neighbourhood, mean_contrast
from napari_medseg.graphcut.problem import OVER, Array, Lazy, Problem, is_filled
from napari_medseg.graphcut.pyramid import Factors, block_any, block_mean

THIN = 2  # an axis of so few cells has no frame
CERTAIN = 1e4  # of strokes
SLAB = 2**22  # voxels that are made into cells at a time


class Level:
    """A problem seen in cells of `factors` voxels; with `texture` also how intensities vary within them.

    Attributes
    ----------
    image
        Mean intensities, float32 (C, *cells).
    object, background, held, closed, frame
        As in `Problem`, the frame being the cells presumed background, bool (*cells).
    share, mask
        How much of each cell is in the mask so far, float32 (*cells), and where that is most of it.
    steps
        Size of a cell along each axis, the smallest being 1.
    """

    def __init__(self, problem: Problem, factors: Factors, texture: bool = False) -> None:
        self.factors = factors
        shape, image = problem.shape, problem.image
        voxels = Lazy(shape, lambda box: image[(slice(None), *box)], tuple(slice(0, n) for n in shape))
        texture = texture and max(factors) > 1
        means = in_cells(voxels, factors, partial(_moments if texture else block_mean, factors=factors), np.float32)
        self.image = np.ascontiguousarray(means[: image.shape[0]])
        self._square = means[-1] if texture else None
        self.object, background = in_cells(problem.strokes, factors, partial(_signs, factors), bool)
        self.background = background & ~self.object
        self.share = in_cells(problem.mask, factors, partial(block_mean, factors=factors), np.float32)
        self.mask = self.share > 0.5
        sizes = np.multiply(factors, problem.steps)
        self.steps = tuple(float(s) for s in sizes / sizes.min())
        if problem.core is not None:
            self.object |= self._core(problem.core)
        self.held, self.closed = (
            in_cells(part, factors, partial(_most_of, factors), bool) if is_filled(part) else np.zeros(self.shape, bool)
            for part in (problem.held, problem.closed)
        )
        self.frame = self.framed(problem.frame)
        self._contrast: float | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells along each axis."""
        return self.image.shape[1:]

    def faces(self, sides: np.ndarray) -> np.ndarray:
        """Return the outer cells at the chosen sides, bool (ndim, 2); an axis of few cells has none."""
        out = np.zeros(self.shape, bool)
        for axis, end in np.argwhere(sides):
            if self.shape[axis] > THIN:
                out[(slice(None),) * axis + (-end,)] = True
        return out

    def framed(self, frame: np.ndarray | None) -> np.ndarray:
        """Return the outer cells that are presumed background, bool (*cells), by `Problem.frame`."""
        return np.zeros(self.shape, bool) if frame is None else self.faces(frame != OVER) & ~self.object

    def _core(self, share: float) -> np.ndarray:
        """Return the cells in the mask beyond a share of its largest depth, but for pieces with background strokes."""
        depth = ndimage.distance_transform_edt(np.pad(self.mask, 1), self.steps)[(slice(1, -1),) * self.mask.ndim]
        pieces, count = ndimage.label(depth > share * depth.max())
        kept = np.arange(count + 1) > 0
        kept[pieces[self.background]] = False
        return np.asarray(kept[pieces])

    def deviation(self) -> np.ndarray:
        """Return the deviation of intensities, of their mean over channels, within each cell, float32 (*cells)."""
        if self._square is None:
            return np.zeros(self.shape, np.float32)
        return np.asarray(np.sqrt(np.maximum(self._square - np.square(self.image.mean(0)), 0)))

    @property
    def near_object(self) -> np.ndarray:
        """Cells of which strokes or what is held say that they are the object's, bool (*cells)."""
        return np.asarray(self.object | (self.held & self.mask & ~self.background))

    @property
    def near_background(self) -> np.ndarray:
        """Cells of which strokes, the frame or what is held say that they are not, bool (*cells)."""
        return np.asarray(self.background | self.frame | (self.held & ~self.mask & ~self.object))

    def odds(self, appearance: Appearance, answer: np.ndarray | None) -> np.ndarray:
        """Return the odds by appearance, float32 (*cells), learnt from strokes, frame and an answer if there is one."""
        known = [self.object if self.object.any() else self.near_object], [self.background | self.frame]
        if answer is not None:
            known[0].append(answer)
            known[1].append(~(answer | self.closed))
        return appearance.odds(*known)

    def certain(self, unary: np.ndarray) -> np.ndarray:
        """Return how much each cell is for the object, float32 (*cells), with strokes certain."""
        out = unary.copy()
        out[self.object] += CERTAIN
        out[self.background] -= CERTAIN
        return out

    def neighbourhood(self, free: np.ndarray, labels: np.ndarray, border: float) -> Neighbourhood:
        """Return what neighbours cost; cells that are neither `free`, bool (*cells), nor strokes keep their labels."""
        free = (free & ~(self.held | self.closed)) | self.object | self.background
        if self._contrast is None:
            self._contrast = mean_contrast(self.image)
        return Neighbourhood(self.image, free, labels, steps=self.steps, weight=border, contrast=self._contrast)


def in_cells(array: Array, factors: Factors, reduce: Callable[[np.ndarray], np.ndarray], kind: type) -> np.ndarray:
    """Return what `reduce` makes of the blocks of an array (*spatial), (..., *cells) of a `kind` of number.

    Only what is filled is looked at, slab by slab along the first axis, whole cells at a time.
    """
    shape = array.shape
    if not isinstance(array, Lazy) and array.size <= SLAB:
        return reduce(array)
    filled = array.filled if isinstance(array, Lazy) else tuple(slice(0, n) for n in shape)
    filled = filled or (slice(0, 1),) * len(shape)  # one block of zeros, for how many values it becomes
    cells, out = tuple(-(-n // f) for n, f in zip(shape, factors, strict=True)), None
    first, *rest = (slice(s.start // f, -(-s.stop // f)) for s, f in zip(filled, factors, strict=True))
    area = int(np.prod([(s.stop - s.start) * f for s, f in zip(rest, factors[1:], strict=True)]))
    rows = max(1, SLAB // (area * factors[0]))
    for at in range(first.start, first.stop, rows):
        part = (slice(at, min(at + rows, first.stop)), *rest)
        box = tuple(slice(s.start * f, min(s.stop * f, n)) for s, f, n in zip(part, factors, shape, strict=True))
        found = reduce(array[box])
        if found.shape[-len(cells) :] == cells:
            return found
        if out is None:
            out = np.zeros((*found.shape[: -len(cells)], *cells), kind)
        place: Any = (..., *part)
        out[place] = found
    assert out is not None  # what is filled is not empty
    return out


def _moments(channels: np.ndarray, factors: Factors) -> np.ndarray:
    """Return the mean of each block in each channel, and at last of the squared mean of all channels."""
    square = np.square(channels.mean(0, keepdims=True))
    return np.concatenate([block_mean(channels, factors), block_mean(square, factors)])


def _signs(factors: Factors, strokes: np.ndarray) -> np.ndarray:
    """Return which blocks hold a stroke of the object and which one of the background, bool (2, *cells)."""
    return block_any(np.stack([strokes > 0, strokes < 0]), factors)


def _most_of(factors: Factors, part: np.ndarray) -> np.ndarray:
    return np.asarray(block_mean(part, factors) > 0.5)
