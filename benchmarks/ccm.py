"""Measure the spatial constraint on corneal nerves.

``lab``        corrupted labels of generated images: CE, balanced CE, + CRF post-processing, + spatial constraint
``overhead``   time of the spatial constraint in a training step
``nottingham`` 16 / 4 split of the 20 traced images, with and without the constraint, several seeds
``ridges``     grid of the filter without training on images 1 to 10, scores on 11 to 20
``chase``      CHASE_DB1 split by child, beside the second observer
``lengths``    length error on drawn curves: corrected, pixel graph, pixel count, and skan where it is installed
``human``      tolerance metrics between the two tracings of one image

Run ``python -m benchmarks ccm lab -o docs/benchmarks`` (``--help`` lists the options).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree

from benchmarks._nerves import LOSSES, chase, lab, nottingham, ridges
from benchmarks._tables import write_table
from napari_medseg.evaluate.metrics.compare import get_metric
from napari_medseg.evaluate.metrics.tolerance import TOLERANCE_METRICS, centreline
from napari_medseg.io import read_one
from napari_medseg.measure import curves
from napari_medseg.measure.skeleton import grid_length, strands
from napari_medseg.methods.sc_dcnn.method import ScDcnn, ScDcnnSettings

try:
    import skan
except ImportError:
    skan = None


CORRUPTIONS = ["exact:0", "centreline:1", "radius:3", "jitter:3", "delete:0.3", "add:0.1", "trace:1", "trace:3"]


def overhead(args: argparse.Namespace) -> None:
    """Time training steps with and without the spatial constraint, alternating, and print medians.

    On the CPU it is processor time, which other programs on the machine disturb little.
    """
    clock = time.process_time if args.device == "cpu" else time.perf_counter
    times: dict[float, list[float]] = {0.0: [], 0.1: []}
    x = torch.randn(args.batch, 1, args.size, args.size, device=args.device)
    y = (torch.rand(args.batch, args.size, args.size, device=args.device) > 0.98).long()
    method = ScDcnn(ScDcnnSettings.parse({"width": args.width}))
    network = method.build_network().to(args.device).train()
    optimizer = method.optimizer(network, method.training, 0)
    for _ in range(args.repeats + 1):
        for weight, seconds in times.items():
            method.settings = method.settings.updated(weight_pairwise=weight)
            start = clock()
            optimizer.zero_grad()
            method.loss(network(x), y, x)["loss"].backward()
            optimizer.step()
            if args.device != "cpu":
                torch.cuda.synchronize()
            seconds.append(clock() - start)
    plain, constrained = (statistics.median(times[weight][1:]) for weight in (0.0, 0.1))
    print(f"{args.size}x{args.size}, batch {args.batch}, width {args.width}, {args.device}: without {plain:.4f} s, "
          f"with {constrained:.4f} s, overhead {100 * (constrained / plain - 1):+.1f} %")  # fmt: skip


def lengths(args: argparse.Namespace) -> None:
    """Compare the lengths of drawn curves with their true ones; `repeats` angles, radii or wavelengths, 3 widths."""
    if skan is None:
        print("skan is not installed: no column for it")
    names = ("corrected", "pixel graph", "pixel count", *(("skan",) if skan else ()))
    rows = []
    for curve, draw in (("straight", _straight), ("circle", _circle), ("sinusoid", _sinusoid)):
        errors = []
        for share in np.linspace(0, 1, args.repeats, endpoint=False):
            points = draw(float(share))
            true = curves.length(points)
            found = [_lengths(_thick(points, width)) for width in (1.5, 3, 5)]
            errors += [[100 * abs(value / true - 1) for value in values] for values in found]
        worst, mean = np.max(errors, 0), np.mean(errors, 0)
        row: dict[str, object] = {"curve": curve, "drawn": len(errors)}
        for index, method in enumerate(names):
            row |= {f"{method}, mean %": float(mean[index]), f"{method}, worst %": float(worst[index])}
        rows.append(row)
        print(row)
    write_table(rows, args.out / "ccm_lengths")


def _lengths(mask: np.ndarray) -> list[float]:
    (strand,) = strands(mask)
    path = curves.smooth(strand.points, strand.closed)
    found = [curves.length(path), grid_length(strand.points), float(len(strand.points))]
    return [*found, float(skan.Skeleton(centreline(mask)).path_lengths().sum())] if skan else found


def human(args: argparse.Namespace) -> None:
    """Print the metrics between the tracings 14 and 17 of one image."""
    first, second = (read_one(args.data / f"{i}_lab.tif", kind="labels").data for i in (14, 17))
    for name in ("dice", *TOLERANCE_METRICS):
        print(name, f"{get_metric(name)(first, second, (1.0, 1.0)):.3f}")


def _straight(share: float) -> np.ndarray:
    angle = np.pi * share
    return 200.3 + np.linspace(-130, 130, 4000)[:, None] * np.array([np.sin(angle), np.cos(angle)])


def _circle(share: float) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 4000)
    return 200.3 + (15 + 120 * share) * np.stack([np.sin(t), np.cos(t)], 1)


def _sinusoid(share: float) -> np.ndarray:
    x = np.linspace(30, 370, 8000)
    wavelength = 48 + 120 * share
    return np.stack([200.3 + wavelength / 6 * np.sin(2 * np.pi * x / wavelength), x], 1)


def _thick(points: np.ndarray, width: float, size: int = 400) -> np.ndarray:
    grid = np.indices((size, size)).reshape(2, -1).T
    near = cKDTree(points).query(grid, distance_upper_bound=width)[0] <= width / 2
    return np.asarray(near.reshape(size, size))


def _options() -> Iterator[tuple[str, dict[str, object]]]:
    yield "--device", {"default": "cpu"}
    yield "--precision", {"default": "float32"}
    yield "--width", {"type": int, "default": 16, "help": "network width; 16 is the paper's"}
    yield "--batch", {"type": int, "default": 4}
    yield "--crop", {"type": int, "default": 128, "help": "edge of training crops in pixels"}
    yield "--steps", {"type": int, "default": 1000, "help": "training steps"}
    yield "--rate", {"type": float, "default": 2e-3, "help": "highest learning rate"}
    yield "--ema", {"type": float, "default": 0.99, "help": "decay of the running mean of the weights"}
    yield "--surroundings", {"type": float, "default": 0.0, "help": "even the pictures out over so many pixels"}
    yield "--start", {"type": Path, "help": "model to start from (nottingham, chase)"}
    yield "--losses", {"nargs": "+", "choices": list(LOSSES), "default": ["balanced CE", "balanced CE + SC"]}
    yield "--augment", {"action": argparse.BooleanOptionalAction, "default": True}
    yield "--tta", {"action": "store_true", "help": "average over flips and turns"}
    yield "--seeds", {"type": int, "default": 5}
    yield "--first", {"type": int, "default": 0, "help": "first seed"}
    yield "--repeats", {"type": int, "default": 5}
    yield "--size", {"type": int, "default": 256, "help": "edge of generated images in pixels"}
    yield "--corruptions", {"nargs": "+", "default": CORRUPTIONS, "help": "kind:level of samples.ccm_traces.corrupt"}
    yield "--images", {"type": int, "default": 12, "help": "generated training images"}
    yield "--test", {"type": int, "default": 6, "help": "generated test images"}
    yield "--hold", {"type": int, "default": 4, "help": "images held out"}
    yield "--inner", {"action": "store_true", "help": "split the training images once more, to try settings"}
    yield "--dilate", {"type": int, "default": 1, "help": "dilation of training traces in pixels"}
    yield "--data", {"type": Path, "default": Path("../shared/data/ccm/nottingham/train")}
    yield "--out", {"type": Path, "default": Path("docs/benchmarks")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    benchmarks = {f.__name__: f for f in (lab, overhead, nottingham, ridges, chase, lengths, human)}
    parser.add_argument("benchmark", choices=benchmarks)
    parser.add_argument("-o", dest="out", type=Path, help="same as --out")
    for flag, settings in _options():
        parser.add_argument(flag, **settings)  # type: ignore[arg-type]
    args = parser.parse_args(argv)
    benchmarks[args.benchmark](args)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
