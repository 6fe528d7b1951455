"""Does the look of objects on earlier pictures help on the next: ``python scripts/try_lessons.py --data FOLDER``.

One object of each picture of a group is refined from nothing, by the user of ``benchmarks/scribbles.py``; what comes
of six strokes is learnt: the histograms of object and surroundings on the coarsest grid. On the next picture the
log-odds of the mean histograms of all pictures before enter the energy as one more term. What it gave, and why it is no
part of the engine, is in ``docs/benchmarks/refine-choices.md``. Only the half ``choose`` is looked at.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.scribbles import DATA, Case, cases, ours, rounds
from napari_medseg.graphcut.appearance import FLOOR, MOST_ODDS, Appearance
from napari_medseg.graphcut.energy import Search
from napari_medseg.graphcut.pyramid import block_mean, block_sizes
from napari_medseg.refinement.boxes import box_of, widened
from napari_medseg.refinement.intensities import Intensities
from napari_medseg.refinement.seek import ALONE

AROUND = 0.75  # lengths of an object around it that count as its surroundings
STROKES, TAUGHT = 5, 6  # of the user, on the next picture and on the one that teaches
NOTABLE = 0.01  # mean Dice by which a picture counts as better or worse
SIGNS = {"both": (-MOST_ODDS, MOST_ODDS), "for": (0.0, MOST_ODDS), "against": (-MOST_ODDS, 0.0)}


class Lesson(NamedTuple):
    """Densities of the intensities of an object and of its surroundings, as `Appearance` has them."""

    ours: np.ndarray
    theirs: np.ndarray


class Use(NamedTuple):
    """How lessons are used: weight, which odds count, and what else scales the term."""

    weight: float
    sign: str
    gate: str


def learn(case: Case, mask: np.ndarray) -> Lesson:
    """Return what an object (bool, *spatial) looks like against its surroundings."""
    steps = np.asarray(case.image.scale) / min(case.image.scale)
    core = box_of(mask)
    assert core is not None  # six strokes found something
    length = max((s.stop - s.start) * step for s, step in zip(core, steps, strict=True))
    box = widened(core, [int(AROUND * length / step) for step in steps], mask.shape)
    image = Intensities(case.image).inside(box)
    factors = block_sizes(image.shape[1:], tuple(steps), ALONE.cells[mask.ndim - 2])
    look = Appearance(np.stack([ndimage.gaussian_filter(block_mean(c, factors), ALONE.blur) for c in image]))
    cells = block_mean(mask[box], factors) > 0.5
    ours_, theirs = look._density([cells]), look._density([~cells])
    assert ours_ is not None
    assert theirs is not None
    return Lesson(ours_, theirs)


class Taught(Search):
    """A search that knows lessons."""

    lessons: Sequence[Lesson] = ()
    use = Use(0.0, "both", "none")

    @cached_property
    def _fixed(self) -> np.ndarray:
        fixed, look = super()._fixed, self._smooth
        known = [one for one in self.lessons if one.ours.size == look.levels**look.channels]
        if not known or self._energy.learned == 0:  # lessons are of objects that strokes alone make
            return fixed
        mean = Lesson(*(np.mean(densities, 0) for densities in zip(*known, strict=True)))
        odds = np.clip(np.log(mean.ours + FLOOR) - np.log(mean.theirs + FLOOR), *SIGNS[self.use.sign])[look.codes]
        return np.asarray(fixed + np.float32(self.use.weight * self._share(mean, odds)) * odds.astype(np.float32))

    def _share(self, mean: Lesson, odds: np.ndarray) -> float:
        """Return from 0 to 1 how much of the term counts."""
        if self.use.gate == "apart":  # how far the two densities are apart
            return 1 - float(np.minimum(mean.ours, mean.theirs).mean())
        if self.use.gate == "strokes":  # whether strokes look as was learnt
            ours_, theirs = (odds[part] for part in (self._level.object, self._level.background))
            inside = float(ours_.mean()) if ours_.size else 0.0
            return float(np.clip(min(inside, (inside - (theirs.mean() if theirs.size else -inside)) / 2), 0, 1))
        return 1.0


def play(case: Case, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Dice after each of `count` strokes from nothing, and the last mask."""
    start, last = np.zeros(case.truth.shape, np.uint8), []
    tool = ours(case, start)

    def keep(marks: np.ndarray) -> np.ndarray:
        last[:] = [tool(marks)]
        return last[0]

    return np.array(rounds(case, start, count, keep).scores[1:]), last[0]


def main(argv: Sequence[str] | None = None) -> None:
    """Print for each group what lessons change."""
    from napari_medseg.refinement import seek

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--cases", type=int, default=8, help="pictures of each group")
    parser.add_argument("--group", nargs="+", default=["nuclei", "glands", "nerves", "hippocampus"])
    parser.add_argument("--weight", type=float, nargs="+", default=[0.3])
    parser.add_argument("--sign", nargs="+", choices=list(SIGNS), default=["for"])
    parser.add_argument("--gate", nargs="+", choices=["none", "strokes", "apart"], default=["none"])
    options = parser.parse_args(argv)
    seek.Search = Taught  # type: ignore[misc]
    uses = [Use(w, sign, gate) for w in options.weight for sign in options.sign for gate in options.gate]
    print(
        f"| data | term | Dice without | change after {STROKES} strokes each | mean | better | worse |\n{'|---' * 7}|"
    )
    for group in options.group:
        whole = group != "hippocampus"
        found = list(cases(options.cases, "choose", whole=whole, groups=[group], data=options.data))
        if len(found) < 2:
            print(f"| {group} | at least two pictures are needed{' |' * 6}")
            continue
        Taught.lessons = ()
        first = [play(case, TAUGHT) for case in found]
        lessons = [learn(case, mask) for case, (_, mask) in zip(found, first, strict=True)]
        without = np.array([scores[:STROKES] for scores, _ in first[1:]])
        for Taught.use in uses:
            scores = []
            for k, case in enumerate(found[1:], 1):
                Taught.lessons = lessons[:k]
                scores.append(play(case, STROKES)[0])
            change = np.array(scores) - without
            each = change.mean(1)
            cells = [group, " ".join(map(str, Taught.use)), f"{without.mean():.3f}"]
            cells += [" ".join(f"{value:+.3f}" for value in change.mean(0)), f"{each.mean():+.4f}"]
            counts = [int((each > NOTABLE).sum()), int((each < -NOTABLE).sum())]
            print(f"| {' | '.join([*cells, *map(str, counts)])} |", flush=True)


if __name__ == "__main__":
    main()
