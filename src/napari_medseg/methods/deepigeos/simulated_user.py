"""Simulated users: marks on the errors of a segmentation, for training R-Net and for measuring it without a person.

Scribble maps are uint8 (*spatial): 0 no mark, k + 1 a mark of class k; so 1 is background, 2 foreground and 3, 4 ...
further classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy import ndimage

from napari_medseg.methods.deepigeos.settings import Rule

SMALLEST = 30
PER_MARK = 100
CORRECTED_RADIUS = (1.0, 8.0)


def simulate(
    truth: np.ndarray,
    proposal: np.ndarray,
    rng: np.random.Generator,
    *,
    rule: Rule = "paper",
    radius: int = 0,
    smallest: int = SMALLEST,
    no_mark: float = 0.0,
) -> np.ndarray:
    """Mark the errors of `proposal` as a user would.

    Voxels of class k that the proposal gives another class form connected regions (8-connected); each is marked with
    class k: under-segmented regions as foreground, over-segmented ones as background. In 3D this happens on three
    slices per class, one per axis: those with the largest error area.

    Parameters
    ----------
    truth, proposal
        Integer classes (*spatial), 2D or 3D.
    rng
        Source of every random choice.
    rule
        ``"paper"``: ceil(N / 100) pixels of a region of N, drawn uniformly (Wang et al. 2019); ``"scribble"``: a piece
        of the region's skeleton; ``"click"``: its innermost pixel; ``"mixed"``: one of these per region.
    radius
        Marks are grown to balls of this radius, within the true class.
    smallest
        Regions of fewer pixels get no mark; paper: 30, too many where the whole structure has few.
    no_mark
        Probability of no mark at all, so that R-Net learns to leave a good proposal alone.

    Returns
    -------
    ndarray
        Scribbles, uint8 (*spatial).
    """
    scribbles = np.zeros(truth.shape, np.uint8)
    if rng.random() < no_mark:
        return scribbles
    for value in np.unique(truth[truth != proposal]):
        errors = (truth == value) & (proposal != value)
        marks = np.zeros(truth.shape, bool)
        for place in error_slices(errors):
            marks[place] |= _mark_slice(errors[place], rng, rule, smallest)
        scribbles[_grow(marks, truth == value, radius)] = value + 1
    return scribbles


def error_slices(errors: np.ndarray) -> list[tuple[int | slice, ...]]:
    """Return the index of the whole plane in 2D, of the slice with most errors along each axis in 3D."""
    if errors.ndim == 2:
        return [(slice(None), slice(None))]
    places: list[tuple[int | slice, ...]] = []
    for axis in range(3):
        area = errors.sum(tuple(a for a in range(3) if a != axis))
        index: list[int | slice] = [slice(None)] * 3
        index[axis] = int(area.argmax())
        places.append(tuple(index))
    return places


def _mark_slice(errors: np.ndarray, rng: np.random.Generator, rule: Rule, smallest: int) -> np.ndarray:
    """Return the marks bool (Y, X) that a user sets on the errors bool (Y, X) of a slice."""
    marks = np.zeros(errors.shape, bool)
    components, _ = ndimage.label(errors, np.ones((3, 3)))
    for label, box in enumerate(ndimage.find_objects(components), 1):
        region = components[box] == label
        size = int(np.count_nonzero(region))
        if size < smallest:
            continue
        how = rule if rule != "mixed" else rng.choice(["paper", "scribble", "click"])
        if how == "paper":
            points = np.argwhere(region)[rng.choice(size, -(-size // PER_MARK), replace=False)]
        elif how == "scribble":
            points = skeleton_piece(region, rng)
        else:
            points = np.array([innermost(region)])
        marks[box][tuple(points.T)] = True
    return marks


def skeleton_piece(region: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Walk along a region's skeleton from a random pixel for a random share of its length; return the pixels (n, 2)."""
    from skimage.morphology import skeletonize

    left = set(map(tuple, np.argwhere(skeletonize(region)).tolist())) or {innermost(region)}
    here = sorted(left)[rng.integers(len(left))]
    length = int(rng.integers(max(1, len(left) // 3), len(left) + 1))
    walk = [here]
    left.discard(here)
    while len(walk) < length:
        near = sorted(p for p in left if max(abs(p[0] - here[0]), abs(p[1] - here[1])) == 1)
        if not near:
            break
        here = near[rng.integers(len(near))]
        left.discard(here)
        walk.append(here)
    return np.array(walk)


def innermost(region: np.ndarray) -> tuple[int, ...]:
    """Return the index of the voxel farthest from a region's border; unlike the centroid it is always inside."""
    depth = ndimage.distance_transform_edt(np.pad(region, 1))
    return tuple(int(i) - 1 for i in np.unravel_index(int(depth.argmax()), depth.shape))


def ball(radius: int, ndim: int) -> np.ndarray:
    """Return a boolean ball of `radius` voxels."""
    grid = np.indices((2 * radius + 1,) * ndim) - radius
    return np.asarray((grid**2).sum(0) <= radius**2)


def _grow(marks: np.ndarray, within: np.ndarray, radius: int) -> np.ndarray:
    if radius == 0 or not marks.any():
        return marks
    return np.asarray(ndimage.binary_dilation(marks, ball(radius, marks.ndim)) & within)


def robot_click(truth: np.ndarray, proposal: np.ndarray, *, smallest: int = 50, radius: int = 1) -> np.ndarray:
    """Mark the middle of the largest connected error with a ball: the user of validation, without randomness.

    Errors below `smallest` voxels are left alone; the ball stays within the true class.
    """
    scribbles = np.zeros(truth.shape, np.uint8)
    best, size = None, smallest - 1
    for value in np.unique(truth[truth != proposal]):
        components, n = ndimage.label((truth == value) & (proposal != value), np.ones((3,) * truth.ndim))
        sizes = np.bincount(components.ravel(), minlength=n + 1)[1:]
        if n and sizes.max() > size:
            best, size = (value, components == sizes.argmax() + 1), int(sizes.max())
    if best is None:
        return scribbles
    value, region = best
    point = np.zeros(truth.shape, bool)
    point[innermost(region)] = True
    scribbles[_grow(point, truth == value, radius)] = value + 1
    return scribbles


def interactive_rounds(
    truth: np.ndarray,
    proposal: np.ndarray,
    mark: Callable[[np.ndarray, np.ndarray], np.ndarray],
    refine: Callable[[np.ndarray, np.ndarray], np.ndarray],
    rounds: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Alternate marks and refinements, yielding (segmentation, all scribbles so far) after each round.

    Parameters
    ----------
    truth, proposal
        Integer classes (*spatial); the proposal is the first round's segmentation.
    mark
        ``mark(truth, segmentation)`` returns new scribbles; later ones overwrite earlier ones.
    refine
        ``refine(segmentation, scribbles)`` returns the next segmentation.
    rounds
        Number of rounds.
    """
    scribbles = np.zeros(truth.shape, np.uint8)
    for _ in range(rounds):
        new = mark(truth, proposal)
        scribbles = np.where(new > 0, new, scribbles)
        proposal = refine(proposal, scribbles)
        yield proposal, scribbles


def correct_near(truth: np.ndarray, proposal: np.ndarray, scribbles: np.ndarray, radius: float) -> np.ndarray:
    """Give voxels within `radius` of a mark of their true class that class: a stand-in for one refinement round."""
    corrected = proposal.copy()
    for value in np.unique(scribbles[scribbles > 0]):
        near = ndimage.distance_transform_edt(scribbles != value) <= radius
        corrected[near & (truth == value - 1)] = value - 1
    return corrected


def simulate_rounds(
    truth: np.ndarray, proposal: np.ndarray, rng: np.random.Generator, rounds: int, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a user sees in the last of `rounds` rounds and all marks made until then.

    Between rounds the errors near the new marks are corrected, up to a distance drawn anew each time (1 to 8 voxels):
    how far a mark reaches is what the network has yet to learn. `options` are those of `simulate`.
    """
    marks = np.zeros(truth.shape, np.uint8)
    for left in reversed(range(rounds)):
        new = simulate(truth, proposal, rng, **options)
        marks = np.where(new > 0, new, marks)
        if left and new.any():
            proposal = correct_near(truth, proposal, new, rng.uniform(*CORRECTED_RADIUS))
    return proposal, marks


def corrupt(truth: np.ndarray, rng: np.random.Generator, *, n_classes: int = 2, shapes: int = 10) -> np.ndarray:
    """Distort a segmentation as a poor network would: wrong balls, cubes and octahedra, thickened or thinned objects.

    Up to `shapes` bodies flip a class inside; up to three times a class is dilated or eroded by up to 3 voxels.
    """
    proposal = truth.copy()
    for _ in range(rng.integers(0, 4)):
        value, radius = rng.integers(1, n_classes), int(rng.integers(1, 4))
        mask = proposal == value
        if rng.random() < 0.5:
            proposal[_within(~mask, radius)] = value
        else:
            proposal[mask & _within(mask, radius)] = 0
    for _ in range(rng.integers(0, shapes + 1)):
        value = rng.integers(1, n_classes)
        place, body = _random_body(truth, rng)
        part = proposal[place]
        part[body] = np.where(part[body] == value, 0, value)
    return proposal


def _within(mask: np.ndarray, radius: int) -> np.ndarray:
    """Voxels of `mask` nearer than `radius` to its outside, and the outside; nothing if there is no outside."""
    return np.zeros(mask.shape, bool) if mask.all() else np.asarray(ndimage.distance_transform_edt(mask) <= radius)


def _random_body(truth: np.ndarray, rng: np.random.Generator) -> tuple[tuple[slice, ...], np.ndarray]:
    """Return a box in or near the object `truth`, and in it a ball, cube or octahedron, bool."""
    inside = np.argwhere(truth)
    radius = int(rng.integers(2, max(3, min(truth.shape) // 6) + 1))
    if len(inside):
        centre = inside[rng.integers(len(inside))] + rng.integers(-2 * radius, 2 * radius + 1, truth.ndim)
    else:
        centre = rng.integers(0, truth.shape)
    centre = centre.clip(0, np.array(truth.shape) - 1)
    place = tuple(slice(max(0, c - radius), c + radius + 1) for c in centre)
    axes = [np.arange(s.start, min(s.stop, n)) - c for s, n, c in zip(place, truth.shape, centre, strict=True)]
    grid = np.abs(np.stack(np.meshgrid(*axes, indexing="ij")))
    distance = (np.sqrt((grid**2).sum(0)), grid.max(0), grid.sum(0))[rng.integers(3)]
    return place, np.asarray(distance <= radius)
