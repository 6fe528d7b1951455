"""The energy whose minimum is the object, and its minimisation from coarse to fine.

Each voxel p is for the object by

    u_p = distance clip(log(b_p / f_p), +-most_distance)  +  fine a_p + smooth s_p  +  memory m_p  +  learned n_p
          + sum of pushes

f and b are the geodesic distances to the object's strokes and to the background's (and to what is held), a and s the
appearance odds of the image and of a smoothed copy, m is 1 in the mask so far and -1 beside it, n what a network makes
of all of these where there is one (distance, memory and push then have the share `others`), and a push says how far new
strokes reach: for strokes that should change n voxels, r being the distance of the n-th nearest that they may change,
``push clip(log(r / d_p), least_push, most_push)``, d being the distance to these strokes, with the sign of their class.
Neighbours that differ cost what `minimum_cut` says. Strokes are certain.

All lengths are in cells, so neither the unit of length nor the size of an object matters: the energy is minimised on
a grid of about `cells` cells, then, cell by cell along the border, on grids twice as fine, down to voxels.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from scipy import ndimage

from napari_medseg.geodesic import GeodesicMap, geodesic_distance
from napari_medseg.graphcut.appearance import Appearance
from napari_medseg.graphcut.cut import Neighbourhood
from napari_medseg.graphcut.learned import Distances, Network, for_overlap, inputs_of
from napari_medseg.graphcut.level import Level, in_cells
from napari_medseg.graphcut.problem import INSIDE, OWN, Answer, Array, Box, Problem
from napari_medseg.graphcut.pyramid import block_any, block_sizes, finer, linear, nearest

NEAR = 0.02  # added to distances: closer than this all are equally near
FLAT = 0.04  # contrast (share of the image's range) below which nothing lies between the object's strokes and a frame
JOINED = 0.2  # share of the median contrast between strokes and frame below which the object is thought to go on
OVERRULED = 0.8  # log-ratio of distances above which a voxel is near the object's strokes however many there are
MOST_LEARNED = 4.0  # log-odds of a network
CLEAR = 0.06  # contrast along the border of a body from which a network has no say on finer grids than it has seen
LOOSE = 0.25  # share of the cost of a border where at the full cost a stroke would stay alone
ROOM = 3  # cells around what changed that finer levels see


@dataclass(frozen=True)
class Energy:
    """Weights of the terms; ``scripts/fit_refinement.py`` looks for them.

    Parameters
    ----------
    distance, most_distance
        Weight of the log-ratio of distances and where it ends.
    fine, smooth
        Weights of the odds by intensities, and by those smoothed with ``blur`` cells.
    memory
        Weight of the mask so far.
    push, least_push, most_push
        Weight of what new strokes reach, and where its logarithm ends.
    border
        Cost of a border of one face where the image is flat.
    learned
        Weight of what a network says, where one is asked.
    others, soft
        Shares of distance, memory and push, which a network was told of (in 2D and 3D), and of the border's cost, where
        one is asked.
    anew
        Whether appearance is first learnt from the strokes alone, not from the mask so far.
    passes
        How often appearance is learnt from the answer and the answer found anew.
    cells, learned_cells
        Size of the coarsest grid, in 2D and 3D, and where a network is asked.
    """

    distance: float
    most_distance: float
    fine: float
    smooth: float
    memory: float
    push: float
    least_push: float
    most_push: float
    border: float = 4.0
    blur: float = 1.5
    learned: float = 0.0
    others: tuple[float, float] = (1.0, 1.0)
    soft: float = 1.0
    anew: bool = False
    passes: int = 2
    cells: tuple[int, int] = (6_000, 12_000)
    learned_cells: tuple[int, int] = (6_000, 90_000)


class Search:
    """The least energy of a problem on its coarsest grid, and from there on down to voxels.

    Attributes
    ----------
    factors
        Voxels of a cell along each axis.
    labels
        The object, bool (*cells); none before `solve`.
    inputs
        What a network was told, float32 (`INPUTS`, *cells); ``None`` where none was asked.
    expected
        The Dice that the network expects of its answer; 0 where none was asked.
    """

    def __init__(self, problem: Problem, energy: Energy) -> None:
        self._problem, self._energy = problem, energy
        self._solid = min(problem.shape) > 1 and len(problem.shape) == 3  # a volume of one layer is a picture
        self.factors = block_sizes(problem.shape, problem.steps, energy.cells[self._solid])
        self._level = Level(problem, self.factors, texture=energy.learned > 0)
        self.labels = self._level.mask & self._level.held
        self.inputs: np.ndarray | None = None
        self._base: np.ndarray = np.zeros(self.labels.shape, np.float32)
        self._unary: np.ndarray = self._base
        self._learned: np.ndarray | None = None
        self._graphs: dict[float, Neighbourhood] = {}
        self.expected = 0.0

    def limited(self, most: float) -> Search:
        """Return this search with another `Problem.most`; the two share what does not depend on it."""
        return self._with("_ratio", "_fixed", most=most)

    def framed(self, frame: np.ndarray, most: float) -> Search:
        """Return this search with another `Problem.frame` too; the two share what does not depend on these."""
        other = self._with("_distances", "_ratio", "_fixed", frame=frame, most=most)
        other._level = copy.copy(self._level)
        other._level.frame = self._level.framed(frame)
        return other

    def _with(self, *lost: str, **changes: object) -> Search:
        other = copy.copy(self)
        other._problem = replace(self._problem, **changes)  # type: ignore[arg-type]
        for name in lost:
            other.__dict__.pop(name, None)
        return other

    @property
    def known(self) -> np.ndarray:
        """Cells of which strokes or what is held say that they are the object's, bool (*cells)."""
        return self._level.near_object

    @property
    def volume(self) -> float:
        """Voxels of the object."""
        return float(np.count_nonzero(self.labels) * np.prod(self.factors))

    @cached_property
    def likeness(self) -> np.ndarray:
        """Return how much each face of the box looks like the object's strokes, (ndim, 2): 0 not at all, 1 the same."""
        level, ndim = self._level, self.labels.ndim
        sides = np.eye(2 * ndim, dtype=bool).reshape(-1, ndim, 2)
        alike = Appearance(level.image).overlaps(level.object, [level.faces(side) for side in sides])
        return np.array(alike).reshape(ndim, 2)

    def solve(self, network: Network | None = None) -> np.ndarray:
        """Find the object on the coarsest grid, a `network` having its say if given; return it, bool (*cells)."""
        level, energy = self._level, self._energy
        labels, fixed, smooth, fine = (
            level.mask if self._given and not energy.anew else None,
            self._fixed,
            self._smooth,
            self._fine,
        )
        self._learned, looks = None, level.odds(smooth, labels)
        if network is not None:
            distances = self._distances._replace(ratio=self._ratio)
            self.inputs = inputs_of(level, distances, looks, self._pushes)
            odds, self.expected = for_overlap(network(self.inputs))
            odds = energy.learned * np.clip(odds, -MOST_LEARNED, MOST_LEARNED)
            self._learned = odds - (1 - energy.others[self._solid]) * fixed
            fixed = fixed + self._learned
        neighbours = self._neighbours(self._border)
        for number in range(energy.passes):
            looks = level.odds(smooth, labels) if number else looks
            self._base = fixed + energy.smooth * looks
            self._unary = self._base if fine is None else self._base + energy.fine * level.odds(fine, labels)
            labels = self.labels = neighbours.cut(level.certain(self._unary))
        alone = not (self.labels & ~level.near_object).any()
        if alone and not self._given:  # the border of a stroke is short
            loose = self._neighbours(LOOSE * self._border)
            self.labels = loose.cut(level.certain(self._unary))
        return self.labels

    @cached_property
    def _given(self) -> bool:
        return bool(self._level.share.any())

    @cached_property
    def _cost(self) -> dict[str, Any]:
        return {"spacing": self._level.steps, "weight": self._problem.weight, "metric": self._problem.metric}

    @cached_property
    def _map(self) -> GeodesicMap:
        return GeodesicMap(self._level.image, channels=True, **self._cost)

    def _distance(self, seeds: np.ndarray) -> np.ndarray:
        """Return the geodesic distance to seeds, float32 (*cells)."""
        image, engine = self._level.image, self._problem.engine
        if engine != OWN:
            return geodesic_distance(image, seeds, engine=engine, **self._cost) + np.float32(NEAR)
        own = self._map.like()
        own.add(seeds)
        return own.distance + np.float32(NEAR)

    @cached_property
    def _near(self) -> np.ndarray:
        return self._distance(self._level.near_object)

    @cached_property
    def _between(self) -> np.ndarray:
        """What lies between each cell and the object's strokes: the share of the image in the distance to them."""
        way = ndimage.distance_transform_edt(~self._level.near_object, self._level.steps)
        return np.asarray(self._near - (1 - self._problem.weight) * way)

    @cached_property
    def _distances(self) -> Distances:
        level, frame = self._level, self._problem.frame
        if not (level.near_object.any() and level.near_background.any()):
            nothing = np.zeros(level.shape, np.float32)
            return Distances(nothing, nothing, nothing, False)
        if frame is not None:  # one that nothing parts from the object is none
            between, inner = self._between[level.frame], level.faces(frame == INSIDE)[level.frame]
            usual = float(np.median(between)) if between.size else 0.0
            level.frame[level.frame] = between > np.where(inner, max(FLAT, JOINED * usual), FLAT)
        far = self._distance(level.near_background)
        return Distances(self._near, far, np.log(far / self._near), True)

    @cached_property
    def _ratio(self) -> np.ndarray:
        """The log-ratio of distances, lowered where the object would be larger than it can be."""
        ratio, cell = self._distances.ratio, np.prod(self.factors)
        if not self._distances.parted or self._problem.most >= ratio.size * cell:
            return ratio
        n = int(self._problem.most / cell)
        return np.asarray(ratio - np.clip(-np.partition(-ratio, n, axis=None)[n], 0, OVERRULED))

    @cached_property
    def _pushes(self) -> np.ndarray:
        level, energy, cell = self._level, self._energy, float(np.prod(self.factors))
        total = np.zeros(level.shape, np.float32)
        for push in self._problem.pushes:
            seeds = in_cells(push.seeds, level.factors, partial(block_any, factors=level.factors), bool)
            open_, away = (level.mask != push.to_object) | seeds, self._distance(seeds)
            values = away[open_]
            n = min(int(max(push.count / cell, 2.0 * np.count_nonzero(seeds))), values.size - 1)
            reach = np.clip(np.log(np.partition(values, n)[n] / away), energy.least_push, energy.most_push)
            total += open_ * np.float32(1 if push.to_object else -1) * reach
        return total

    @cached_property
    def _fixed(self) -> np.ndarray:
        """The terms that appearance and a network do not change."""
        energy, level = self._energy, self._level
        fixed = energy.distance * np.clip(self._ratio, -energy.most_distance, energy.most_distance)
        fixed += energy.push * self._pushes
        if self._given and energy.memory:
            fixed += energy.memory * (2 * level.share - 1)
        return np.asarray(fixed)

    @cached_property
    def _blurred(self) -> np.ndarray:
        image = self._level.image
        return np.asarray(ndimage.gaussian_filter(image, self._energy.blur, axes=range(1, image.ndim)))

    @cached_property
    def _smooth(self) -> Appearance:
        return Appearance(self._blurred)

    @cached_property
    def _fine(self) -> Appearance | None:
        return Appearance(self._level.image) if self._energy.fine else None

    @property
    def _border(self) -> float:
        return self._energy.border * (1.0 if self._learned is None else self._energy.soft)

    def _neighbours(self, border: float) -> Neighbourhood:
        if border not in self._graphs:
            everywhere = np.ones(self._level.shape, bool)
            self._graphs[border] = self._level.neighbourhood(everywhere, self.labels, border)
        return self._graphs[border]

    def contrast(self) -> float:
        """Return the mean difference of smoothed intensities over the border of `labels`; 0 without a border."""
        return float(self._contrasts(self.labels, np.zeros(self.labels.shape, np.intp), 0)[0])

    def least_contrast(self) -> float:
        """Return the contrast, or that along the border of a piece of background with strokes where it is less.

        A stroke that the object merely goes around has none: it lies in a hole of its own.
        """
        pieces, count = ndimage.label(~self.labels, np.ones((3,) * self.labels.ndim))
        told = np.unique(pieces[self._level.background])
        faintest = self._contrasts(self.labels, pieces, count)[told[told > 0]].min(initial=np.inf)
        return min(self.contrast(), float(faintest))

    def _contrasts(self, labels: np.ndarray, pieces: np.ndarray, count: int) -> np.ndarray:
        """Return the contrast of the border of labels along `count` numbered pieces, and, first, of the rest."""
        total, faces = np.zeros(count + 1), np.zeros(count + 1, int)
        for axis in range(labels.ndim):
            border, lead = np.diff(labels, axis=axis), (slice(None),) * axis
            piece = np.maximum(pieces[(*lead, slice(1, None))], pieces[(*lead, slice(-1))])[border]
            total += np.bincount(piece, np.abs(np.diff(self._blurred, axis=axis + 1)).sum(0)[border], count + 1)
            faces += np.bincount(piece, minlength=count + 1)
        return np.asarray(total / np.maximum(faces, 1))

    def clearer(self, gain: bool, seeds: Array) -> np.ndarray:
        """Return the cells that the mask so far should gain (or lose) to become `labels`, bool (*cells).

        Those are connected pieces beside `seeds`, bool (*spatial), along which the border has more contrast then.
        """
        mask, full = self._level.mask, np.ones((3,) * self.labels.ndim)
        pieces, count = ndimage.label(self.labels & ~mask if gain else mask & ~self.labels, full)
        beside = in_cells(seeds, self.factors, partial(block_any, factors=self.factors), bool)
        chosen = np.zeros(count + 1, bool)
        chosen[pieces[ndimage.binary_dilation(beside, full)]] = True
        before, after = (self._contrasts(m, pieces, count) for m in (mask, mask ^ (pieces > 0)))
        chosen &= after > before
        chosen[0] = False
        return np.asarray(chosen[pieces])

    def voxels(self, cells: np.ndarray, box: Box) -> np.ndarray:
        """Return which voxels of a box that `refined` returned lie in `cells`, bool, or beside them."""
        shape = tuple(s.stop - s.start for s in box)
        part = tuple(slice(s.start // f, -(-s.stop // f)) for s, f in zip(box, self.factors, strict=True))
        wider = ndimage.binary_dilation(cells[part], np.ones((3,) * cells.ndim))
        return nearest(wider, self.factors, (1,) * cells.ndim, shape)

    def refined(self) -> Answer | None:
        """Carry the labels of the coarsest level down to voxels; ``None`` where the object is what is held."""
        problem, energy, level = self._problem, self._energy, self._level
        changed = np.nonzero(self.labels != (level.mask & level.held))
        if not changed[0].size:
            return None
        cells = tuple(slice(max(0, int(i.min()) - ROOM), int(i.max()) + 1 + ROOM) for i in changed)
        box = tuple(
            slice(c.start * f, min(n, c.stop * f)) for c, f, n in zip(cells, self.factors, problem.shape, strict=True)
        )
        part, factors, band = problem.part(box), self.factors, border_band(self.labels[cells])
        labels = self.labels[cells]
        base: np.ndarray = self._base[cells]
        unary: np.ndarray = self._unary[cells]
        border = energy.border if self._learned is not None and not self._solid else self._border
        clear = self._learned is not None and self._solid and self.contrast() > CLEAR
        if clear and self._learned is not None:
            base = base - self._learned[cells]  # in volumes it is rough: it would peel a clear body
            border = energy.border
        while max(factors) > 1 or clear:
            smaller, clear = finer(factors), False
            level = Level(part, smaller)
            band = nearest(border_band(labels), factors, smaller, level.shape)
            labels = np.where(level.held, level.mask, nearest(labels, factors, smaller, level.shape)) & ~level.closed
            base = linear(base, factors, smaller, level.shape)
            unary = base
            if energy.fine:
                unary = base + energy.fine * level.odds(Appearance(level.image), labels)
            neighbours = level.neighbourhood(band, labels, border)
            labels = neighbours.cut(level.certain(unary))
            factors = smaller
        doubt = np.zeros(labels.shape, np.float32)
        doubt[band] = 1 - np.abs(np.tanh(unary[band] / 2))
        return Answer(box, labels, doubt)


def minimise(problem: Problem, energy: Energy) -> Answer:
    """Return the object of least energy, in the whole of the problem's box."""
    search = Search(problem, energy)
    search.solve()
    kept, doubt = np.zeros(problem.shape, bool), np.zeros(problem.shape, np.float32)
    if problem.held is not None:
        kept |= problem.mask & problem.held  # type: ignore[operator]
    found = search.refined()
    if found is not None:
        kept[found.box], doubt[found.box] = found.labels, found.doubt
    return Answer(tuple(slice(0, n) for n in problem.shape), kept, doubt)


def border_band(labels: np.ndarray) -> np.ndarray:
    """Return the voxels on both sides of the border between the two labels, bool (*spatial)."""
    out = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        lead = (slice(None),) * axis
        low, high = (*lead, slice(None, -1)), (*lead, slice(1, None))
        apart = labels[low] != labels[high]
        out[low] |= apart
        out[high] |= apart
    return out
