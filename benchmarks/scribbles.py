"""How much a stroke mends, without a network: ``python -m benchmarks scribbles``.

A simulated user looks at the largest connected error of the mask, goes to the slice through its middle, and paints there
one straight stroke over the middle two thirds of the error's longest width, at most 40 voxels long (brush radius 1), inside
the true class (``--stroke thick``: brush radius 3; ``dot``: 5 x 5 voxels where the error is deepest). Each stroke is one round. Starts: nothing; half of the object (cut through its middle); too much (the object
grown by an eighth of its radius, and a ball of half its radius stuck to its border). "Worse" counts the rounds that cost
more than 0.01 of Dice; border is the length of the mask's border over that of the truth's; holes are those that the truth
has not. With ``--peers`` other tools answer the same user: random walker (scikit-image), GrowCut (itk-growcut) and marker
watershed (scikit-image) take the strokes, the inner part of the start, and the frame of the picture as background. With
``--carried`` objects of volumes are carried on from their largest slice (*Propagate*) instead.

Real data beside the repository are left out where they are absent. Every other picture (``--half fit``) is for finding
constants (``scripts/fit_refinement.py``), the others are reported.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from benchmarks import header
from benchmarks._drawn import bodies
from napari_medseg.evaluate.metrics.surface import hd95
from napari_medseg.image import Image
from napari_medseg.io import read_one
from napari_medseg.jobs import run
from napari_medseg.refinement import RefinementSession, RefinementSettings
from napari_medseg.refinement.intensities import Intensities
from napari_medseg.refinement.slices import propagate
from napari_medseg.samples.mri import brain_volume, slice_2d

DATA = Path(__file__).resolve().parents[1] / "../shared/data"
SHOWN = (1, 2, 3, 5)
# every other picture trains the network and finds constants, but those that `choose` between constants train nothing
HALVES = {"fit": slice(0, None, 2), "choose": slice(8, None, 10), "reported": slice(1, None, 2)}
UNTRAINED = ("brats2013", "glands")  # no network saw any: all of the fit half may choose
REAL = ("hippocampus", "brats2013", "nuclei", "nerves", "glands")
MARGIN = {2: 80, 3: 24}  # voxels around an object that a crop shows
SHARE, HALF_LENGTH, SMALLEST, WORSE = 2 / 3, 20, 6, 0.01
BRUSHES = {"line": 1, "dot": 2, "thick": 3}  # radius of the brush of each kind of stroke
# Slices that an object is carried on, both ways from its largest, and what one counts on which that has ended too early.
SLICES, NOT_REACHED = 8, 0.5
# Of the random walker's contrast, the best of 30, 130 (its default), 400, 1000, 2000, 5000 on the half that chooses.
BETA = 2000


@dataclass(frozen=True)
class Case:
    """An image and the object wanted in it, bool (*spatial)."""

    group: str
    name: str
    image: Image
    truth: np.ndarray


def cases(
    count: int, half: str = "reported", *, whole: bool = False, groups: Sequence[str] = ("",), data: Path = DATA
) -> Iterator[Case]:
    """Yield up to `count` cases of each group whose name begins with one of `groups`, cropped unless `whole`."""
    known = ("drawn 2D", "drawn 3D", "generated 2D", "generated 3D", *REAL)
    for group in (group for group in known if group.startswith(tuple(groups))):
        if group.startswith("drawn"):  # the same for every half: they choose nothing
            drawn = _spread(list(bodies(2 if group.endswith("2D") else 3)), count)
            yield from (Case(group, name, image, truth) for name, image, truth in drawn)
            continue
        if group.startswith("generated"):
            make = slice_2d if group.endswith("2D") else brain_volume
            for seed in range(1000)[HALVES[half]][:count]:
                image, truth = make(seed)
                yield Case(group, str(seed), image, np.asarray(truth.data) > 0)
            continue
        taken = HALVES["fit" if half == "choose" and group in UNTRAINED else half]
        found = _spread(list(_files(group, data))[taken], count)
        for number, (image, labels) in enumerate(found):
            case = Case(group, image.name, read_one(image), _object(group, labels, number))
            if case.truth.any():
                yield case if whole or group == "hippocampus" else crop(case, MARGIN[case.truth.ndim])


def _spread(items: list[Any], count: int) -> list[Any]:
    return items[:: max(1, len(items) // count)][:count] if items else []


def _files(group: str, data: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the images of a group and their labels."""
    if group == "brats2013":
        for folder in sorted((data / "mri/brats2013").glob("brats*")):
            yield folder / "Flair_subtrMeanDivStd.nii.gz", folder / "OTMultiClass.nii.gz"
        return
    places = {"hippocampus": "mri/hippocampus", "nuclei": "histology/dsb2018_stained", "nerves": "nerve/ultrasound"}
    folder = data / places.get(group, "histology/glas/train")
    for path in sorted(p for p in (folder / "images").glob("*") if p.is_file()):
        stem = path.name.split(".")[0]
        labels = next((folder / ("masks" if group == "nerves" else "labels")).glob(f"{stem}*"), None)
        if labels is not None:
            yield path, labels


