"""The geodesic engine: a mask is the minimum of an energy of strokes, image and the mask so far.

An object that strokes alone have made is found anew with each stroke, all strokes and the mask so far having their
say, so that any stroke takes back whatever grew too far; a small network for objects of any kind helps there, unless
the border is clearer without it. Where a part was given (a proposal, a label map), strokes add to their class around
themselves and the rest stays. Either way the engine depends on image, strokes and mask alone, and sees a region that
grows while the answer touches its edge. A stroke inside its own class changes nothing and guards what is there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from napari_medseg.graphcut.energy import OVER, THIN, Energy, Network, Problem, Push, Search, minimise
from napari_medseg.image import Image
from napari_medseg.jobs import Job, Progress
from napari_medseg.refinement.engine import Answer, Engine
from napari_medseg.refinement.history import Box, box_of, union, widened
from napari_medseg.refinement.settings import RefinementSettings

ONLY_BACKGROUND = "Only background strokes: paint a foreground stroke too."

# found on the fit half of `benchmarks scribbles`; scripts/fit_refinement.py varies them
ALONE = Energy(
    distance=3.0,
    most_distance=2.0,
    fine=0.0,
    smooth=0.15,
    memory=3.0,
    push=5.5,
    least_push=0.0,
    most_push=3.0,
    border=4.0,
    learned=1.2,
)
GIVEN = Energy(
    distance=1.15, most_distance=1.4, fine=0.35, smooth=0.5, memory=0.0, push=3.0, least_push=-3.0, most_push=3.0
)
MARGIN, LEAST_MARGIN = 1.5, 12  # of the region, in lengths of all strokes, and in voxels
# A stroke of few brush widths was drawn across the object. A long one is as long as a hand goes and tells less of
# where the object ends: the margin is SPAN (length / width)^2 lengths, up to FAR lengths.
SPAN, FAR = 0.02, 5.0
# A stroke shorter than HAND widths was drawn across about two thirds of an object or error, which then has about as
# many voxels as a square (cube) of the stroke's length, and a new object not more than ACROSS times as many.
HAND, ACROSS = 12.0, 1.1
CLEARER = 1.5  # times as much contrast along its border: then an object is larger than its first stroke says
# Strokes that extend over less than TOLD of a mask's size have told little of it (a stroke that leaked, say): it counts
# less against new ones, and its appearance is first learnt from the strokes alone.
TOLD = 0.6
TRUSTED = 1.15  # times as much contrast along the border of the object without the network: then it is not helped
BESIDE = 3.0  # lengths of new strokes within which a piece of the mask counts as the same object
ALIKE = 0.8  # likeness of strokes and a face of the region above which the object is thought to go on there
ALIKE_EDGE = 0.75  # the same at an edge of the image: above it the object is thought to go over
GROWTH, MOST_GROWTHS = 0.5, 20  # of the region, in its own size
SLACK = 1.5  # voxels that a zone reaches farther
ZONE = 1.3  # depths of new strokes within which they may change what was given
DEPTH, MOST_OF_MASK = 1.0, 0.8  # strokes change about what lies within so many depths, at most so much of the mask
SHALLOW = 4.0  # weight of the mask so far against a stroke one voxel deep; it falls with the depth
AT_LIMIT = 0.02  # share of a change at the edge of its zone from which the zone grows
AT_EDGE = 2  # cells from a region's edge at which an answer touches it
ROUGH = 0.5  # cost of a border without smoothing
FIRST_LOOK = 8.0  # distance within which depths are looked for first, doubled as needed
MANY = 32  # strokes that are looked at one by one


class _Look(NamedTuple):
    """A box in which an object ends, the search that found it, and the contrast along its border."""

    box: Box
    search: Search
    contrast: float


class GeodesicEngine(Engine):
    """Finds masks of anything, by strokes; it keeps nothing between rounds."""

    def __init__(self, image: Image, settings: RefinementSettings) -> None:
        super().__init__(image)
        self._settings = settings
        self._steps = tuple(float(s) for s in np.asarray(image.scale) / min(image.scale))
        self._doubt: list[tuple[Box, np.ndarray]] = []

    def prepare(self) -> None:
        """Find the range of intensities and load the compiled kernels, so that the first stroke answers at once."""
        small = tuple(slice(0, min(n, 4)) for n in self.image.spatial_shape)
        features = self.intensities.inside(small)
        strokes = np.zeros(features.shape[1:], np.int8)
        strokes.flat[-1], strokes.flat[0] = -1, 1  # one voxel is both: the object
        search = Search(self._problem(features, strokes, strokes > 1), ALONE)
        search.solve(self._network() if self._settings.network else None)
        search.refined()

    def refine(
        self, scribbles: np.ndarray, before: np.ndarray, mask: np.ndarray, given: np.ndarray, locked: np.ndarray
    ) -> Job[Answer]:
        """Return the labels for all scribbles; see `Engine.refine`."""
        start = time.perf_counter()
        yield Progress(0, 1, "geodesic distances")
        answer, self._doubt = mask.copy(), []
        where = box_of((scribbles != before) & (scribbles > 0))
        if where is not None:
            for k, new in wrong_strokes(scribbles[where], before[where], mask[where]):
                part = np.zeros(mask.shape, bool)
                part[where] = new
                if (given == k).any():
                    self._correct(k, scribbles, answer, part, locked)
                else:
                    self._alone(k, scribbles, answer, part, locked)
        message = "" if answer.any() or (scribbles > 1).any() else ONLY_BACKGROUND
        return Answer(answer, {"geodesic": time.perf_counter() - start}, message)

    def uncertainty(self) -> np.ndarray | None:
        """Return how undecided each voxel was in the last round, float32 in [0, 1]."""
        if not self._doubt:
            return None
        out = np.zeros(self.image.spatial_shape, np.float32)
        for box, doubt in self._doubt:
            np.maximum(out[box], doubt, out=out[box])
        return out

    def _problem(self, features: np.ndarray, strokes: np.ndarray, mask: np.ndarray, **more: object) -> Problem:
        settings = self._settings
        cost = {"weight": settings.weight, "metric": settings.metric, "engine": settings.distance_engine}
        return Problem(features, self._steps, strokes, mask, **cost, **more)  # type: ignore[arg-type]

    def _smoothed(self, energy: Energy) -> Energy:
        return energy if self._settings.crf else replace(energy, border=ROUGH)

    # ---- an object that strokes alone have made
    def _alone(self, k: int, scribbles: np.ndarray, labels: np.ndarray, new: np.ndarray, locked: np.ndarray) -> None:
        """Find class `k` anew in `labels`, in place, around the strokes `new`."""
        own, core, others = self._same_object(labels == k, new)
        painted = box_of(scribbles[core] == k + 1)
        if painted is None:
            np.copyto(labels, 0, where=new & (labels == k))
            return
        length = max((s.stop - s.start) * step for s, step in zip(painted, self._steps, strict=True))
        beyond = max(_margin(stroke, self._steps) for stroke in _strokes(new))
        margin = max(LEAST_MARGIN, MARGIN * length, beyond)
        most = np.inf if own.any() else _most(new, self._steps)
        margins = [int(margin / step) for step in self._steps]
        start = widened(core, margins, labels.shape)
        look = self._around(k, start, scribbles, new, own, others, locked, most)
        if most < np.inf:
            larger = self._around(k, start, scribbles, new, own, others, locked)
            if larger.contrast > CLEARER * look.contrast:
                look, most = larger, np.inf
        if self._settings.network and (own.any() or _across(new, self._steps) is not None):
            helped = self._around(k, look.box, scribbles, new, own, others, locked, most, unhelped=look)
            if look.contrast <= TRUSTED * helped.contrast:
                look = helped
            else:
                look.search.solve()
        box, found = look.box, look.search.refined()
        self._doubt.append((box, found.doubt))
        kept, part = found.labels, labels[box]
        if not self._settings.islands:
            kept = _touching(kept, (scribbles[box] == k + 1) | others[box])
        np.copyto(part, 0, where=(part == k) & ~kept)
        np.copyto(part, k, where=kept)

    def _around(
        self, k: int, box: Box, scribbles: np.ndarray, new: np.ndarray, own: np.ndarray, others: np.ndarray,
        locked: np.ndarray, most: float = np.inf, unhelped: _Look | None = None,
    ) -> _Look:  # fmt: skip
        """Return the object of class `k` by its strokes in `box`, which grows until the object ends in it.

        With the answer `unhelped` of the same strokes the network has its say, beginning in the box of that.
        """
        shape, given = scribbles.shape, bool(own[box].any())
        open_edges = np.zeros((len(shape), 2), bool)  # sides at which the object goes over the image's edge
        network = None if unhelped is None else self._network()
        search = None if unhelped is None else unhelped.search
        for _ in range(MOST_GROWTHS):
            if search is None:
                search = self._search(k, box, scribbles, new, own, others, locked, most, open_edges)
                if not given:
                    alike = search.likeness()
                    wider = _enlarged(box, alike > ALIKE, shape)
                    over = _at_image_edge(box, shape) & (alike > ALIKE_EDGE) & ~open_edges
                    if wider != box or over.any():
                        box, open_edges, search = wider, open_edges | over, None
                        continue
            cells = search.solve(network)
            if not self._settings.islands:
                cells = _touching(cells, search.known)
            larger = _grown(cells, box, open_edges, shape)
            if larger is None:
                break
            box, search = larger, None
        assert search is not None  # the last box was looked at
        return _Look(box, search, search.contrast())

    def _search(
        self, k: int, box: Box, scribbles: np.ndarray, new: np.ndarray, own: np.ndarray, others: np.ndarray,
        locked: np.ndarray, most: float, open_edges: np.ndarray,
    ) -> Search:  # fmt: skip
        part = scribbles[box]
        strokes = np.where(part == k + 1, 1, np.where(part > 0, -1, 0)).astype(np.int8)
        pushes = [
            Push(seeds, to_object, _count(seeds, own[box] != to_object, self._steps))
            for to_object in (True, False)
            if own[box].any() and (seeds := new[box] & (strokes == (1 if to_object else -1))).any()
        ]
        problem = self._problem(
            self.intensities.inside(box), strokes, own[box] | others[box], held=others[box], closed=locked[box] > 0,
            frame=np.where(open_edges, OVER, _at_image_edge(box, scribbles.shape)), pushes=pushes, most=most,
        )  # fmt: skip
        energy, trust = self._smoothed(ALONE), self._told(own[box], part == k + 1)
        return Search(problem, replace(energy, memory=trust * energy.memory, anew=trust < 1))

    def _told(self, own: np.ndarray, strokes: np.ndarray) -> float:
        """Return how much strokes have told of a mask, from 0 to 1: by their extent for its size, in `TOLD`."""
        drawn = box_of(strokes & own)
        if drawn is None:
            return 1.0
        length = float(np.linalg.norm([(s.stop - s.start) * step for s, step in zip(drawn, self._steps, strict=True)]))
        size = float(np.count_nonzero(own) * np.prod(self._steps))
        return min(1.0, length / (TOLD * float(size ** (1 / own.ndim))))

    def _network(self) -> Network:
        from napari_medseg.refinement.stroke_network import bundled  # brings torch

        return partial(bundled, precision=self._settings.precision)

    def _same_object(self, own: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, Box, np.ndarray]:
        """Return the pieces of `own` that belong to the strokes `new`, the box of both, and the other pieces."""
        core = box_of(new)
        assert core is not None  # there are strokes
        have = box_of(own)
        if have is None:
            return own, core, own
        length = max((s.stop - s.start) * step for s, step in zip(core, self._steps, strict=True))
        beside = widened(core, [int(BESIDE * length / step) for step in self._steps], own.shape)
        pieces, _ = ndimage.label(own[have], np.ones((3,) * own.ndim))
        near = np.zeros(own.shape, bool)
        near[beside] = True
        chosen = np.unique(pieces[near[have]])
        same = np.zeros(own.shape, bool)
        same[have] = np.isin(pieces, chosen[chosen > 0])
        return same, union(core, box_of(same)) or core, own & ~same

    # ---- a mask of which a part was given
    def _correct(self, k: int, scribbles: np.ndarray, labels: np.ndarray, new: np.ndarray, locked: np.ndarray) -> None:
        """Let the strokes `new` take class `k` away, then add to it, in `labels`, in place."""
        for gain in (False, True):
            seeds = new & ((scribbles == k + 1) == gain) & ((labels == k) != gain)
            for stroke in _strokes(seeds):  # each with its own depth, as if drawn in a round of its own
                wrong = stroke & ((labels == k) != gain)
                if wrong.any():
                    box, found = self._gained(k, gain, scribbles, labels, wrong, locked)
                    np.copyto(labels[box], k if gain else 0, where=found)

    def _gained(
        self, k: int, gain: bool, scribbles: np.ndarray, labels: np.ndarray, new: np.ndarray, locked: np.ndarray
    ) -> tuple[Box, np.ndarray]:
        """Return a box and the voxels in it, bool, that class `k` gains (or loses) by the strokes `new`."""
        own = (labels == k) == gain
        depth = max(_depth(stroke, ~own, self._steps) for stroke in _strokes(new))
        around, most = box_of(new), MOST_OF_MASK * float(np.count_nonzero(labels == k))
        assert around is not None  # there are strokes
        zone = ZONE * depth + SLACK
        for _ in range(MOST_GROWTHS):
            box = widened(around, [int(zone / step) + 3 for step in self._steps], labels.shape)
            away = ndimage.distance_transform_edt(~new[box], self._steps)
            count = min(float(np.count_nonzero(~own[box] & (away <= DEPTH * depth))), most)
            marks, others = scribbles[box], gain & (labels[box] > 0)  # other classes give way near strokes alone
            strokes = np.where(marks > 0, np.where((marks == k + 1) == gain, 1, -1), 0).astype(np.int8)
            problem = self._problem(
                self.intensities.inside(box), strokes, own[box], held=own[box] | (away > np.where(others, depth, zone)),
                closed=locked[box] > 0,
                pushes=[Push(new[box], True, count)],
            )  # fmt: skip
            energy = replace(GIVEN, memory=SHALLOW / max(depth, 1.0))
            minimum = minimise(problem, self._smoothed(energy))
            found = _touching(minimum.labels & ~own[box], new[box])
            if np.count_nonzero(found & (away > zone - 1)) <= AT_LIMIT * np.count_nonzero(found):
                break
            zone *= 1 + GROWTH
        self._doubt.append((box, minimum.doubt))
        return box, found


def wrong_strokes(scribbles: np.ndarray, before: np.ndarray, mask: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each class that new strokes contradict, and these strokes, bool (*spatial); losing classes first."""
    new = (scribbles != before) & (scribbles > 0) & (scribbles != mask + 1)
    gain, lose = np.unique(scribbles[new]) - 1, np.unique(mask[new])
    for k in [*(k for k in lose if k not in gain), *gain]:
        if k > 0:
            yield int(k), new & ((scribbles == k + 1) | (mask == k))


