"""Measure the spatial constraint on corneal nerves.

``lab``        corrupted labels of generated images: plain CE, balanced CE, balanced CE + spatial constraint
``overhead``   time of the spatial constraint in a training step
``nottingham`` 16 / 4 split of the 20 traced images, with and without the constraint, several seeds
``chase``      CHASE_DB1 split by child, beside the second observer
``lengths``    length error on drawn curves: corrected, pixel graph (as skan counts), pixel count
``human``      tolerance metrics between the two tracings of one image

Run ``python benchmarks/ccm.py lab -o docs/benchmarks`` (``--help`` lists the options).
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_medseg.image import Image
from napari_medseg.inference import infer
from napari_medseg.io import read_one
from napari_medseg.jobs import run
from napari_medseg.measure import curves
from napari_medseg.measure.compare import get_metric
from napari_medseg.measure.skeleton import grid_length, strands
from napari_medseg.measure.tolerance import TOLERANCE_METRICS
from napari_medseg.method import Model
from napari_medseg.methods.sc_dcnn import ScDcnn, ScDcnnSettings
from napari_medseg.pairs import Pair
from napari_medseg.samples.ccm import ccm_image, corrupt
from napari_medseg.settings import PredictSettings

ARMS: dict[str, dict[str, object]] = {
    "CE": {"balanced": False, "weight_pairwise": 0.0},
    "balanced CE": {"weight_pairwise": 0.0},
    "balanced CE + SC": {},
}
METRICS = ("dice", "f1_1px", "f1_3px", "cldice")
SMALL_PX = 30
Case = tuple[np.ndarray, np.ndarray]


def train(method: ScDcnn, cases: Sequence[Case], args: argparse.Namespace, seed: int) -> Model:
    """Train with the paper's optimiser on whole cases; `Case` is (1, Y, X) float32 and (Y, X) 0/1."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = method.build_network().to(args.device).train()
    settings = method.training.updated(learning_rate=args.rate)
    optimizer = method.optimizer(network, settings, 0)
    for _ in range(args.epochs):
        order = rng.permutation(len(cases))
        for start in range(0, len(cases), args.batch):
            pairs = [method.sample(*cases[i], rng) for i in order[start : start + args.batch]]
            x, y = (torch.from_numpy(np.stack(part)).to(args.device) for part in zip(*pairs, strict=True))
            optimizer.zero_grad()
            method.loss(network(x), y, x)["loss"].backward()
            optimizer.step()
    return Model(method, network.eval(), {})


def scores(model: Model, cases: Sequence[Case], args: argparse.Namespace) -> list[dict[str, float]]:
    """Return the metrics of each case, and the number of predicted pieces below 30 pixels."""
    rows = []
    for x, truth in cases:
        probabilities = run(infer(model, x, PredictSettings(device=args.device, precision="float32")))
        mask = probabilities[1] > probabilities[0]
        row = {name: get_metric(name)(mask, truth, (1.0, 1.0)) for name in METRICS}
        pieces, _ = ndimage.label(mask, np.ones((3, 3)))
        rows.append({**row, "small pieces": float((np.bincount(pieces.ravel())[1:] < SMALL_PX).sum())})
    return rows


def lab(args: argparse.Namespace) -> None:
    """Train on corrupted labels, test on exact ones."""
    rows = []
    train_set = [ccm_image(i, args.size) for i in range(args.images)]
    test_set = [ccm_image(1000 + i, args.size) for i in range(args.test)]
    for level in args.levels:
        for arm, changes in ARMS.items():
            start, found = time.perf_counter(), []
            for seed in range(args.seeds):
                method = ScDcnn(ScDcnnSettings.parse({**changes, **network_settings(args)}))
                cases = [_corrupted(method, image, truth, args.kind, level, [seed, i])
                         for i, (image, truth) in enumerate(train_set)]  # fmt: skip
                exact = [(method.prepare(image), np.asarray(truth.data)) for image, truth in test_set]
                found.append(mean_row(scores(train(method, cases, args, seed), exact, args)))
            rows.append({"corruption": args.kind, "level": level, "loss": arm, **spread(found)})
            print(rows[-1], f"{time.perf_counter() - start:.0f} s", flush=True)
    write_table(rows, args.out / "ccm_lab")
    draw_lab(rows, args.out / "ccm_lab.png")


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


