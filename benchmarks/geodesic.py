"""Geodesic distance against GeodisTK and FastGeodis on the same machine, run in turn."""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from scipy.ndimage import zoom

from benchmarks import header
from napari_medseg.geodesic import GeodesicMap, geodesic_distance, geodesic_distances

Clock = Callable[[], float]
BRATS = (240, 240, 155)
CASES = [
    ((512, 512), 0.5, 300.0, 5.0),
    ((128, 128, 64), 0.5, 25.0, 7.0),
    (BRATS, 0.5, 40.0, 10.0),
    (BRATS, 0.9, None, 5.0),
    (BRATS, 1.0, None, 1.0),
]
_CELL = 12
_SCRIBBLE = 40
PLACES = 8


def scene(shape: tuple[int, ...], scribbles: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth random field in [0, 1] with noise (sd 0.05), float32, and scribbles of 40 voxels."""
    rng = np.random.default_rng(seed)
    coarse = rng.random([max(2, n // _CELL) for n in shape])
    field = zoom(coarse, np.divide(shape, coarse.shape), order=3)
    field = (field - field.min()) / np.ptp(field)
    seeds = np.zeros(shape, bool)
    for _ in range(scribbles):
        scribble(seeds, [int(rng.integers(n // 8, n - n // 8)) for n in shape])
    return np.clip(field + rng.normal(0, 0.05, shape), 0, 1).astype(np.float32), seeds


def scribble(seeds: np.ndarray, start: Sequence[int]) -> None:
    """Draw a slanted line from `start` into `seeds`."""
    for step in range(_SCRIBBLE):
        y, x = start[-2] + step // 2, start[-1] + step
        seeds[(*start[:-2], min(y, seeds.shape[-2] - 1), min(x, seeds.shape[-1] - 1))] = True


def race(runs: Mapping[str, Callable[[], object]], repeat: int, clock: Clock = time.perf_counter) -> dict[str, float]:
    """Return the median seconds of each of `runs`, run in turn after one warm-up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeat + 1):
        for name, run in runs.items():
            start = clock()
            run()
            if turn:
                times[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g}" if seconds < 1 else f"{seconds * 1000:.0f}"


def _ratio(times: Mapping[str, float], name: str, target: float | None) -> str:
    if name not in times:
        return "-"
    speed = times[name] / times["ours"]
    met = "" if target is None else f" (target {target:g}: {'met' if speed >= target else 'missed'})"
    return f"{_milliseconds(times[name])}, {speed:.3g} times ours{met}"


def _contest(shape: tuple[int, ...], weight: float, repeat: int, clock: Clock, geodistk: bool) -> dict[str, float]:
    image, seeds = scene(shape)
    runs: dict[str, Callable[[], object]] = {"ours": lambda: geodesic_distance(image, seeds, weight=weight)}
    for package, metric in (("GeodisTK", "harmonic"), ("FastGeodis", "linear")):
        if importlib.util.find_spec(package) and (geodistk or package != "GeodisTK"):
            options = {"weight": weight, "metric": metric, "engine": package.lower()}
            runs[package.lower()] = partial(geodesic_distance, image, seeds, **options)
    times = race(runs, repeat, clock)
    if clock is time.process_time and "fastgeodis" in times:
        times["fastgeodis"] /= 2
    return times


def against_others(repeat: int, clock: Clock) -> None:
    """Print one row per size and weight."""
    print(
        "| image | weight | ours, converged, 1 thread (ms) | GeodisTK, 2 scans (ms) | FastGeodis, 2 scans, 2 threads (ms) |"
    )
    print("|---|---|---|---|---|")
    for shape, weight, geodistk, fastgeodis in CASES:
        times = _contest(shape, weight, repeat, clock, geodistk is not None)
        cells = ["x".join(map(str, shape)), f"{weight:g}", _milliseconds(times["ours"])]
        cells += [_ratio(times, "geodistk", geodistk), _ratio(times, "fastgeodis", fastgeodis)]
        print(f"| {' | '.join(cells)} |", flush=True)


