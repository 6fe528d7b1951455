"""How an object is looked for around its strokes: in boxes that grow while it touches their edges.

What one box shows of an object is a `Search`; here the boxes are chosen, whether a network has its say, and which of
several answers is the best. `GeodesicEngine` writes it into the labels.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from napari_medseg.graphcut.energy import Energy, Search
from napari_medseg.graphcut.learned import Network
from napari_medseg.graphcut.level import THIN
from napari_medseg.graphcut.problem import OVER, Array, Lazy, Problem, Push
from napari_medseg.image import Image
from napari_medseg.refinement.boxes import Box, Voxels, outer, union, whole, widened
from napari_medseg.refinement.intensities import Intensities
from napari_medseg.refinement.reach import at_image_edge, count_of
from napari_medseg.refinement.settings import RefinementSettings
from napari_medseg.refinement.turn import Look, Sought, Turn, beside, lazy, signs, touching

# found on the fit half of `benchmarks scribbles`; scripts/fit_refinement.py varies them
ALONE = Energy(
    distance=3.0,
    most_distance=2.0,
    fine=0.0,
    smooth=0.15,
    memory=4.2,
    push=5.5,
    least_push=0.0,
    most_push=3.0,
    border=4.0,
    learned=1.2,
    others=(0.35, 0.25),
    soft=0.25,
)
LEAST_MARGIN = 12  # voxels of a region around strokes, and by which it grows
# Boxes looked at around a short stroke, each twice as far as the one before, and how much a larger answer counts.
SCALES, LARGE = 6, 0.5
CLEARER = 1.5  # times as much contrast along its border: then an object is larger than its first stroke says
# The network is heard where it expects a Dice above SURE of an object that is not larger than it can be; elsewhere
# unless the object without it has a border of TRUSTED times the contrast.
TRUSTED, SURE = 1.05, 0.65
FARTHER = 0.5  # sizes of the first region by which a second look at a first stroke reaches beyond it
ALIKE = 0.8  # likeness of strokes and a face of the region above which the object is thought to go on there
ALIKE_EDGE = 0.75  # the same at an edge of the image: above it the object is thought to go over
GROWTH, MOST_GROWTHS = 0.5, 20  # of the region, in its own size
AT_EDGE = 2  # cells from a region's edge at which an answer touches it
ROUGH = 0.5  # cost of a border without smoothing


class Seeker:
    """Looks for objects of one image around their strokes.

    Attributes
    ----------
    steps
        Size of a voxel along each axis, the smallest being 1.
    """

    def __init__(self, image: Image, intensities: Intensities, settings: RefinementSettings) -> None:
        self.steps = tuple(float(s) for s in np.asarray(image.scale) / min(image.scale))
        self._channels, self._intensities, self._settings = image.n_channels, intensities, settings

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Find the range of intensities of an image of a shape, and load the compiled kernels and the network."""
        small = tuple(slice(0, min(n, 4)) for n in shape)
        features = self._intensities.inside(small)
        strokes = np.zeros(features.shape[1:], np.int8)
        strokes.flat[-1], strokes.flat[0] = -1, 1  # one voxel is both: the object
        search = Search(self.problem(features, strokes, strokes > 1), ALONE)
        search.solve(self.network() if self._settings.network else None)
        search.refined()

    def problem(self, features: Array, strokes: Array, mask: Array, **more: object) -> Problem:
        """Return a `Problem` with the distances of the settings."""
        settings = self._settings
        cost = {"weight": settings.weight, "metric": settings.metric, "engine": settings.distance_engine}
        return Problem(features, self.steps, strokes, mask, **cost, **more)  # type: ignore[arg-type]

    def smoothed(self, energy: Energy) -> Energy:
        """Return the energy, with a border that costs little where the settings ask for no smoothing."""
        return energy if self._settings.crf else replace(energy, border=ROUGH)

    def best(self, sought: Sought, turn: Turn, box: Box, most: float) -> Look:
        """Return the object around `box`, by the network too where that is sure or no border is clearer without it."""
        ask, helped = self._settings.network, None
        if ask and most == np.inf:
            helped = self._farther(sought, turn, self.around(sought, turn, box, helped=True))
            if helped.search.expected > SURE:
                return helped
        look = self.around(sought, turn, box, most)
        if most < np.inf:
            larger = self.around(sought, turn, box)
            if larger.contrast > CLEARER * look.contrast:
                look, most = larger, np.inf
        if ask:
            helped = helped or self.around(sought, turn, look.box, most, helped=True)
            sure = helped.search.expected > SURE and helped.search.volume <= most
            if sure or look.contrast < TRUSTED * helped.contrast:
                return helped
        return look

    def _farther(self, sought: Sought, turn: Turn, look: Look) -> Look:
        """Return what a first stroke shows: a look with a network, or one farther where that is sure and clearer."""
        if sought.own or look.box == whole(turn.shape):
            return look
        margins = [int(FARTHER * (s.stop - s.start)) for s in look.box]
        larger = self.around(sought, turn, widened(look.box, margins, turn.shape), helped=True)
        return larger if larger.search.expected > SURE and _clarity(larger) > _clarity(look) else look

    def at_scales(self, sought: Sought, turn: Turn) -> Look:
        """Return the object around a stroke that tells no size: the most promising one in boxes of many sizes."""
        looks: list[Look] = []
        for scale in range(SCALES):
            margins = [int(LEAST_MARGIN * 2**scale / step) for step in self.steps]
            start = widened(sought.new.box, margins, turn.shape)
            looks.append(self.around(sought, turn, start, helped=self._settings.network))
            if looks[-1].box == whole(turn.shape):
                break
        return max(looks, key=_promise)

    def around(self, sought: Sought, turn: Turn, box: Box, most: float = np.inf, helped: bool = False) -> Look:
        """Return the object by its strokes in `box`, which grows until the object ends in it.

        The network has its say where the object should be `helped`.
        """
        shape = turn.shape
        open_edges = np.zeros((len(shape), 2), bool)  # sides at which the object goes over the image's edge
        network = self.network() if helped else None
        grid = ALONE.learned_cells if helped else ALONE.cells
        search: Search | None = None
        for _ in range(MOST_GROWTHS):
            if search is None:
                search = self._search(sought, turn, box, most, open_edges, grid)
                if not sought.own:
                    alike = search.likeness
                    wider = _enlarged(box, alike > ALIKE, shape)
                    over = at_image_edge(box, shape) & (alike > ALIKE_EDGE) & ~open_edges
                    if wider != box or over.any():
                        box, open_edges, search = wider, open_edges | over, None
                        continue
            cells = search.solve(network)
            if not self._settings.islands:
                cells = touching(cells, search.known)
            larger = _grown(cells, box, open_edges, shape)
            if larger is None:
                break
            box, search = larger, None
        assert search is not None  # the last box was looked at
        return Look(box, search, search.contrast())

    def _search(
        self, sought: Sought, turn: Turn, box: Box, most: float, open_edges: np.ndarray, grid: tuple[int, int]
    ) -> Search:
        edges, frame = open_edges.tobytes(), np.where(open_edges, OVER, at_image_edge(box, turn.shape))
        known = sought.searches.setdefault((*((s.start, s.stop) for s in box), grid), {})
        if edges in known:
            return known[edges].limited(most)
        first = next(iter(known.values()), None)
        search = first.framed(frame, most) if first else self._new_search(sought, turn, box, most, frame, grid)
        known[edges] = search
        return search

    def _new_search(
        self, sought: Sought, turn: Turn, box: Box, most: float, frame: np.ndarray, grid: tuple[int, int]
    ) -> Search:
        k, new, own, others = sought.k, sought.new, sought.own, sought.others
        shape = tuple(s.stop - s.start for s in box)

        here = partial(lazy, box=box)

        def locked(part: Box) -> np.ndarray:
            return np.asarray(turn.locked[part] > 0)

        marks = turn.scribbles[new.box]
        pushes = []
        for to_object, chosen in ((True, marks == k + 1), (False, (marks > 0) & (marks != k + 1))):
            seeds = Voxels.found(new.box, new.inside & chosen)
            if own and seeds:
                open_ = partial(beside if to_object else Voxels.within, own)
                pushes.append(Push(here(seeds.within, seeds.box), to_object, count_of(seeds, open_, box, self.steps)))
        image = Lazy((self._channels, *shape), lambda part: self._intensities.inside(outer(part[1:], box)), None)
        if sought.core is None:
            mask = here(lambda part: own.within(part) | others.within(part), turn.extents.get(k))
            apart = {"held": here(others.within, others.box), "closed": here(locked, turn.taken)}
        else:
            mask = here(own.within, own.box)
            apart = {
                "closed": here(
                    lambda part: locked(part) | others.within(part), union(turn.taken, others.box if others else None)
                )
            }
        strokes = here(lambda part: signs(turn.scribbles[part], k + 1), turn.painted)
        problem = self.problem(image, strokes, mask, **apart, frame=frame, pushes=pushes, core=sought.core, most=most)
        energy, told = self.smoothed(ALONE), sought.told
        learned = energy.learned * self._settings.network
        energy = replace(energy, memory=energy.memory * told, anew=told < 1, cells=grid, learned=learned)
        return Search(problem, energy)

    def network(self) -> Network:
        """Return the network that ships with the package."""
        from napari_medseg.refinement.stroke_network import bundled  # brings torch

        return partial(bundled, precision=self._settings.precision)