def nottingham(args: argparse.Namespace) -> None:
    """Train on 16, test on 4 images, subjects kept together, for several seeds."""
    rows = []
    for seed in range(args.seeds):
        for arm in ("balanced CE", "balanced CE + SC"):
            method = ScDcnn(ScDcnnSettings.parse({**ARMS[arm], **network_settings(args), "dilate_labels": args.dilate}))
            training, held_out = split(method.find_pairs(args.data).require(args.data).pairs, args.hold, seed)
            cases = [method.load_pair(pair) for pair in training]
            exact = [(method.load_pair(pair)[0], _reference(pair)) for pair in held_out]
            row = mean_row(scores(train(method, cases, args, seed), exact, args))
            rows.append({"seed": seed, "loss": arm, "tested": " ".join(p.stem for p in held_out), **row})
            print(rows[-1], flush=True)
    write_table(rows, args.out / "ccm_nottingham")
    for arm in ("balanced CE", "balanced CE + SC"):
        values = [row["f1_3px"] for row in rows if row["loss"] == arm]
        print(arm, f"f1_3px {np.mean(values):.3f} SD {np.std(values, ddof=len(values) > 1):.3f}")


def chase(args: argparse.Namespace) -> None:
    """Train on some children, test on the others against observer 1, beside observer 2; the image is inverted luma."""
    method = ScDcnn(ScDcnnSettings.parse({**network_settings(args), "patch": args.patch}))
    training, held_out = split(method.find_pairs(args.data).require(args.data).pairs, args.hold, 0)
    cases = [(-x, y) for x, y in map(method.load_pair, training)]
    tests = [(-x, y) for x, y in map(method.load_pair, held_out)]
    second = [_reference(Pair(p.image, Path(str(p.label).replace("_1stHO", "_2ndHO")))) for p in held_out]
    rows = scores(train(method, cases, args, 0), tests, args)
    for pair, row, (_, first), other in zip(held_out, rows, tests, second, strict=True):
        print(pair.stem, f"dice {row['dice']:.4f}, observer 2 {get_metric('dice')(other, first, (1.0, 1.0)):.4f}")
    print("mean dice", np.mean([row["dice"] for row in rows]))


def lengths(args: argparse.Namespace) -> None:
    """Compare the lengths of drawn curves with their true ones; `repeats` angles, radii or wavelengths, 3 widths."""
    rows = []
    for name, draw in (("straight", _straight), ("circle", _circle), ("sinusoid", _sinusoid)):
        errors = []
        for share in np.linspace(0, 1, args.repeats, endpoint=False):
            points = draw(float(share))
            true = curves.length(points)
            for width in (1.5, 3, 5):
                (strand,) = strands(_thick(points, width))
                path = curves.smooth(strand.points, strand.closed)
                found = (curves.length(path), grid_length(strand.points), len(strand.points))
                errors.append([100 * abs(value / true - 1) for value in found])
        worst, mean = np.max(errors, 0), np.mean(errors, 0)
        row: dict[str, object] = {"curve": name, "drawn": len(errors)}
        for index, method in enumerate(("corrected", "pixel graph", "pixel count")):
            row |= {f"{method}, mean %": float(mean[index]), f"{method}, worst %": float(worst[index])}
        rows.append(row)
        print(row)
    write_table(rows, args.out / "ccm_lengths")


def human(args: argparse.Namespace) -> None:
    """Print the metrics between the tracings 14 and 17 of one image."""
    first, second = (read_one(args.data / f"{i}_lab.tif", kind="labels").data for i in (14, 17))
    for name in ("dice", *TOLERANCE_METRICS):
        print(name, f"{get_metric(name)(first, second, (1.0, 1.0)):.3f}")


def network_settings(args: argparse.Namespace) -> dict[str, object]:
    return {"width": args.width, "patch": args.size}


