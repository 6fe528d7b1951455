"""How fast strokes mend a mask, without a network: ``python -m benchmarks scribbles``.

A simulated user looks at the largest connected error of the mask, goes to the slice through its middle, and paints there
one straight stroke over the middle two thirds of the error's longest width, at most 40 voxels long (brush radius 1), inside
the true class. Each stroke is one round of the geodesic engine. Starts: nothing; half of the object (cut through its middle); too much (the object grown by an eighth of its
radius, and a ball of half its radius stuck to its border). Private data beside the repository are left out where they
are absent. "Worse" counts the rounds that cost more than 0.01 of Dice.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks import header
from napari_medseg.image import Image
from napari_medseg.io import read_one
from napari_medseg.jobs import run
from napari_medseg.refinement import RefinementSession, RefinementSettings
from napari_medseg.samples.mri import brain_volume, slice_2d

SHARED = Path(__file__).resolve().parents[1] / "../shared/data"
SHOWN = (0, 1, 3, 5, 10)
SHARE, HALF_LENGTH, BRUSH, SMALLEST, WORSE = 2 / 3, 20, 1, 6, 0.01


@dataclass(frozen=True)
class Case:
    """An image and the object wanted in it, bool (*spatial)."""

    group: str
    image: Image
    truth: np.ndarray


def cases(count: int, skip: int = 0) -> Iterator[Case]:
    """Yield up to `count` cases of each group, but for the first `skip`."""
    for seed in range(skip, skip + count):
        image, truth = slice_2d(seed)
        yield Case("generated slices 160x160", image, np.asarray(truth.data) > 0)
    for seed in range(skip, skip + count):
        image, truth = brain_volume(seed)
        yield Case("generated volumes 48x64x56", image, np.asarray(truth.data) > 0)
    folder = SHARED / "mri/hippocampus"
    for path in sorted((folder / "images").glob("*.nii.gz"))[skip : skip + count]:
        labels = read_one(folder / "labels" / path.name, kind="labels")
        yield Case("hippocampus, T1 volumes", read_one(path), np.asarray(labels.data) > 0)
    for folder in sorted((SHARED / "mri/brats2013").glob("brats*"))[skip : skip + count]:
        tumour = largest(np.asarray(read_one(folder / "OTMultiClass.nii.gz", kind="labels").data) > 0)
        flair = read_one(folder / "Flair_subtrMeanDivStd.nii.gz")
        yield crop(Case("brats2013, FLAIR, whole tumour", flair, tumour), 24)
    yield from pictures("nuclei, stained (dsb2018)", SHARED / "histology/dsb2018_stained", "labels", count, skip)
    yield from pictures("nerves, ultrasound", SHARED / "nerve/ultrasound", "masks", count, skip)


def pictures(group: str, folder: Path, labels: str, count: int, skip: int) -> Iterator[Case]:
    """Yield the largest object of every third picture of a folder, with its surroundings."""
    for path in sorted(p for p in (folder / "images").glob("*") if p.is_file())[::3][skip : skip + count]:
        found = next((folder / labels).glob(f"{path.stem}*"), None)
        values = np.zeros(0) if found is None else np.asarray(read_one(found, kind="labels").data)
        if labels == "masks":
            values = ndimage.label(values == 1)[0]
        if not values.any():
            continue
        sizes = np.bincount(values.ravel())
        sizes[0] = 0
        yield crop(Case(group, read_one(path), values == sizes.argmax()), 80)


def largest(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected piece."""
    pieces, count = ndimage.label(mask)
    return np.asarray(pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()) if count else mask


def crop(case: Case, margin: int) -> Case:
    """Cut image and object to the object's box and `margin` voxels around it."""
    found = ndimage.find_objects(case.truth.astype(np.uint8))[0]
    box = tuple(slice(max(0, s.start - margin), s.stop + margin) for s in found)
    data = np.asarray(case.image.channels_first())[(slice(None), *box)]
    axes = ("C" if "C" in case.image.axes else "") + case.image.spatial_axes
    image = case.image.replace(data=data if "C" in axes else data[0], axes=axes, affine=None)
    return Case(case.group, image, case.truth[box])


# ---- starts
def nothing(truth: np.ndarray) -> np.ndarray:
    """Return an empty mask."""
    return np.zeros(truth.shape, np.uint8)


def half(truth: np.ndarray) -> np.ndarray:
    """Return the part of the object on one side of a plane through its middle, across its longest axis."""
    points = np.argwhere(truth)
    centred = points - points.mean(0)
    axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    out = nothing(truth)
    out[tuple(points[centred @ axis < 0].T)] = 1
    return out


def too_much(truth: np.ndarray) -> np.ndarray:
    """Return the object grown by an eighth of its radius, with a ball of half its radius on its border."""
    outside = ndimage.distance_transform_edt(~truth)
    radius = (truth.sum() * (0.75 if truth.ndim == 3 else 1) / np.pi) ** (1 / truth.ndim)
    points = np.argwhere((outside > 0) & (outside <= 1.5))
    place = points[np.argmax((points - points.mean(0)) @ np.arange(1, truth.ndim + 1))]
    away = np.sqrt(((np.indices(truth.shape).T - place) ** 2).sum(-1)).T
    return np.asarray((outside <= max(1.0, radius / 8)) | (away <= radius / 2), np.uint8)


STARTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"nothing": nothing, "half": half, "too much": too_much}


# ---- the user
def stroke(truth: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """Return scribbles (uint8: 1 background, 2 foreground) of one stroke on the largest error, ``None`` at the end."""
    best, size, value = None, SMALLEST - 1, False
    for kind in (True, False):
        pieces, count = ndimage.label((truth == kind) & ((mask > 0) != kind), np.ones((3,) * truth.ndim))
        sizes = np.bincount(pieces.ravel(), minlength=2)[1:]
        if count and sizes.max() > size:
            best, size, value = pieces == 1 + sizes.argmax(), int(sizes.max()), kind
    if best is None:
        return None
    depth = ndimage.distance_transform_edt(np.pad(best, 1))[(slice(1, -1),) * truth.ndim]
    middle = np.unravel_index(int(depth.argmax()), depth.shape)
    plane, scribbles = tuple(middle[:-2]), np.zeros(truth.shape, np.uint8)
    line = longest_run(best[plane], (int(middle[-2]), int(middle[-1])))
    brush = ndimage.binary_dilation(line, np.ones((2 * BRUSH + 1,) * 2)) & (truth[plane] == value)
    scribbles[plane][brush] = 1 + value
    return scribbles


def longest_run(region: np.ndarray, middle: tuple[int, int]) -> np.ndarray:
    """Return the middle part of the longest of 8 straight lines through `middle` in `region`, bool (*plane)."""
    runs = []
    for angle in np.arange(8) * np.pi / 8:
        arms = [_arm(region, middle, sign * np.array([np.sin(angle), np.cos(angle)])) for sign in (-1, 1)]
        runs.append((sum(len(arm) for arm in arms), arms))
    line = np.zeros(region.shape, bool)
    line[middle] = True
    for arm in max(runs, key=lambda run: run[0])[1]:
        for pixel in arm[: min(round(SHARE * len(arm)), HALF_LENGTH)]:
            line[pixel] = True
    return line


def _arm(region: np.ndarray, start: tuple[int, int], step: np.ndarray) -> list[tuple[int, int]]:
    """Return the pixels from `start` along `step` until the region ends."""
    arm: list[tuple[int, int]] = []
    while True:
        y, x = (round(float(v)) for v in start + (len(arm) + 1) * step)
        if not (0 <= y < region.shape[0] and 0 <= x < region.shape[1] and region[y, x]):
            return arm
        arm.append((y, x))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Return the overlap of two masks."""
    return 2 * float(np.count_nonzero(a & b)) / max(1, int(a.sum() + b.sum()))


def rounds(case: Case, start: np.ndarray, count: int, settings: RefinementSettings) -> tuple[list[float], list[float]]:
    """Return Dice at the start and after each stroke, and the milliseconds of each round."""
    session = RefinementSession(case.image, proposal=start, settings=settings)
    run(session.propose())
    scores, times = [dice(session.mask > 0, case.truth)], []
    marks = np.zeros(case.truth.shape, np.uint8)
    for _ in range(count):
        new = stroke(case.truth, session.mask)
        if new is not None:
            marks = np.where(new > 0, new, marks)
            began = time.perf_counter()
            run(session.refine(marks))
            times.append(1000 * (time.perf_counter() - began))
        scores.append(dice(session.mask > 0, case.truth))
    return scores, times


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and print a markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scribbles", description=__doc__)
    parser.add_argument("--cases", type=int, default=8, help="cases of each group")
    parser.add_argument("--skip", type=int, default=0, help="leave out the first cases of each group")
    parser.add_argument("--group", nargs="+", default=[""], help="only groups whose name begins so")
    parser.add_argument("--start", nargs="+", default=list(STARTS), choices=list(STARTS))
    parser.add_argument("--no-crf", action="store_true", help="without smoothing")
    options = parser.parse_args(argv)
    settings = RefinementSettings(crf=not options.no_crf)
    chosen = [c for c in cases(options.cases, options.skip) if c.group.startswith(tuple(options.group))]
    print(header(f"scribbles --cases {options.cases} --skip {options.skip}", ("numpy", "scipy", "numba")) + "\n")
    print(f"| data | start | cases | {' | '.join(f'{n} strokes' for n in SHOWN)} | worse | ms a round, median |")
    print("|---" * (len(SHOWN) + 5) + "|")
    for group in dict.fromkeys(case.group for case in chosen):
        for name in options.start:
            members = [case for case in chosen if case.group == group]
            done = [rounds(case, STARTS[name](case.truth), max(SHOWN), settings) for case in members]
            print(row(group, name, [d[0] for d in done], [t for d in done for t in d[1]]), flush=True)


def row(group: str, start: str, scores: list[list[float]], times: list[float]) -> str:
    """Return one line of the table."""
    falls = sum(b < a - WORSE for s in scores for a, b in pairwise(s))
    means = [f"{statistics.mean(s[n] for s in scores):.3f}" for n in SHOWN]
    return f"| {group} | {start} | {len(scores)} | {' | '.join(means)} | {falls} | {statistics.median(times):.0f} |"


if __name__ == "__main__":
    main()
