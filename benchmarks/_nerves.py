"""Training runs of ``benchmarks ccm``: laboratory of inaccurate labels, Nottingham traces, CHASE_DB1."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from benchmarks._crf import POSTPROCESSOR, best_crf, crf
from benchmarks._tables import Row, draw_lab, mean_row, spread, write_table
from napari_medseg.device import autocast
from napari_medseg.evaluate.metrics.compare import get_metric
from napari_medseg.evaluate.metrics.tolerance import centreline, tolerance_f1
from napari_medseg.image import Image
from napari_medseg.inference.network import infer
from napari_medseg.io import read_one
from napari_medseg.io.pairs import Pair
from napari_medseg.jobs import run
from napari_medseg.method import Model
from napari_medseg.methods.sc_dcnn.method import ScDcnn, ScDcnnSettings, drop_small
from napari_medseg.samples.ccm import ccm_image
from napari_medseg.samples.ccm_traces import corrupt
from napari_medseg.settings import PredictSettings
from napari_medseg.training.run import calibrate

ARMS: dict[str, dict[str, object]] = {
    "CE": {"balanced": False, "weight_pairwise": 0.0},
    "balanced CE": {"weight_pairwise": 0.0},
    "balanced CE + SC": {},
}
CRF_ARM = f"balanced CE + {POSTPROCESSOR}"
METRICS = ("dice", "f1_1px", "f1_2px", "f1_3px", "cldice")
SMALL_PX = 30
CUTS = (0.5, 0.7, 0.8, 0.9, 0.93, 0.95, 0.97)
SMALLEST = (0, 30, 60)
CALIBRATION = 64
CUT_IMAGES = 6
FLAT_PX = 12
Case = tuple[np.ndarray, np.ndarray]


def train(method: ScDcnn, cases: Sequence[Case], args: argparse.Namespace, seed: int) -> Model:
    """Train for ``args.steps``, the rate rising for a tenth of them and then falling to 0.

    A `Case` is (1, Y, X) float32 and (Y, X) 0/1.
    """
    torch.manual_seed(seed)
    device = torch.device(args.device)
    network = method.build_network().to(device).train()
    optimizer = method.optimizer(network, method.training.updated(learning_rate=args.rate), 0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.rate, total_steps=args.steps, pct_start=0.1, cycle_momentum=False
    )
    batches = _batches(method, cases, args, np.random.default_rng(seed))
    for _ in range(args.steps):
        x, y = (part.to(device) for part in next(batches))
        optimizer.zero_grad()
        with autocast(device, args.precision):
            output = network(x)
        method.loss(output.float(), y, x)["loss"].backward()
        optimizer.step()
        schedule.step()
    calibrate(network, (next(batches)[0].to(device) for _ in range(CALIBRATION)))
    return Model(method, network.eval(), {})


def _batches(
    method: ScDcnn, cases: Sequence[Case], args: argparse.Namespace, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    samples: list[Case] = []
    while True:
        for index in rng.permutation(len(cases)):
            sample = method.sample(*cases[index], rng)
            samples.append(method.augment(*sample, rng) if args.augment else sample)
            if len(samples) == args.batch:
                yield tuple(torch.from_numpy(np.stack(part)) for part in zip(*samples, strict=True))  # type: ignore[misc]
                samples = []


def foreground(model: Model, x: np.ndarray, args: argparse.Namespace) -> np.ndarray:
    """Return the probability (Y, X) of nerve."""
    settings = PredictSettings(device=args.device, precision=args.precision, tta=args.tta)
    return np.asarray(run(infer(model, x, settings))[1], np.float32)


def measures(mask: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return the metrics of a mask, its pieces below 30 pixels and the error of the total centreline length."""
    row = {name: get_metric(name)(mask, truth, (1.0, 1.0)) for name in METRICS}
    pieces, _ = ndimage.label(mask, np.ones((3, 3)))
    row["small pieces"] = float((np.bincount(pieces.ravel())[1:] < SMALL_PX).sum())
    row["length error %"] = 100 * abs(centreline(mask).sum() / max(centreline(truth).sum(), 1) - 1)
    return row