def _count(seeds: np.ndarray, open_: np.ndarray, steps: tuple[float, ...]) -> float:
    """Return how many voxels strokes should change.

    Those as near to them as they are deep in what they contradict; where one short stroke was drawn across an error,
    the geometric mean of that and of what its length says.
    """
    depth = _depth(seeds, open_, steps)
    around = box_of(seeds)
    assert around is not None  # there are strokes
    box = widened(around, [int(depth / step) + 1 for step in steps], seeds.shape)
    near = float(np.count_nonzero(open_[box] & (ndimage.distance_transform_edt(~seeds[box], steps) <= DEPTH * depth)))
    return float(np.sqrt(near * (_across(seeds, steps) or near)))


def _across(strokes: np.ndarray, steps: tuple[float, ...]) -> float | None:
    """Return about how many voxels the piece has that one stroke was drawn across, ``None`` where it may go on."""
    first, *others = _strokes(strokes)
    length, widths = _size(first, steps)
    return None if others or widths >= HAND else float(length**strokes.ndim / np.prod(steps))


def _strokes(seeds: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the connected strokes (bool) of `seeds`; all at once when there are too many to look at each."""
    box = box_of(seeds)
    if box is None:
        return
    pieces, count = ndimage.label(seeds[box], np.ones((3,) * seeds.ndim))
    if count > MANY:
        yield seeds
        return
    for number in range(1, count + 1):
        stroke = np.zeros_like(seeds)
        stroke[box] = pieces == number
        yield stroke


def _margin(stroke: np.ndarray, steps: tuple[float, ...]) -> float:
    """Return how far beyond a stroke its object may end, by length and width of the stroke."""
    length, widths = _size(stroke, steps)
    return float(length * min(FAR, SPAN * widths**2))


def _most(strokes: np.ndarray, steps: tuple[float, ...]) -> float:
    """Return how many voxels a new object has at most; infinite where it may go over an edge of the image."""
    across, around = _across(strokes, steps), box_of(strokes)
    length = max(_size(stroke, steps)[0] for stroke in _strokes(strokes))
    assert around is not None  # there are strokes
    nearby = widened(around, [int(length / step) for step in steps], strokes.shape)
    at_edge = _at_image_edge(nearby, strokes.shape)[np.array(strokes.shape) > THIN].any()
    return np.inf if across is None or at_edge else ACROSS * across


def _size(stroke: np.ndarray, steps: tuple[float, ...]) -> tuple[float, float]:
    """Return the length of a stroke in the unit of `steps`, and how many times its width it is."""
    box = box_of(stroke)
    assert box is not None  # there is a stroke
    sizes, size = np.array([s.stop - s.start for s in box]), np.asarray(steps)
    length, wide = float(np.linalg.norm(sizes * size)), sizes > 1
    area = np.count_nonzero(stroke) * float(np.prod(size[wide]))
    width = float(area / length) ** (1 / max(1, int(np.count_nonzero(wide)) - 1))
    return length, length / width


def _depth(seeds: np.ndarray, error: np.ndarray, steps: tuple[float, ...]) -> float:
    """Return the largest distance of a seed from the end of `error`, bool (*spatial), in the unit of `steps`."""
    around, radius = box_of(seeds), FIRST_LOOK
    assert around is not None  # there are strokes
    while True:
        box = widened(around, [int(radius / step) + 1 for step in steps], error.shape)
        inside, whole = error[box], all(s.stop - s.start == n for s, n in zip(box, error.shape, strict=True))
        if not inside.all():
            farthest = float(ndimage.distance_transform_edt(inside, steps)[seeds[box]].max())
            if farthest <= radius or whole:
                return farthest
        elif whole:
            return radius
        radius *= 2


def _touching(pieces: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Return the connected pieces of a bool array that hold a voxel of `marks`."""
    labels, count = ndimage.label(pieces, np.ones((3,) * pieces.ndim))
    keep = np.zeros(count + 1, bool)
    keep[labels[marks]] = True
    keep[0] = False
    return np.asarray(keep[labels])


def _grown(cells: np.ndarray, box: Box, open_edges: np.ndarray, shape: tuple[int, ...]) -> Box | None:
    """Return a larger box where an object, bool (*cells) of `box`, comes to its edge, ``None`` where it does not.

    An edge of the image over which the object goes is noted in `open_edges`, in place.
    """
    touched = np.zeros((len(box), 2), bool)
    for axis, n in enumerate(cells.shape):
        layers = np.moveaxis(cells, axis, 0)
        if n > THIN:
            touched[axis] = layers[:AT_EDGE].any(), layers[-AT_EDGE:].any()
    over = touched & _at_image_edge(box, shape) & ~open_edges
    open_edges |= over
    wider = _enlarged(box, touched, shape)
    return wider if over.any() or wider != box else None


def _at_image_edge(box: Box, shape: tuple[int, ...]) -> np.ndarray:
    """Return which sides of a box are edges of the image, bool (ndim, 2)."""
    return np.array([(s.start == 0, s.stop == n) for s, n in zip(box, shape, strict=True)])


def _enlarged(box: Box, sides: np.ndarray, shape: tuple[int, ...]) -> Box:
    """Return `box` grown at the chosen `sides`, bool (ndim, 2), as far as `shape` goes."""
    grown = []
    for s, n, (low, high) in zip(box, shape, sides, strict=True):
        more = max(LEAST_MARGIN, int(GROWTH * (s.stop - s.start)))
        grown.append(slice(max(0, s.start - more * int(low)), min(n, s.stop + more * int(high))))
    return tuple(grown)
