"""What is known of an object in a box of an image, and what is found of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np

INSIDE, EDGE, OVER = 0, 1, 2  # what lies beyond a side of a box
OWN = "numba"  # the engine of distances whose maps are kept
Box = tuple[slice, ...]


@dataclass(frozen=True)
class Lazy:
    """An array whose boxes are made when they are asked for, so that a large region is never there as a whole."""

    shape: tuple[int, ...]
    make: Callable[[Box], np.ndarray]
    filled: Box | None  # outside of which it holds zeros; ``None``: it holds nothing else

    def __getitem__(self, box: Any) -> np.ndarray:
        return self.make(box)


Array = np.ndarray | Lazy


def is_filled(array: Array | None) -> TypeGuard[Array]:
    """Whether an array is there and may hold anything."""
    return array is not None and not (isinstance(array, Lazy) and array.filled is None)


@dataclass(frozen=True)
class Push:
    """New strokes, bool (*spatial), for the object or against it, and about how many voxels they should change."""

    seeds: Array
    to_object: bool
    count: float


@dataclass(frozen=True)
class Problem:
    """What is known of an object in a box of an image; arrays may be `Lazy` for `Search`, not for `minimise`.

    Parameters
    ----------
    image
        Intensities float32 (C, *spatial) in [0, 1].
    steps
        Size of a voxel along each axis, in any unit.
    strokes
        Int8 (*spatial): 1 object, -1 background, 0 neither.
    mask
        The object so far, bool (*spatial).
    held
        Voxels that stay what they are in `mask`, and count as near their class as strokes; ``None``: none.
    closed
        Voxels that are never the object's, nor tell how the background looks; ``None``: none.
    frame
        What lies beyond the box, for both ends of each axis, (ndim, 2): `INSIDE` the image goes on, `EDGE` it ends,
        `OVER` the object goes on. But for `OVER` the outer cells are presumed background, where the image does not
        speak against it.
    pushes
        What new strokes reach.
    core
        Share of the mask's largest depth; what lies deeper counts as strokes of the object. ``None``: nothing does.
    most
        About how many voxels the object has at most, where that is known: `log(b_p / f_p)` is lowered until no more
        of them are nearer to the object's strokes.
    weight, metric, engine
        As for `geodesic_distance`.
    """

    image: Array
    steps: tuple[float, ...]
    strokes: Array
    mask: Array
    held: Array | None = None
    closed: Array | None = None
    frame: np.ndarray | None = None
    pushes: Sequence[Push] = field(default_factory=tuple)
    core: float | None = None
    most: float = np.inf
    weight: float = 0.998
    metric: str = "linear"
    engine: str = OWN

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the box."""
        return self.mask.shape

    def part(self, box: Box) -> Problem:
        """Return what is known of the object in a smaller box, without its frame, pushes and core."""
        held, closed = (array[box] if is_filled(array) else None for array in (self.held, self.closed))
        return Problem(self.image[(slice(None), *box)], self.steps, self.strokes[box], self.mask[box], held, closed)


@dataclass(frozen=True)
class Answer:
    """A minimum, in a box outside of which the object is what is held of the mask.

    Parameters
    ----------
    box
        The box.
    labels
        The object, bool (*box).
    doubt
        How undecided each voxel along its border is, float32 (*box) in [0, 1].
    """

    box: Box
    labels: np.ndarray
    doubt: np.ndarray
