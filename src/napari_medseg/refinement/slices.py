"""From slice to slice, or frame to frame: fill the gaps of an object, and carry it on where it was not drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy import ndimage

from napari_medseg.errors import DataError
from napari_medseg.graphcut.appearance import Appearance
from napari_medseg.graphcut.energy import Energy, minimise
from napari_medseg.graphcut.problem import EDGE, Problem
from napari_medseg.image import Image
from napari_medseg.refinement.boxes import box_of, widened
from napari_medseg.refinement.intensities import Intensities

# found on the fit half of `benchmarks scribbles`; scripts/fit_refinement.py varies them
CARRY = Energy(
    distance=1.0,
    most_distance=2.0,
    fine=0.6,
    smooth=0.7,
    memory=1.5,
    push=0.0,
    least_push=0.0,
    most_push=0.0,
    border=3.0,
)
CORE = 0.7  # share of its largest depth from which an object's inside is taken over as certain
DOUBTED = 0.5  # likeness to the slice before below which not even that is certain
AROUND = 0.35  # of an object's size that it may move or grow from one slice to the next
LEAST_AROUND = 8  # the same in voxels
LOST = 0.5  # confidence below which carrying on ends by default
KIN = 0.3  # likeness to the slice it began on below which it is something else: small changes add up


def fill_between(labels: np.ndarray, label: int, axis: int = 0) -> np.ndarray:
    """Return a copy of `labels` in which the object `label` also has the slices between those it was drawn on.

    Between two slices its border moves evenly (signed distances are interpolated; Raya and Udupa 1990,
    doi:10.1109/42.52980). Only voxels of value 0 are filled: other labels are spared.

    Parameters
    ----------
    labels
        Label map, integer (*spatial), 3D.
    label
        The object.
    axis
        Axis along which slices follow.

    Raises
    ------
    DataError
        If `labels` is not a volume, or the object is on fewer than two slices.
    """
    if labels.ndim != 3:
        raise DataError(
            f"Filling between slices needs a volume; the labels have shape {labels.shape}. Give a 3D layer."
        )
    moved = np.moveaxis(labels, axis, 0)
    drawn = np.flatnonzero((moved == label).any((1, 2)))
    if drawn.size < 2:
        raise DataError(
            f"Label {label} is on {drawn.size} slice{'s' * (drawn.size != 1)}; two are needed to fill between them. "
            "Draw it on one more."
        )
    out = moved.copy()
    for low, high in pairwise(drawn):
        if high == low + 1:
            continue
        depths = [_signed_depth(moved[n] == label) for n in (low, high)]
        for n in range(low + 1, high):
            share = (n - low) / (high - low)
            inside = (1 - share) * depths[0] + share * depths[1] > 0
            out[n][inside & (moved[n] == 0)] = label
    return np.moveaxis(out, 0, axis)


def _signed_depth(mask: np.ndarray) -> np.ndarray:
    """Return the distance to the border, positive inside."""
    return np.asarray(ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask))


@dataclass(frozen=True)
class Carried:
    """An object on one more slice.

    Parameters
    ----------
    index
        The slice.
    mask
        The object there, bool (*plane).
    confidence
        How far mask and looks are those of the slice before, 0 to 1: overlap (Dice) times likeness of intensities.
    """

    index: int
    mask: np.ndarray
    confidence: float


def propagate(
    image: Image, mask: np.ndarray, start: int, stop: int, *, taken: np.ndarray | None = None, least: float = LOST
) -> Iterator[Carried]:
    """Carry an object from slice `start` on to `stop`, a slice (or frame) at a time.

    The mask of a slice is where the next one begins: what lies deep inside counts as painted, what lies far outside as
    background, and between the two the energy decides by the next slice's own borders and by how object and
    surroundings looked. It ends where the confidence falls below `least`, where it looks like something else than on
    slice `start`, or where nothing is left. Between two slices the caller may stop, or correct and start again from
    the corrected slice.

    Parameters
    ----------
    image
        Volume (ZYX), or a stack of frames given as one.
    mask
        The object on slice `start`, bool (*plane).
    start, stop
        First slice, which is given, and the last one to do; `stop` may lie before `start`.
    taken
        Voxels of other objects, bool (*spatial), which are never taken over.
    least
        Confidence at which to end.

    Raises
    ------
    DataError
        If the image is no volume, the mask is empty or does not fit, or a slice does not exist.
    """
    if image.spatial_axes != "ZYX":
        raise DataError(f"Carrying an object on needs a stack of slices; {image.name or 'the image'} is {image.axes}.")
    depth, *plane = image.spatial_shape
    if mask.shape != tuple(plane) or not mask.any():
        raise DataError(
            f"The object on slice {start} has shape {mask.shape} and {int(mask.sum())} pixels; give a mask {plane}."
        )
    if not (0 <= start < depth and 0 <= stop < depth):
        raise DataError(f"Slices {start} to {stop} are asked for; there are 0 to {depth - 1}.")
    intensities, before = Intensities(image), mask.astype(bool)
    step, first = 1 if stop > start else -1, _looks(intensities, before, start)
    for index in range(start + step, stop + step, step):
        free = np.ones(plane, bool) if taken is None else ~taken[index]
        found = _carried(intensities, before, index, index - step, image.scale[1:], free)
        if found is None or found.confidence < least:
            return
        if _likeness(first, _looks(intensities, found.mask, index)) < KIN:
            return
        yield found
        before = found.mask


def _carried(
    intensities: Intensities, before: np.ndarray, index: int, from_index: int, steps: Sequence[float], free: np.ndarray
) -> Carried | None:
    around = box_of(before)
    assert around is not None  # the mask of a slice that was kept
    size = max(s.stop - s.start for s in around)
    room = max(LEAST_AROUND, int(AROUND * size))
    box = widened(around, [room] * 2, before.shape)
    inside = before[box]
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    away = ndimage.distance_transform_edt(~inside)
    strokes = np.where(depth > CORE * depth.max(), 1, 0).astype(np.int8)
    strokes[(away > room / 2) | ~free[box]] = -1
    old, new = _looks(intensities, before, from_index), intensities.inside((slice(index, index + 1), *box))[:, 0]
    problem = Problem(new, tuple(float(s) for s in steps), strokes, inside, frame=np.full((2, 2), EDGE))
    # a core that looks like something else is no certain inside: then only looks and borders decide
    found = minimise(problem, CARRY).labels & free[box]
    likeness = _likeness(old, new[:, found])
    if likeness < DOUBTED:
        strokes[strokes > 0] = 0
        strokes[np.unravel_index(int(depth.argmax()), depth.shape)] = 1
        found = minimise(replace(problem, strokes=strokes), CARRY).labels & free[box]
        likeness = _likeness(old, new[:, found])
    if not found.any():
        return None
    mask = np.zeros_like(before)
    mask[box] = found
    overlap = 2 * np.count_nonzero(found & inside) / (np.count_nonzero(found) + np.count_nonzero(inside))
    return Carried(index, mask, float(overlap * likeness))


def _looks(intensities: Intensities, mask: np.ndarray, index: int) -> np.ndarray:
    """Return the intensities of an object, bool (*plane), on a slice, float32 (C, n)."""
    box = box_of(mask)
    assert box is not None  # nobody carries on what is empty
    return intensities.inside((slice(index, index + 1), *box))[:, 0][:, mask[box]]


def _likeness(before: np.ndarray, now: np.ndarray) -> float:
    """Return how alike two sets of intensities (C, n) are: the share that their smoothed histograms have in common."""
    if not now.size:
        return 0.0
    is_before = np.arange(before.shape[1] + now.shape[1]) < before.shape[1]
    return Appearance(np.concatenate([before, now], 1)).overlap(is_before, ~is_before)