def split(pairs: Sequence[Pair], hold: int, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Hold out whole subjects until at least `hold` images are out."""
    subjects = list(dict.fromkeys(pair.subject for pair in pairs))
    held: set[str] = set()
    for index in np.random.default_rng(seed).permutation(len(subjects)):
        size = sum(pair.subject in held for pair in pairs)
        if size + sum(pair.subject == subjects[index] for pair in pairs) <= hold:
            held.add(subjects[index])
    return [p for p in pairs if p.subject not in held], [p for p in pairs if p.subject in held]


def mean_row(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def spread(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean over seeds, and SD where there is more than one seed."""
    result = {}
    for name, value in mean_row(rows).items():
        result[name] = value
        if len(rows) > 1:
            result[f"{name} SD"] = float(np.std([row[name] for row in rows], ddof=1))
    return result


def write_table(rows: Sequence[dict[str, object]], path: Path) -> None:
    """Write `rows` as ``.csv`` and as a Markdown table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    for row in rows:
        cells = [f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()]
        lines.append("| " + " | ".join(cells) + " |")
    path.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def draw_lab(rows: Sequence[dict[str, object]], path: Path) -> None:
    """Draw each metric over the corruption level, one line for each loss."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("matplotlib is not installed: no figure")
        return
    names = (*METRICS, "small pieces")
    figure = Figure(figsize=(3 * len(names), 3), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names)), names, strict=True):
        for arm in ARMS:
            chosen = [row for row in rows if row["loss"] == arm]
            error = [row.get(f"{name} SD", 0.0) for row in chosen]
            axes.errorbar([r["level"] for r in chosen], [r[name] for r in chosen], error, marker="o", label=arm)
        axes.set(title=name, xlabel="corruption level")
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=100)


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


def _corrupted(method: ScDcnn, image: Image, truth: Image, kind: str, level: float, seed: list[int]) -> Case:
    rough = corrupt(truth.data, kind, level, np.random.default_rng(seed))  # type: ignore[arg-type]
    return method.prepare(image), method.target(truth.replace(data=rough.astype(np.uint8)))


def _reference(pair: Pair) -> np.ndarray:
    assert pair.label is not None
    return np.asarray(read_one(pair.label, kind="labels").data) > 0


def _options() -> Iterator[tuple[str, dict[str, object]]]:
    yield "--device", {"default": "cpu"}
    yield "--size", {"type": int, "default": 192, "help": "edge of images or patches in pixels"}
    yield "--width", {"type": int, "default": 16, "help": "network width; 16 is the paper's"}
    yield "--batch", {"type": int, "default": 4}
    yield "--epochs", {"type": int, "default": 200}
    yield "--rate", {"type": float, "default": 1e-4, "help": "learning rate"}
    yield "--seeds", {"type": int, "default": 5}
    yield "--repeats", {"type": int, "default": 5}
    yield "--kind", {"default": "trace", "help": "corruption of samples.ccm.corrupt"}
    yield "--levels", {"type": float, "nargs": "+", "default": [0.0, 1.0, 2.0, 3.0]}
    yield "--images", {"type": int, "default": 16}
    yield "--test", {"type": int, "default": 8}
    yield "--hold", {"type": int, "default": 4, "help": "images held out"}
    yield "--dilate", {"type": int, "default": 1, "help": "dilation of training traces in pixels"}
    yield "--patch", {"type": int, "default": 384}
    yield "--data", {"type": Path, "default": Path("../shared/data/ccm/nottingham/train")}
    yield "--out", {"type": Path, "default": Path("docs/benchmarks")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    benchmarks = {f.__name__: f for f in (lab, overhead, nottingham, chase, lengths, human)}
    parser.add_argument("benchmark", choices=benchmarks)
    parser.add_argument("-o", dest="out", type=Path, help="same as --out")
    for flag, settings in _options():
        parser.add_argument(flag, **settings)  # type: ignore[arg-type]
    args = parser.parse_args(argv)
    benchmarks[args.benchmark](args)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