def _object(group: str, path: Path, number: int) -> np.ndarray:
    """Return the largest object of a label file; of glands in turn the largest, the second and the third."""
    values = np.asarray(read_one(path, kind="labels").data)
    if group == "hippocampus":
        return values > 0
    if group != "nuclei":
        values = ndimage.label(values == 1 if group == "nerves" else values > 0)[0]
    sizes = np.bincount(values.ravel())
    sizes[0] = 0
    place = min(number % 3 if group == "glands" else 0, max(0, np.count_nonzero(sizes) - 1))
    return np.asarray((values == np.argsort(-sizes, kind="stable")[place]) & (values > 0))


def crop(case: Case, margin: int) -> Case:
    """Cut image and object to the object's box and `margin` voxels around it."""
    found = ndimage.find_objects(case.truth.astype(np.uint8))[0]
    box = tuple(slice(max(0, s.start - margin), s.stop + margin) for s in found)
    data = np.asarray(case.image.channels_first())[(slice(None), *box)]
    axes = ("C" if "C" in case.image.axes else "") + case.image.spatial_axes
    image = case.image.replace(data=data if "C" in axes else data[0], axes=axes, affine=None)
    return Case(case.group, case.name, image, case.truth[box])


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
def stroke(truth: np.ndarray, mask: np.ndarray, kind: str = "line") -> np.ndarray | None:
    """Return scribbles (uint8: 1 background, 2 foreground) of one stroke on the largest error, ``None`` at the end.

    Its `kind` is one of `BRUSHES`.
    """
    best, size, value = None, SMALLEST - 1, False
    for missed in (True, False):
        pieces, count = ndimage.label((truth == missed) & ((mask > 0) != missed), np.ones((3,) * truth.ndim))
        sizes = np.bincount(pieces.ravel(), minlength=2)[1:]
        if count and sizes.max() > size:
            best, size, value = pieces == 1 + sizes.argmax(), int(sizes.max()), missed
    if best is None:
        return None
    depth = ndimage.distance_transform_edt(np.pad(best, 1))[(slice(1, -1),) * truth.ndim]
    middle = np.unravel_index(int(depth.argmax()), depth.shape)
    plane, scribbles = tuple(middle[:-2]), np.zeros(truth.shape, np.uint8)
    line = longest_run(best[plane], (int(middle[-2]), int(middle[-1])), 0.0 if kind == "dot" else SHARE)
    brush = ndimage.binary_dilation(line, np.ones((2 * BRUSHES[kind] + 1,) * 2)) & (truth[plane] == value)
    scribbles[plane][brush] = 1 + value
    return scribbles


def longest_run(region: np.ndarray, middle: tuple[int, int], share: float = SHARE) -> np.ndarray:
    """Return the middle `share` of the longest of 8 straight lines through `middle` in `region`, bool (*plane)."""
    runs = []
    for angle in np.arange(8) * np.pi / 8:
        arms = [_arm(region, middle, sign * np.array([np.sin(angle), np.cos(angle)])) for sign in (-1, 1)]
        runs.append((sum(len(arm) for arm in arms), arms))
    line = np.zeros(region.shape, bool)
    line[middle] = True
    for arm in max(runs, key=lambda run: run[0])[1]:
        for pixel in arm[: min(round(share * len(arm)), HALF_LENGTH)]:
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


# ---- the tools
Tool = Callable[[np.ndarray], np.ndarray]  # from all strokes so far to the mask


def ours(case: Case, start: np.ndarray, settings: RefinementSettings | None = None) -> Tool:
    """Return the geodesic engine in a session."""
    session = RefinementSession(case.image, proposal=start, settings=settings)
    run(session.propose())
    return lambda marks: run(session.refine(marks)).mask > 0


