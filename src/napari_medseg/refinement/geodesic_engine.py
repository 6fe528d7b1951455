"""The geodesic engine: a mask is the minimum of an energy of strokes, image and the mask so far.

An object that strokes alone have made is found anew with each stroke, all strokes and the mask so far having their
say, so that any stroke takes back whatever grew too far; a small network for objects of any kind helps there, unless
the border is clearer without it. Where a part was given (a proposal, a label map), strokes add to their class around
themselves, and farther where the network finds the same error and a clearer border; the rest stays. Either way the
engine depends on image, strokes and mask alone, and sees a region that grows while the answer touches its edge. A
stroke inside its own class changes nothing and guards what is there.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import numpy as np
from scipy import ndimage

from napari_medseg.graphcut.energy import Energy, Network, Search, minimise
from napari_medseg.graphcut.level import THIN
from napari_medseg.graphcut.problem import OVER, Array, Lazy, Problem, Push
from napari_medseg.image import Image
from napari_medseg.jobs import Job, Progress
from napari_medseg.refinement.boxes import (
    Box,
    Voxels,
    box_of,
    common,
    inner,
    outer,
    union,
    whole,
    widened,
)
from napari_medseg.refinement.engine import Answer, Engine, Known
from napari_medseg.refinement.reach import (
    at_image_edge,
    count_of,
    depth_of,
    each,
    is_short,
    margin_of,
    most_of,
)
from napari_medseg.refinement.settings import RefinementSettings
from napari_medseg.refinement.turn import Look, Sought, Turn, beside, lazy, signs, touching, wrong_strokes

ONLY_BACKGROUND = "Only background strokes: paint a foreground stroke too."
NO_STROKE = "All strokes are taken back. Paint one inside the object."
NO_BORDER = "No border was found: the object fills the image. Paint a background stroke where it should not be."

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
GIVEN = Energy(
    distance=1.15, most_distance=1.4, fine=0.35, smooth=0.5, memory=0.0, push=3.0, least_push=-3.0, most_push=3.0
)
MARGIN, LEAST_MARGIN = 1.5, 12  # of the region, in lengths of all strokes, and in voxels
# Boxes looked at around a short stroke, each twice as far as the one before, and how much a larger answer counts.
SCALES, LARGE = 6, 0.5
CLEARER = 1.5  # times as much contrast along its border: then an object is larger than its first stroke says
# Strokes that extend over less than TOLD of a mask's size have told little of it (a stroke that leaked, say): it counts
# less against new ones, and its appearance is first learnt from the strokes alone. Of a mask of which they have told
# enough, only pieces that new strokes touch change.
TOLD = 0.6
# The network is heard where it expects a Dice above SURE of an object that is not larger than it can be; elsewhere
# unless the object without it has a border of TRUSTED times the contrast.
TRUSTED, SURE = 1.05, 0.65
BESIDE = 3.0  # lengths of new strokes within which a piece of the mask counts as the same object
ALIKE = 0.8  # likeness of strokes and a face of the region above which the object is thought to go on there
ALIKE_EDGE = 0.75  # the same at an edge of the image: above it the object is thought to go over
GROWTH, MOST_GROWTHS = 0.5, 20  # of the region, in its own size
SLACK = 1.5  # voxels that a zone reaches farther
ZONE = 1.3  # depths of new strokes within which they may change what was given
MOST_OF_MASK = 0.8  # at most so much of a mask is changed by strokes
SHALLOW = 4.0  # weight of the mask so far against a stroke one voxel deep; it falls with the depth
AT_LIMIT = 0.02  # share of a change at the edge of its zone from which the zone grows
AT_EDGE = 2  # cells from a region's edge at which an answer touches it
ROUGH = 0.5  # cost of a border without smoothing
# Where a part was given, what lies deeper in it than CORE of its largest depth counts as drawn when the network is
# asked how a correction goes on; the box is GIVEN_MARGIN times the object's length larger, and the network is heard
# where it expects a Dice above SURE_OF_GIVEN.
CORE, GIVEN_MARGIN, SURE_OF_GIVEN = 0.5, 0.3, 0.8


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
        self, scribbles: np.ndarray, before: np.ndarray, mask: np.ndarray, given: np.ndarray, locked: np.ndarray,
        known: Known | None = None,
    ) -> Job[Answer]:  # fmt: skip
        """Return the labels for all scribbles; see `Engine.refine`."""
        start = time.perf_counter()
        yield Progress(0, 1, "geodesic distances")
        known = known or Known.of(scribbles, before, mask, given, locked)
        turn = Turn(scribbles, mask, mask.copy(), locked, known.mask, known.painted, known.taken)
        self._doubt = []
        if known.where is not None:
            for k, new in wrong_strokes(scribbles[known.where], before[known.where], mask[known.where]):
                strokes = Voxels.found(known.where, new)
                if k in known.given and (given[known.given[k]] == k).any():
                    mended = self._correct(k, turn, strokes)
                    if self._settings.network:
                        self._go_on(k, turn, strokes, mended)
                else:
                    self._alone(k, turn, strokes)
        filled = any(turn.labels[box].any() for box in turn.extents.values()) or bool((scribbles > 1).any())
        message = "" if filled else ONLY_BACKGROUND if bool((scribbles == 1).any()) else NO_STROKE
        if any(box == whole(turn.shape) and (turn.labels == k).all() for k, box in turn.extents.items()):
            message = NO_BORDER
        return Answer(turn.labels, {"geodesic": time.perf_counter() - start}, message, turn.changed)

    def uncertainty(self) -> np.ndarray | None:
        """Return how undecided each voxel was in the last round, float32 in [0, 1]."""
        if not self._doubt:
            return None
        out = np.zeros(self.image.spatial_shape, np.float32)
        for box, doubt in self._doubt:
            np.maximum(out[box], doubt, out=out[box])
        return out

    def _problem(self, features: Array, strokes: Array, mask: Array, **more: object) -> Problem:
        settings = self._settings
        cost = {"weight": settings.weight, "metric": settings.metric, "engine": settings.distance_engine}
        return Problem(features, self._steps, strokes, mask, **cost, **more)  # type: ignore[arg-type]

    def _smoothed(self, energy: Energy) -> Energy:
        return energy if self._settings.crf else replace(energy, border=ROUGH)

    # ---- an object that strokes alone have made
    def _alone(self, k: int, turn: Turn, new: Voxels) -> None:
        """Find class `k` anew around the strokes `new`."""
        sought, core = self._same_object(k, turn, new)
        painted = box_of(turn.scribbles[core] == k + 1)
        if painted is None:
            turn.write(new.box, new.inside & (turn.labels[new.box] == k), 0)
            return
        if not sought.own and is_short(new, self._steps):
            self._keep(sought, turn, self._at_scales(sought, turn))
            return
        length = max((s.stop - s.start) * step for s, step in zip(painted, self._steps, strict=True))
        beyond = max(margin_of(stroke, self._steps) for stroke in each(new))
        margin = max(LEAST_MARGIN, MARGIN * length, beyond)
        most = np.inf if sought.own else most_of(new, self._steps, turn.shape)
        margins = [int(margin / step) for step in self._steps]
        start = widened(core, margins, turn.shape)
        self._keep(sought, turn, self._look(sought, turn, start, most))

    def _look(self, sought: Sought, turn: Turn, box: Box, most: float) -> Look:
        """Return the object around `box`, by the network too where that is sure or no border is clearer without it."""
        ask, helped = self._settings.network, None
        if ask and most == np.inf:
            helped = self._around(sought, turn, box, helped=True)
            if helped.search.expected > SURE:
                return helped
        look = self._around(sought, turn, box, most)
        if most < np.inf:
            larger = self._around(sought, turn, box)
            if larger.contrast > CLEARER * look.contrast:
                look, most = larger, np.inf
        if ask:
            helped = helped or self._around(sought, turn, look.box, most, helped=True)
            sure = helped.search.expected > SURE and helped.search.volume <= most
            if sure or look.contrast < TRUSTED * helped.contrast:
                return helped
        return look

    def _at_scales(self, sought: Sought, turn: Turn) -> Look:
        """Return the object around a stroke that tells no size: the most promising one in boxes of many sizes."""
        looks: list[Look] = []
        for scale in range(SCALES):
            margins = [int(LEAST_MARGIN * 2**scale / step) for step in self._steps]
            start = widened(sought.new.box, margins, turn.shape)
            looks.append(self._around(sought, turn, start, helped=self._settings.network))
            if looks[-1].box == whole(turn.shape):
                break
        return max(looks, key=_promise)

    def _keep(self, sought: Sought, turn: Turn, look: Look) -> None:
        """Write the object that was found into the labels."""
        found = look.search.refined()
        here = None if found is None else outer(found.box, look.box)
        box = union(here, common(sought.own.box, look.box))
        if found is None or here is None:
            self._doubt.append(((slice(0, 0),) * len(turn.shape), np.zeros((0,) * len(turn.shape), np.float32)))
        else:
            self._doubt.append((here, found.doubt))
        if box is None:
            return
        box = common(widened(box, [1] * len(box), turn.shape), look.box) or box  # a voxel more: what a piece touches
        others = sought.others.within(box)
        kept, before = others.copy(), turn.labels[box] == sought.k
        if found is not None and here is not None:
            kept[inner(here, box)] = found.labels
        if sought.own and sought.told == 1:
            kept = before ^ touching(kept ^ before, sought.new.within(box))
        if not self._settings.islands:
            kept = touching(kept, (turn.scribbles[box] == sought.k + 1) | others)
        turn.write(box, before & ~kept, 0)
        turn.write(box, kept, sought.k)

    def _around(self, sought: Sought, turn: Turn, box: Box, most: float = np.inf, helped: bool = False) -> Look:
        """Return the object by its strokes in `box`, which grows until the object ends in it.

        The network has its say where the object should be `helped`.
        """
        shape = turn.shape
        open_edges = np.zeros((len(shape), 2), bool)  # sides at which the object goes over the image's edge
        network = self._network() if helped else None
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
                pushes.append(Push(here(seeds.within, seeds.box), to_object, count_of(seeds, open_, box, self._steps)))
        image = Lazy((self.image.n_channels, *shape), lambda part: self.intensities.inside(outer(part[1:], box)), None)
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
        problem = self._problem(image, strokes, mask, **apart, frame=frame, pushes=pushes, core=sought.core, most=most)
        energy, told = self._smoothed(ALONE), sought.told
        learned = energy.learned * self._settings.network
        energy = replace(energy, memory=energy.memory * told, anew=told < 1, cells=grid, learned=learned)
        return Search(problem, energy)

    def _told(self, own: Voxels, scribbles: np.ndarray, k: int) -> float:
        """Return how much strokes have told of a mask, from 0 to 1: by their extent for its size, in `TOLD`."""
        drawn = box_of((scribbles[own.box] == k + 1) & own.inside)
        if drawn is None:
            return 1.0
        length = float(np.linalg.norm([(s.stop - s.start) * step for s, step in zip(drawn, self._steps, strict=True)]))
        size = float(np.count_nonzero(own.inside) * np.prod(self._steps))
        return min(1.0, length / (TOLD * float(size ** (1 / scribbles.ndim))))

    def _network(self) -> Network:
        from napari_medseg.refinement.stroke_network import bundled  # brings torch

        return partial(bundled, precision=self._settings.precision)

    def _same_object(self, k: int, turn: Turn, new: Voxels, at: Voxels | None = None) -> tuple[Sought, Box]:
        """Return class `k` as it belongs to the strokes `new`, piece by piece, and the box of both.

        Pieces belong to them that have a voxel of `at`, or without that lie beside them.
        """
        have, core = turn.of_class(k), new.box
        if not have:
            return Sought(k, new, have, have, 1.0), core
        length = max((s.stop - s.start) * step for s, step in zip(core, self._steps, strict=True))
        near = at.box if at else widened(core, [int(BESIDE * length / step) for step in self._steps], turn.shape)
        beside = common(near, have.box)
        pieces, count = ndimage.label(have.inside, np.ones((3,) * len(core)))
        chosen = np.zeros(count + 1, bool)
        if beside is not None:
            chosen[pieces[inner(beside, have.box)][at.within(beside) if at else ...]] = True
        chosen[0] = False
        same = chosen[pieces]
        own, others = Voxels.found(have.box, same), Voxels.found(have.box, have.inside & ~same)
        told = self._told(own, turn.scribbles, k)
        return Sought(k, new, own, others, told), union(core, own.box if own else None) or core

    # ---- a mask of which a part was given
    def _correct(self, k: int, turn: Turn, new: Voxels) -> Box:
        """Let the strokes `new` take class `k` away, then add to it; return the box of what changed and the strokes."""
        changed = new.box
        for gain in (False, True):
            right = (turn.scribbles[new.box] == k + 1) == gain
            seeds = Voxels.found(new.box, new.inside & right & ((turn.labels[new.box] == k) != gain))
            for stroke in each(seeds):  # each with its own depth, as if drawn in a round of its own
                wrong = Voxels.found(stroke.box, stroke.inside & ((turn.labels[stroke.box] == k) != gain))
                if wrong:
                    box, found = self._gained(k, gain, turn, wrong)
                    turn.write(box, found, k if gain else 0)
                    changed = union(changed, box) or box
        return changed

    def _gained(self, k: int, gain: bool, turn: Turn, new: Voxels) -> tuple[Box, np.ndarray]:
        """Return a box and the voxels in it, bool, that class `k` gains (or loses) by the strokes `new`."""

        def error(box: Box) -> np.ndarray:
            return np.asarray((turn.labels[box] == k) != gain)

        everywhere = whole(turn.shape)
        depth = max(depth_of(stroke, error, everywhere, self._steps) for stroke in each(new))
        most = MOST_OF_MASK * float(np.count_nonzero(turn.of_class(k).inside))
        zone = ZONE * depth + SLACK
        for _ in range(MOST_GROWTHS):
            box = widened(new.box, [int(zone / step) + 3 for step in self._steps], turn.shape)
            seeds, own = new.within(box), ~error(box)
            away = ndimage.distance_transform_edt(~seeds, self._steps)
            count = min(float(np.count_nonzero(~own & (away <= depth))), most)
            marks, others = turn.scribbles[box], gain & (turn.labels[box] > 0)  # others give way near strokes alone
            strokes = np.where(marks > 0, np.where((marks == k + 1) == gain, 1, -1), 0).astype(np.int8)
            problem = self._problem(
                self.intensities.inside(box), strokes, own, held=own | (away > np.where(others, depth, zone)),
                closed=turn.locked[box] > 0, pushes=[Push(seeds, True, count)],
            )  # fmt: skip
            energy = replace(GIVEN, memory=SHALLOW / max(depth, 1.0))
            minimum = minimise(problem, self._smoothed(energy))
            found = touching(minimum.labels & ~own, seeds)
            if np.count_nonzero(found & (away > zone - 1)) <= AT_LIMIT * np.count_nonzero(found):
                break
            zone *= 1 + GROWTH
        self._doubt.append((box, minimum.doubt))
        return box, found

    def _go_on(self, k: int, turn: Turn, new: Voxels, mended: Box) -> None:
        """Let a correction by the strokes `new`, which changed the box `mended`, go on as the network sees the object.

        What changes touches what was mended, and has a border of more contrast then.
        """
        around = widened(mended, [1] * len(mended), turn.shape)
        changed = new.within(around) | ((turn.mask[around] == k) != (turn.labels[around] == k))
        touched = Voxels.found(around, ndimage.binary_dilation(changed, np.ones((3,) * len(around))))
        sought, core = self._same_object(k, turn, new, touched)
        if not sought.own:
            return
        sought.told, sought.core = 1.0, CORE
        length = max((s.stop - s.start) * step for s, step in zip(core, self._steps, strict=True))
        margins = [int(max(LEAST_MARGIN, GIVEN_MARGIN * length) / step) for step in self._steps]
        look = self._around(sought, turn, widened(core, margins, turn.shape), helped=True)
        found = look.search.refined() if look.search.expected > SURE_OF_GIVEN else None
        if found is None:
            return
        here, marks = outer(found.box, look.box), turn.scribbles[new.box] == k + 1
        for gain in (False, True):
            drawn = Voxels.found(new.box, new.inside & (marks == gain))
            if not drawn:
                continue
            changed = drawn.within(mended) | (((turn.mask[mended] == k) != gain) & ((turn.labels[mended] == k) == gain))
            seeds = Voxels.found(mended, changed)
            cells = look.search.clearer(gain, lazy(seeds.within, seeds.box, look.box))
            wrong = found.labels & (turn.labels[here] == 0) if gain else sought.own.within(here) & ~found.labels
            turn.write(here, wrong & look.search.voxels(cells, found.box), k if gain else 0)


def _promise(look: Look) -> float:
    """Return how good an object around a stroke is: the overlap that a network expects, its contrast and its length.

    The length, of which `LARGE` is the power, has a say because a small part of an object may have as much contrast.
    """
    length = max(1.0, look.search.volume) ** (1 / len(look.box))
    return float((look.search.expected or 1.0) * look.search.least_contrast() * length**LARGE)


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