def best_cut(probabilities: Sequence[np.ndarray], references: Sequence[np.ndarray]) -> tuple[float, int]:
    """Return the probability cut, then the smallest piece, of the best mean 3-pixel F1 on training images."""

    def f1(cut: float, smallest: int) -> float:
        masks = [cleaned(p, cut, smallest) for p in probabilities]
        return float(np.mean([tolerance_f1(m, r) for m, r in zip(masks, references, strict=True)]))

    cut = max(CUTS, key=lambda c: f1(c, SMALL_PX))
    return cut, max(SMALLEST, key=lambda s: f1(cut, s))


def cleaned(probability: np.ndarray, cut: float, smallest: int) -> np.ndarray:
    mask = probability > cut
    return drop_small(mask, smallest) if smallest else mask


def lab(args: argparse.Namespace) -> None:
    """Train on corrupted labels, test on exact ones; the table is written anew after every run."""
    images = [ccm_image(i, args.size) for i in range(args.images)]
    tests = [ccm_image(1000 + i, args.size) for i in range(args.test)]
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for seed, corruption, arm in product(range(args.seeds), args.corruptions, ARMS):
        kind, _, level = corruption.partition(":")
        labels = [_rough(truth.data, kind, float(level or 1), [seed, i]) for i, (_, truth) in enumerate(images)]
        start = time.perf_counter()
        for name, row in _lab_run(arm, images, labels, tests, args, seed).items():
            found.setdefault((corruption, name), []).append(row)
        print(corruption, arm, seed, f"{time.perf_counter() - start:.0f} s", found[corruption, arm][-1], flush=True)
        order = [key for key in product(args.corruptions, (*ARMS, CRF_ARM)) if key in found]
        rows = [{"corruption": c, "loss": loss, "seeds": len(r := found[c, loss]), **spread(r)} for c, loss in order]
        write_table(rows, args.out / "ccm_lab")
    draw_lab(rows, args.out / "ccm_lab.png")