def _clarity(look: Look) -> float:
    """Return how clear an object is: the overlap that a network expects times its contrast."""
    return float((look.search.expected or 1.0) * look.search.least_contrast())


def _promise(look: Look) -> float:
    """Return how good an object around a stroke that tells no size is: how clear, times a power of its length.

    The length, of which `LARGE` is the power, has a say because a small part of an object may have as much contrast.
    """
    length = max(1.0, look.search.volume) ** (1 / len(look.box))
    return _clarity(look) * float(length**LARGE)


def _grown(cells: np.ndarray, box: Box, open_edges: np.ndarray, shape: tuple[int, ...]) -> Box | None:
    """Return a larger box where an object, bool (*cells) of `box`, comes to its edge, ``None`` where it does not.

    An edge of the image over which the object goes is noted in `open_edges`, in place.
    """
    touched = np.zeros((len(box), 2), bool)
    for axis, n in enumerate(cells.shape):
        lead = (slice(None),) * axis
        if n > THIN:
            touched[axis] = cells[(*lead, slice(AT_EDGE))].any(), cells[(*lead, slice(-AT_EDGE, None))].any()
    over = touched & at_image_edge(box, shape) & ~open_edges
    open_edges |= over
    wider = _enlarged(box, touched, shape)
    return wider if over.any() or wider != box else None


def _enlarged(box: Box, sides: np.ndarray, shape: tuple[int, ...]) -> Box:
    """Return `box` grown at the chosen `sides`, bool (ndim, 2), as far as `shape` goes."""
    grown = []
    for s, n, (low, high) in zip(box, shape, sides, strict=True):
        more = max(LEAST_MARGIN, int(GROWTH * (s.stop - s.start)))
        grown.append(slice(max(0, s.start - more * int(low)), min(n, s.stop + more * int(high))))
    return tuple(grown)