def two_maps(repeat: int) -> None:
    """Print foreground and background in two threads against foreground alone."""
    print(
        "\n| 240x240x155, weight | one map (ms) | two maps, two threads (ms) | ratio (target 1.15) |\n|---|---|---|---|"
    )
    for weight in (0.5, 0.9, 1.0):
        image, foreground = scene(BRATS)
        background = scene(BRATS, seed=1)[1]
        times = race(
            {
                "one": lambda: geodesic_distances(image, [foreground], weight=weight),  # noqa: B023
                "two": lambda: geodesic_distances(image, [foreground, background], weight=weight),  # noqa: B023
            },
            repeat,
        )
        one, two = times["one"], times["two"]
        print(f"| {weight:g} | {_milliseconds(one)} | {_milliseconds(two)} | {two / one:.2f} |", flush=True)


def edits(repeat: int, clock: Clock) -> None:
    """Print the cost of a new scribble at `PLACES` random places, and of its removal, by the scribbles there are."""
    print(
        f"\n| 240x240x155, weight | scribbles so far | full map (ms) | closer voxels | add (ms), median of {PLACES} places "
        "| full / add, median (least, most; target 20) | remove (ms) |\n|---|---|---|---|---|---|---|"
    )
    for count in (10, 40):
        image, seeds = scene(BRATS, scribbles=count)
        for weight in (0.5, 0.9, 1.0):
            full = race({"full": partial(geodesic_distance, image, seeds, weight=weight)}, repeat, clock)["full"]
            edited = GeodesicMap(image, weight=weight)
            edited.add(seeds)
            closer, add, remove = np.transpose([_edit(edited, start, repeat, clock) for start in places()])
            ratios = f"{full / np.median(add):.3g} ({full / add.max():.3g}, {full / add.min():.3g})"
            cells = [f"{weight:g}", str(count), _milliseconds(full), f"{np.median(closer):.1%}"]
            cells += [_milliseconds(np.median(add)), ratios, _milliseconds(np.median(remove))]
            print(f"| {' | '.join(cells)} |", flush=True)


def places() -> list[list[int]]:
    """Return where new scribbles start: random places that leave room for them."""
    rng = np.random.default_rng(7)
    return [[int(rng.integers(n // 8, n - n // 4)) for n in BRATS] for _ in range(PLACES)]


def _edit(edited: GeodesicMap, start: Sequence[int], repeat: int, clock: Clock) -> tuple[float, float, float]:
    """Return the share of voxels that a scribble brings closer, and the seconds of adding and of removing it."""
    more = np.zeros(edited.shape, bool)
    scribble(more, start)
    before = edited.distance.copy()
    edited.add(more)
    closer = float((edited.distance < before).mean())
    edited.remove(more)
    times = race({"add": lambda: edited.add(more), "remove": lambda: edited.remove(more)}, repeat, clock)
    return closer, times["add"], times["remove"]


def start_up(repeat: int) -> None:
    """Print the time of the first map of a new process, import of numba included."""
    code = (
        "import numpy, time; t = time.perf_counter(); from napari_medseg.geodesic import geodesic_distance as g;"
        "g(numpy.zeros((9, 9)), numpy.eye(9)); print(time.perf_counter() - t)"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True) for _ in range(repeat)]
    seconds = statistics.median(float(run.stdout) for run in runs)
    print(f"\nFirst map of a new process with compiled kernels in the cache: {seconds:.2f} s.")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and print markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks geodesic", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="timed runs of each entry; the median is printed")
    parser.add_argument("--cpu", action="store_true", help="processor time, for a busy machine; set OMP_NUM_THREADS=1")
    options = parser.parse_args(argv)
    print(header(f"geodesic --repeat {options.repeat}{' --cpu' * options.cpu}") + "\n")
    clock = time.process_time if options.cpu else time.perf_counter
    if options.cpu:
        print("Processor time; two threads of FastGeodis are taken as half its time on one thread.\n")
    against_others(options.repeat, clock)
    two_maps(options.repeat)
    edits(options.repeat, clock)
    start_up(options.repeat)


if __name__ == "__main__":
    main()