def seeds(start: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Return what the other tools start from, int32: 1 object, 2 background, 0 open."""
    depth = ndimage.distance_transform_edt(start > 0)
    out = (depth > 0.5 * depth.max()).astype(np.int32) if start.any() else np.zeros(start.shape, np.int32)
    frame = np.ones(start.shape, bool)
    frame[tuple(slice(1, -1) if n > 2 else slice(None) for n in start.shape)] = False
    out[frame] = 2
    out[marks == 2], out[marks == 1] = 1, 2
    return out


def random_walker(case: Case, start: np.ndarray) -> Tool:
    """Return scikit-image's random walker (Grady 2006)."""
    from skimage.segmentation import random_walker as walk

    features = np.moveaxis(_features(case), 0, -1)

    def answer(marks: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = walk(features, seeds(start, marks), beta=BETA, mode="cg_j", tol=1e-3, channel_axis=-1)
        return np.asarray(found == 1)

    return answer


def marker_watershed(case: Case, start: np.ndarray) -> Tool:
    """Return a watershed of the gradient from the strokes."""
    from skimage.segmentation import watershed

    gradients = [ndimage.gaussian_gradient_magnitude(channel, 1.0) for channel in _features(case)]
    slope = np.sqrt(np.square(gradients).sum(0))
    return lambda marks: np.asarray(watershed(slope, seeds(start, marks)) == 1)


def growcut(case: Case, start: np.ndarray) -> Tool:
    """Return ITK's fast GrowCut; it knows volumes only, and no seeds on their faces."""
    import itk

    padding = [(1, 1)] * 3
    grey = np.rint(1000 * _features(case).mean(0)).astype(np.int16)
    volume = np.pad(grey.reshape((1,) * (3 - grey.ndim) + grey.shape), padding, mode="edge")
    inside = tuple(slice(1, -1) for _ in range(3))

    def answer(marks: np.ndarray) -> np.ndarray:
        labels = np.pad(seeds(start, marks).astype(np.uint8).reshape([n - 2 for n in volume.shape]), padding)
        found = itk.fast_grow_cut(itk.image_from_array(volume), seed_image=itk.image_from_array(labels))
        return np.asarray(itk.array_from_image(found)[inside] == 1).reshape(start.shape)

    return answer


def _features(case: Case) -> np.ndarray:
    return Intensities(case.image).inside(tuple(slice(0, n) for n in case.truth.shape))


TOOLS: dict[str, Callable[..., Tool]] = {
    "napari-medseg": ours,
    "random walker": random_walker,
    "GrowCut": growcut,
    "watershed": marker_watershed,
}


# ---- scores
def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Return the overlap of two masks."""
    return 2 * float(np.count_nonzero(a & b)) / max(1, int(a.sum() + b.sum()))


def border(mask: np.ndarray) -> int:
    """Return the number of faces between object and background."""
    return sum(int(np.count_nonzero(np.diff(mask, axis=axis))) for axis in range(mask.ndim))


def holes(mask: np.ndarray) -> int:
    """Return the number of connected pieces of background that the mask encloses."""
    return int(ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)[1])


@dataclass
class Result:
    """Dice after each round, processor seconds of each, and what the last mask looks like."""

    scores: list[float]
    seconds: list[float] = field(default_factory=list)
    hd95: float = 0.0
    pieces: int = 0
    holes: int = 0
    border: float = 0.0


def rounds(case: Case, start: np.ndarray, count: int, tool: Tool, kind: str = "line") -> Result:
    """Let the user paint `count` strokes of a kind."""
    mask, marks = start > 0, np.zeros(case.truth.shape, np.uint8)
    result = Result([dice(mask, case.truth)])
    for _ in range(count):
        new = stroke(case.truth, mask, kind)
        if new is not None:
            marks = np.where(new > 0, new, marks)
            began = time.process_time()
            mask = tool(marks)
            result.seconds.append(time.process_time() - began)
        result.scores.append(dice(mask, case.truth))
    result.hd95 = hd95(mask, case.truth, (1.0,) * mask.ndim) if mask.any() else float("inf")
    result.pieces = int(ndimage.label(mask, np.ones((3,) * mask.ndim))[1])
    result.holes = holes(mask) - holes(case.truth)
    result.border = border(mask) / max(1, border(case.truth))
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and print markdown tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scribbles", description=__doc__)
    parser.add_argument("--cases", type=int, default=8, help="cases of each group")
    parser.add_argument("--half", default="reported", choices=list(HALVES), help="which half of the pictures")
    parser.add_argument("--whole", action="store_true", help="whole pictures instead of crops")
    parser.add_argument("--peers", action="store_true", help="other tools too")
    parser.add_argument("--carried", action="store_true", help="objects of volumes carried on from slice to slice")
    parser.add_argument("--no-network", action="store_true", help="the geodesic engine without its network")
    parser.add_argument("--rounds", type=int, default=max(SHOWN), help="strokes of each case")
    parser.add_argument("--stroke", default="line", choices=list(BRUSHES), help="how the user draws")
    parser.add_argument("--group", nargs="+", default=[""], help="only groups whose name begins so")
    parser.add_argument("--start", nargs="+", default=list(STARTS), choices=list(STARTS))
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real data")
    options = parser.parse_args(argv)
    chosen = list(cases(options.cases, options.half, whole=options.whole, groups=options.group, data=options.data))
    tools = dict(TOOLS) if options.peers else {"napari-medseg": ours}
    if options.no_network:
        tools["napari-medseg"] = partial(ours, settings=RefinementSettings(network=False))
    words = f"scribbles --cases {options.cases} --half {options.half}{' --whole' * options.whole}{' --peers' * options.peers}"
    words += " --no-network" * options.no_network + " --carried" * options.carried
    words += f" --stroke {options.stroke}" * (options.stroke != "line")
    print(header(words, ("numpy", "scipy", "numba", "scikit-image", "itk-growcut")) + "\n")
    if options.carried:
        print_carried([case for case in chosen if case.truth.ndim == 3])
        return
    titles = [
        *(f"{n} strokes" for n in SHOWN),
        "HD95",
        "pieces",
        "holes",
        "border",
        "worse",
        "s, first two",
        "s, later",
    ]
    print(f"| data | start | tool | cases | {' | '.join(titles)} |\n{'|---' * (4 + len(titles))}|")
    for start in options.start:
        for name, tool in tools.items():
            print_rows(chosen, start, name, tool, options.rounds, options.stroke)


def carried(case: Case) -> float:
    """Return the mean Dice of the slices that the object is carried on to from its largest; `NOT_REACHED` if it ends."""
    areas = case.truth.reshape(len(case.truth), -1).sum(1)
    start, values = int(areas.argmax()), []
    for stop in (max(0, start - SLICES), min(len(areas) - 1, start + SLICES)):
        wanted = [k for k in range(min(start, stop), max(start, stop) + 1) if k != start and areas[k]]
        found = {one.index: one.mask for one in propagate(case.image, case.truth[start], start, stop)}
        values += [dice(found[k], case.truth[k]) if k in found else NOT_REACHED for k in wanted]
    return statistics.mean(values)


def print_carried(chosen: Sequence[Case]) -> None:
    """Print a line for each group."""
    print("| data | cases | mean Dice of the next slices |\n|---|---|---|")
    for group in dict.fromkeys(case.group for case in chosen):
        values = [carried(case) for case in chosen if case.group == group]
        print(f"| {group} | {len(values)} | {statistics.mean(values):.3f} |")


def print_rows(chosen: Sequence[Case], start: str, name: str, tool: Callable[..., Tool], count: int, kind: str) -> None:
    """Print a line for each group, and their mean."""
    means = []
    for group in dict.fromkeys(case.group for case in chosen):
        members = [case for case in chosen if case.group == group]
        results = []
        for case in members:
            given = STARTS[start](case.truth)
            results.append(rounds(case, given, count, tool(case, given), kind))
        means.append((group, summary(results), len(results)))
        print(row(group, start, name, *means[-1][1:]), flush=True)
    real = [values for group, values, _ in means if group in REAL]
    if len(real) > 1:
        mean = [statistics.mean(column) for column in zip(*real, strict=True)]
        total = sum(n for group, _, n in means if group in REAL)
        print(row("**mean of the real groups**", start, name, mean, total), flush=True)


def summary(results: Sequence[Result]) -> list[float]:
    """Return the numbers of a line: the worse rounds as a share of all."""
    falls = [b < a - WORSE for r in results for a, b in pairwise(r.scores)]
    shown = [statistics.mean(r.scores[min(n, len(r.scores) - 1)] for r in results) for n in SHOWN]
    first, later = ([s for r in results for s in r.seconds[part]] for part in (slice(2), slice(2, None)))
    looks = [statistics.mean(getattr(r, name) for r in results) for name in ("hd95", "pieces", "holes", "border")]
    return [*shown, *looks, statistics.mean(falls), *(statistics.mean(times or [0.0]) for times in (first, later))]


def row(group: str, start: str, tool: str, values: Sequence[float], count: int) -> str:
    """Return one line of the table."""
    cells = [f"{v:.3f}" for v in values[:4]] + [f"{v:.1f}" for v in values[4:7]] + [f"{values[7]:.2f}"]
    cells += [f"{values[8]:.1%}", *(f"{v:.3f}" for v in values[9:])]
    return f"| {group} | {start} | {tool} | {count} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