def _lab_run(
    arm: str,
    images: Sequence[tuple[Image, Image]],
    labels: Sequence[np.ndarray],
    tests: Sequence[tuple[Image, Image]],
    args: argparse.Namespace,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Return the mean test row of a loss, and that of its post-processing for balanced CE."""
    method = ScDcnn(ScDcnnSettings.parse({**ARMS[arm], "width": args.width, "patch": args.patch}))
    cases = [(method.prepare(image), method.target(truth.replace(data=rough.astype(np.uint8))))
             for (image, truth), rough in zip(images, labels, strict=True)]  # fmt: skip
    model = train(method, cases, args, seed)
    known = [foreground(model, x, args) for x, _ in cases]
    cut, _ = best_cut(known, [y for _, y in cases])
    truths = [np.asarray(truth.data) > 0 for _, truth in tests]
    found = [foreground(model, method.prepare(image), args) for image, _ in tests]
    row = mean_row([measures(p > 0.5, t) for p, t in zip(found, truths, strict=True)])
    row["f1_3px, best cut"] = float(np.mean([tolerance_f1(p > cut, t) for p, t in zip(found, truths, strict=True)]))
    if arm != "balanced CE":
        return {arm: row}
    exact = [(image.data, p, np.asarray(truth.data) > 0) for (image, truth), p in zip(images, known, strict=True)]
    weights = best_crf(exact)
    masks = [crf(image.data, p, weights) for (image, _), p in zip(tests, found, strict=True)]
    smooth = mean_row([measures(m, t) for m, t in zip(masks, truths, strict=True)])
    return {arm: row, CRF_ARM: {**smooth, "f1_3px, best cut": smooth["f1_3px"]}}


def _rough(mask: np.ndarray, kind: str, level: float, seed: list[int]) -> np.ndarray:
    return mask > 0 if kind == "exact" else corrupt(mask, kind, level, np.random.default_rng(seed))  # type: ignore[arg-type]


def nottingham(args: argparse.Namespace) -> None:
    """Train on 16, test on 4 images, subjects kept together, for several seeds; the cut comes from 6 of the 16."""
    rows: list[Row] = []
    pairs = ScDcnn().find_pairs(args.data).require(args.data).pairs
    for seed in range(args.first, args.first + args.seeds):
        for arm in ("balanced CE", "balanced CE + SC"):
            start = time.perf_counter()
            settings = {**ARMS[arm], "width": args.width, "patch": args.patch, "dilate_labels": args.dilate}
            method = ScDcnn(ScDcnnSettings.parse(settings))
            training, held_out = split(pairs, args.hold, seed)
            if args.inner:
                training, held_out = split(training, args.hold, seed)
            row = _traced_run(method, training, held_out, args, seed)
            rows.append({"seed": seed, "loss": arm, "tested": " ".join(p.stem for p in held_out), **row})
            print(rows[-1], f"{time.perf_counter() - start:.0f} s", flush=True)
            write_table(rows, args.out / "ccm_nottingham")
    for arm in ("balanced CE", "balanced CE + SC"):
        values = [float(str(row["f1_3px"])) for row in rows if row["loss"] == arm]
        print(arm, f"f1_3px {np.mean(values):.3f} SD {np.std(values, ddof=len(values) > 1):.3f}")


def _traced_run(
    method: ScDcnn, training: Sequence[Pair], held_out: Sequence[Pair], args: argparse.Namespace, seed: int
) -> dict[str, float]:
    cases = [method.load_pair(pair) for pair in training]
    model = train(method, cases, args, seed)
    known = [foreground(model, x, args) for x, _ in cases[:CUT_IMAGES]]
    cut, smallest = best_cut(known, [reference(pair) for pair in training[:CUT_IMAGES]])
    tests = [(foreground(model, method.load_pair(pair)[0], args), reference(pair)) for pair in held_out]
    row = mean_row([measures(cleaned(p, cut, smallest), truth) for p, truth in tests])
    raw = mean_row([measures(p > 0.5, truth) for p, truth in tests])
    row |= {f"{name} at .5": raw[name] for name in ("f1_3px", "small pieces")}
    return {"cut": cut, "smallest piece": float(smallest), **row}


def chase(args: argparse.Namespace) -> None:
    """Train on some children, test on the others against observer 1, beside observer 2.

    The input is inverted luma without what is blurred over 12 pixels: vessels differ from their surroundings by 0.1 SD
    of the whole picture only.
    """
    method = ScDcnn(ScDcnnSettings.parse({"width": args.width, "patch": args.patch}))
    training, held_out = split(method.find_pairs(args.data).require(args.data).pairs, args.hold, 0)
    cases, tests = ([(_flat(-x), y) for x, y in map(method.load_pair, pairs)] for pairs in (training, held_out))
    model = train(method, cases, args, 0)
    known = [(foreground(model, x, args), y > 0) for x, y in cases[:CUT_IMAGES]]
    dice = get_metric("dice")
    cut = max(CUTS, key=lambda c: sum(dice(p > c, y, (1.0, 1.0)) for p, y in known))
    rows: list[Row] = []
    for pair, (x, y) in zip(held_out, tests, strict=True):
        p, other = foreground(model, x, args), reference(Pair(pair.image, _second(pair)))
        values = {"network": p > cut, "network at .5": p > 0.5, "observer 2": other}
        rows.append({"child": pair.subject, "image": pair.stem, "cut": cut,
                     **{name: dice(mask, y > 0, (1.0, 1.0)) for name, mask in values.items()}})  # fmt: skip
        print(rows[-1], flush=True)
    means = {name: float(np.mean([float(str(r[name])) for r in rows])) for name in values}
    rows.append({"child": "mean", "image": "", "cut": cut, **means})
    write_table(rows, args.out / "ccm_chase")
    print(rows[-1])


def _flat(x: np.ndarray) -> np.ndarray:
    detail = x - ndimage.gaussian_filter(x, (0, FLAT_PX, FLAT_PX))
    return np.asarray(detail / detail.std(), np.float32)


def split(pairs: Sequence[Pair], hold: int, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Hold out about `hold` images, subjects kept together; consecutive seeds hold out every image once."""
    folds = max(round(len(pairs) / hold), 2)
    subjects = list(dict.fromkeys(pair.subject for pair in pairs))
    sizes = {name: sum(pair.subject == name for pair in pairs) for name in subjects}
    order = [subjects[i] for i in np.random.default_rng(seed // folds).permutation(len(subjects))]
    filled, fold_of = [0] * folds, {}
    for name in sorted(order, key=lambda n: -sizes[n]):
        fold_of[name] = filled.index(min(filled))
        filled[fold_of[name]] += sizes[name]
    held = {name for name in subjects if fold_of[name] == seed % folds}
    return [p for p in pairs if p.subject not in held], [p for p in pairs if p.subject in held]


def reference(pair: Pair) -> np.ndarray:
    assert pair.label is not None
    return np.asarray(read_one(pair.label, kind="labels").data) > 0


def _second(pair: Pair) -> Path:
    return Path(str(pair.label).replace("_1stHO", "_2ndHO"))
