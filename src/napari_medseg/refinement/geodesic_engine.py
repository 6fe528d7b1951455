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

import numpy as np
from scipy import ndimage

from napari_medseg.graphcut.energy import Energy, minimise
from napari_medseg.graphcut.problem import Push
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
    depth_of,
    each,
    is_short,
    margin_of,
    most_of,
)
from napari_medseg.refinement.seek import LEAST_MARGIN, MOST_GROWTHS, Seeker
from napari_medseg.refinement.settings import RefinementSettings
from napari_medseg.refinement.turn import Look, Sought, Turn, lazy, touching, wrong_strokes

ONLY_BACKGROUND = "Only background strokes: paint a foreground stroke too."
NO_STROKE = "All strokes are taken back. Paint one inside the object."
NO_BORDER = "No border was found: the object fills the image. Paint a background stroke where it should not be."

# found on the fit half of `benchmarks scribbles`; scripts/fit_refinement.py varies them
GIVEN = Energy(
    distance=1.15, most_distance=1.4, fine=0.35, smooth=0.5, memory=0.0, push=3.0, least_push=-3.0, most_push=3.0
)
MARGIN = 1.5  # of the region around an object, in lengths of all strokes
# Strokes that extend over less than TOLD of a mask's size have told little of it (a stroke that leaked, say): it counts
# less against new ones, and its appearance is first learnt from the strokes alone. Of a mask of which they have told
# enough, only pieces that new strokes touch change.
TOLD = 0.6
BESIDE = 3.0  # lengths of new strokes within which a piece of the mask counts as the same object
SLACK = 1.5  # voxels that a zone reaches farther
ZONE, ZONE_GROWTH = 1.3, 0.5  # depths of new strokes within which they may change what was given; it grows in its size
MOST_OF_MASK = 0.8  # at most so much of a mask is changed by strokes
SHALLOW = 4.0  # weight of the mask so far against a stroke one voxel deep; it falls with the depth
AT_LIMIT = 0.02  # share of a change at the edge of its zone from which the zone grows
# Where a part was given, what lies deeper in it than CORE of its largest depth counts as drawn when the network is
# asked how a correction goes on; the box is GIVEN_MARGIN times the object's length larger, and the network is heard
# where it expects a Dice above SURE_OF_GIVEN.
CORE, GIVEN_MARGIN, SURE_OF_GIVEN = 0.5, 0.3, 0.8


class GeodesicEngine(Engine):
    """Finds masks of anything, by strokes; it keeps nothing between rounds.

    Attributes
    ----------
    seek
        Looks for an object around its strokes.
    """

    def __init__(self, image: Image, settings: RefinementSettings) -> None:
        super().__init__(image)
        self._settings = settings
        self.seek = Seeker(image, self.intensities, settings)
        self._steps = self.seek.steps
        self._doubt: list[tuple[Box, np.ndarray]] = []

    def prepare(self) -> None:
        """Find the range of intensities and load the compiled kernels, so that the first stroke answers at once."""
        self.seek.prepare(self.image.spatial_shape)

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

    # ---- an object that strokes alone have made
    def _alone(self, k: int, turn: Turn, new: Voxels) -> None:
        """Find class `k` anew around the strokes `new`."""
        sought, core = self._same_object(k, turn, new)
        painted = box_of(turn.scribbles[core] == k + 1)
        if painted is None:
            turn.write(new.box, new.inside & (turn.labels[new.box] == k), 0)
            return
        if not sought.own and is_short(new, self._steps):
            self._keep(sought, turn, self.seek.at_scales(sought, turn))
            return
        length = max((s.stop - s.start) * step for s, step in zip(painted, self._steps, strict=True))
        beyond = max(margin_of(stroke, self._steps) for stroke in each(new))
        margin = max(LEAST_MARGIN, MARGIN * length, beyond)
        most = np.inf if sought.own else most_of(new, self._steps, turn.shape)
        margins = [int(margin / step) for step in self._steps]
        start = widened(core, margins, turn.shape)
        self._keep(sought, turn, self.seek.best(sought, turn, start, most))

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

    def _told(self, own: Voxels, scribbles: np.ndarray, k: int) -> float:
        """Return how much strokes have told of a mask, from 0 to 1: by their extent for its size, in `TOLD`."""
        drawn = box_of((scribbles[own.box] == k + 1) & own.inside)
        if drawn is None:
            return 1.0
        length = float(np.linalg.norm([(s.stop - s.start) * step for s, step in zip(drawn, self._steps, strict=True)]))
        size = float(np.count_nonzero(own.inside) * np.prod(self._steps))
        return min(1.0, length / (TOLD * float(size ** (1 / scribbles.ndim))))

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
            problem = self.seek.problem(
                self.intensities.inside(box), strokes, own, held=own | (away > np.where(others, depth, zone)),
                closed=turn.locked[box] > 0, pushes=[Push(seeds, True, count)],
            )  # fmt: skip
            energy = replace(GIVEN, memory=SHALLOW / max(depth, 1.0))
            minimum = minimise(problem, self.seek.smoothed(energy))
            found = touching(minimum.labels & ~own, seeds)
            if np.count_nonzero(found & (away > zone - 1)) <= AT_LIMIT * np.count_nonzero(found):
                break
            zone *= 1 + ZONE_GROWTH
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
        look = self.seek.around(sought, turn, widened(core, margins, turn.shape), helped=True)
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
