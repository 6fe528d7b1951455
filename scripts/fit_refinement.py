"""Find the constants of the refinement on half of the local data: ``python scripts/fit_refinement.py --data FOLDER``.

A sweep takes hours; ``--only`` and ``--cases`` make it shorter. One constant after another is tried at a few values
around its present one; a value is kept when the mean Dice over the groups, the first five strokes and the starts it
concerns rises by more than `GAIN`. A network has its say, so only pictures count that did not train it. The other
half of the data (``python -m benchmarks scribbles``) is never looked at. What is printed last goes into
`napari_medseg.refinement` (`seek`, `geodesic_engine`, `reach`, `slices`) and `napari_medseg.graphcut.energy`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.scribbles import DATA, REAL, STARTS, Case, carried, cases, ours, rounds
from napari_medseg.graphcut import energy
from napari_medseg.refinement import geodesic_engine as engine
from napari_medseg.refinement import reach, seek, slices

GAIN = 0.0005
FALL = 0.01  # a round that costs more Dice than this counts as one that got worse
DISLIKE = 0.1  # how much Dice a share of rounds that got worse is worth
STROKES = 5
FACTORS = (0.7, 1.4)
ALONE, GIVEN, CARRY = ("nothing",), ("half", "too much"), ("carried on",)
SHORT = ("nothing, line", "nothing, dot", "nothing, thick")  # and by which strokes
CONSTANTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # starts, and the constants that matter there
    "ALONE": (
        ALONE,
        (
            "distance",
            "most_distance",
            "smooth",
            "memory",
            "push",
            "most_push",
            "border",
            "blur",
            "learned",
            "others",
            "soft",
        ),
    ),
    "GIVEN": (GIVEN, ("distance", "most_distance", "fine", "smooth", "push", "most_push", "border", "blur")),
    "engine alone": (ALONE, ("TOLD", "MARGIN", "BESIDE")),
    "seek alone": (ALONE, ("CLEARER", "TRUSTED", "SURE", "LEAST_MARGIN", "ALIKE", "ALIKE_EDGE", "GROWTH", "FARTHER")),
    "reach": (ALONE, ("HAND", "ACROSS", "SPAN", "FAR")),
    "reach of short strokes": (SHORT, ("SHORT",)),
    "seek of short strokes": (SHORT, ("SCALES", "LARGE")),
    "engine given": (
        GIVEN,
        (
            "ZONE",
            "SLACK",
            "MOST_OF_MASK",
            "SHALLOW",
            "AT_LIMIT",
            "CORE",
            "SURE_OF_GIVEN",
            "GIVEN_MARGIN",
        ),
    ),
    "energy": (ALONE, ("OVERRULED", "JOINED", "FLAT", "MOST_LEARNED", "CLEAR", "LOOSE")),
    "energy both": (tuple(STARTS), ("NEAR",)),
    "CARRY": (CARRY, ("distance", "most_distance", "fine", "smooth", "memory", "border")),
    "slices": (CARRY, ("CORE", "DOUBTED", "AROUND", "LEAST_AROUND", "LOST", "KIN")),
}


def score(chosen: Sequence[Case], starts: Sequence[str]) -> float:
    """Return the mean Dice over groups, starts and strokes, less what rounds that got worse cost."""
    if starts == CARRY:
        volumes = [case for case in chosen if case.truth.ndim == 3]
        groups = dict.fromkeys(case.group for case in volumes)
        return statistics.mean(statistics.mean(carried(c) for c in volumes if c.group == group) for group in groups)
    means, falls = [], []
    for group in dict.fromkeys(case.group for case in chosen):
        values = []
        for case in chosen:
            if case.group == group:
                for start in starts:
                    name, _, kind = start.partition(", ")
                    given = STARTS[name](case.truth)
                    found = rounds(case, given, STROKES, ours(case, given), kind or "line").scores
                    values.append(statistics.mean(found[1:]))
                    falls += [after < before - FALL for before, after in pairwise(found)]
        means.append(statistics.mean(values))
    return statistics.mean(means) - DISLIKE * statistics.mean(falls)


WEIGHTS = {"ALONE": seek, "GIVEN": engine, "CARRY": slices}  # where they are
MODULES = {"seek": seek, "reach": reach, "energy": energy, "slices": slices}
Value = float | tuple[float, ...]  # of pictures and of volumes, where they differ


def place(owner: str, name: str) -> tuple[Any, str, Value]:
    """Return the module that holds a constant, the name there, and the present value."""
    if owner in WEIGHTS:
        return WEIGHTS[owner], owner, getattr(getattr(WEIGHTS[owner], owner), name)
    module = MODULES.get(owner.split()[0], engine)
    return module, name, getattr(module, name)


def times(value: Value, factor: float) -> Value:
    """Return a constant times a factor; a whole number stays one."""
    if isinstance(value, tuple):
        return tuple(factor * one for one in value)
    return round(factor * value) if isinstance(value, int) else factor * value


def put(owner: str, name: str, value: Value) -> None:
    """Set a constant."""
    module, attribute, _ = place(owner, name)
    setattr(module, attribute, replace(getattr(module, attribute), **{name: value}) if owner in WEIGHTS else value)


def sweep(chosen: Sequence[Case], owners: Sequence[str]) -> Iterator[str]:
    """Try every constant once, keep what helps, and yield a line for each."""
    for owner in owners:
        starts, names = CONSTANTS[owner]
        best = score(chosen, starts)
        for name in names:
            present = place(owner, name)[2]
            kept = present
            for factor in FACTORS:
                put(owner, name, times(present, factor))
                found = score(chosen, starts)
                if found > best + GAIN:
                    best, kept = found, times(present, factor)
            put(owner, name, kept)
            yield f"{owner} {name}: {present} -> {kept} ({best:.4f})"


def main(argv: Sequence[str] | None = None) -> None:
    """Sweep over all constants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real data")
    parser.add_argument("--cases", type=int, default=6, help="cases of each group")
    parser.add_argument("--sweeps", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=list(CONSTANTS), choices=list(CONSTANTS))
    options = parser.parse_args(argv)
    chosen = list(cases(options.cases, "choose", groups=REAL, data=options.data))
    for _ in range(options.sweeps):
        for line in sweep(chosen, options.only):
            print(line, flush=True)


if __name__ == "__main__":
    main()
