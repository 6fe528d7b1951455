"""One series of a TIFF as it is read: numbers with axes, steps, place and what else the file states."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from napari_medseg.io.pictures import ON_ITS_SIDE, ORIENTATION, TURNED, TURNS, UPRIGHT, upright
from napari_medseg.io.tiff.ome import Place, Steps


@dataclass(frozen=True)
class Stack:
    """One series of a TIFF.

    Parameters
    ----------
    data
        Numbers, colours last.
    axes
        Letters of the axes as the file states them, ``C`` for colours.
    steps
        What is known of pixel sizes and time steps.
    name
        The name of the series, empty where it has none.
    channels
        Names of the channels.
    notes
        Sentences for the user.
    indices
        Where colours were made of the numbers (palette, opacity) and these may be labels: the numbers.
    value_unit
        Unit of the values, may be empty.
    line
        Offset and slope of the straight line by which the values were made of the file's numbers.
    white
        The highest number that the file states for its colours.
    place
        Where its first pixel lies, of axes that say so.
    turn
        The orientation tag by which it was turned upright.
    """

    data: np.ndarray
    axes: str
    steps: Steps
    name: str = ""
    channels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    indices: np.ndarray | None = field(default=None, repr=False)
    value_unit: str = ""
    line: tuple[float, float] = (0.0, 1.0)
    white: float | None = None
    place: Place = field(default_factory=dict)
    turn: int = UPRIGHT


def orientation_of(page: Any) -> int:
    """Return the orientation tag of a page, 1 (upright) where it states none."""
    found = page.tags[ORIENTATION].value if ORIENTATION in page.tags else UPRIGHT
    return int(found) if found in TURNS else UPRIGHT


def turn_of(file: Any, page: Any) -> int:
    """Return how a page of a file is to be turned; programs that write OME and ImageJ files mean none."""
    return UPRIGHT if file.is_ome or file.is_imagej else orientation_of(page)


def turned_steps(steps: Steps, orientation: int) -> Steps:
    """Return the steps of a picture as its orientation tag is shown."""
    if orientation not in ON_ITS_SIDE:
        return steps
    return {**steps, **{new: steps[old] for new, old in ("XY", "YX") if old in steps}}


def turned(stack: Stack, orientation: int) -> Stack:
    """Return a stack as its orientation tag is shown, with a note; steps go with their axes."""
    y = stack.axes.find("YX")
    if y < 0:
        return stack
    return replace(
        stack,
        data=upright(stack.data, orientation, y),
        steps=turned_steps(stack.steps, orientation),
        place={},
        turn=orientation,
        notes=(*stack.notes, TURNED),
        indices=None if stack.indices is None else upright(stack.indices, orientation, y),
    )
