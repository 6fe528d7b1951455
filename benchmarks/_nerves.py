"""Training runs of ``benchmarks ccm``: laboratory of inaccurate labels, Nottingham traces, CHASE_DB1."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks._crf import POSTPROCESSOR, best_crf, crf
from benchmarks._tables import Row, draw_lab, mean_row, spread, write_table
from napari_medseg.evaluate.metrics.compare import get_metric
from napari_medseg.evaluate.metrics.tolerance import centreline, tolerance_f1
from napari_medseg.image import Image
from napari_medseg.inference.network import predict
from napari_medseg.io import read_one
from napari_medseg.io.pairs import Pair
from napari_medseg.jobs import run
from napari_medseg.method import Model
from napari_medseg.methods import create
from napari_medseg.methods.sc_dcnn.method import THRESHOLDS, ScDcnn, ScDcnnSettings
from napari_medseg.samples.ccm import ccm_folder, ccm_image
from napari_medseg.settings import PredictSettings, TrainSettings
from napari_medseg.training.loop import fit

ARMS: dict[str, dict[str, object]] = {
    "CE": {"balanced": False, "weight_pairwise": 0.0},
    "balanced CE": {"weight_pairwise": 0.0},
    "balanced CE + SC": {},
}
LOSSES = {**ARMS, "CE + SC": {"balanced": False}}
CRF_ARM = f"balanced CE + {POSTPROCESSOR}"
METRICS = ("dice", "f1_1px", "f1_2px", "f1_3px", "cldice")
SMALL_PX = 30
CALIBRATION = 16
EPOCHS = 15
CHOSEN = 10  # images 1 to 10 may choose constants, 11 to 20 are reported
THRESHOLD_IMAGES = 6
FLAT_PX = 12


def train(
    method: ScDcnn, pairs: Sequence[Pair], args: argparse.Namespace, seed: int, start: Path | None = None
) -> Model:
    """Train with the package's own loop for ``args.steps``: a rate that rises and falls, averaged weights."""
    epochs = min(EPOCHS, args.steps)
    settings = TrainSettings.parse({
        "epochs": epochs, "steps_per_epoch": -(-args.steps // epochs), "batch_size": args.batch, "learning_rate": args.rate,
        "augment": args.augment, "schedule": "one-cycle", "ema": args.ema, "smooth_score": 3, "choose_on": THRESHOLD_IMAGES,
        "calibrate_batches": CALIBRATION, "device": args.device, "precision": args.precision, "seed": seed,
    })  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        return run(fit(method, pairs, (), settings, Path(folder), start=start))


def foreground(model: Model, image: Image, args: argparse.Namespace) -> np.ndarray:
    """Return the probability (Y, X) of nerve."""
    settings = PredictSettings(device=args.device, precision=args.precision, tta=args.tta)
    return np.asarray(run(predict(model, image, settings)).probabilities[1], np.float32)


def mask_of(model: Model, probability: np.ndarray, image: Image) -> np.ndarray:
    """Return what the model's own thresholds make of a probability."""
    return np.asarray(model.method.postprocess(np.stack([1 - probability, probability]), image).data) > 0


def measures(mask: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return the metrics of a mask, its pieces below 30 pixels and the error of the total centreline length."""
    row = {name: get_metric(name)(mask, truth, (1.0, 1.0)) for name in METRICS}
    pieces, _ = ndimage.label(mask, np.ones((3, 3)))
    row["small pieces"] = float((np.bincount(pieces.ravel())[1:] < SMALL_PX).sum())
    row["length error %"] = length_error(mask, truth)
    return row


def length_error(mask: np.ndarray, truth: np.ndarray) -> float:
    """Return by how many percent the length of all centrelines is off."""
    return float(100 * abs(centreline(mask).sum() / max(centreline(truth).sum(), 1) - 1))


def lab(args: argparse.Namespace) -> None:
    """Train on corrupted labels, test on exact ones; the table is written anew after every run."""
    tests = [ccm_image(1000 + i, args.size) for i in range(args.test)]
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for seed, corruption, arm in product(range(args.seeds), args.corruptions, ARMS):
        kind, _, level = corruption.partition(":")
        level = 0.0 if kind == "exact" else float(level or 1)
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            ccm_folder(folder, args.images, args.size, 0, "trace" if kind == "exact" else kind, level)
            rows = _lab_run(arm, Path(folder), tests, args, seed)
        for name, row in rows.items():
            found.setdefault((corruption, name), []).append(row)
        print(corruption, arm, seed, f"{time.perf_counter() - start:.0f} s", found[corruption, arm][-1], flush=True)
        order = [key for key in product(args.corruptions, (*ARMS, CRF_ARM)) if key in found]
        table: list[Row] = [
            {"corruption": c, "loss": loss, "seeds": len(r := found[c, loss]), **spread(r)} for c, loss in order
        ]
        write_table(table, args.out / "ccm_lab")
    draw_lab(table, args.out / "ccm_lab.png")


def _lab_run(
    arm: str, folder: Path, tests: Sequence[tuple[Image, Image]], args: argparse.Namespace, seed: int
) -> dict[str, dict[str, float]]:
    """Return the mean test row of a loss, and that of its post-processing for balanced CE."""
    method = ScDcnn(ScDcnnSettings.parse({**ARMS[arm], "width": args.width, "crop": args.crop}))
    pairs = method.find_pairs(folder).pairs
    model = train(method, pairs, args, seed)
    truths = [np.asarray(truth.data) > 0 for _, truth in tests]
    found = [foreground(model, image, args) for image, _ in tests]
    row = mean_row([measures(p > 0.5, t) for p, t in zip(found, truths, strict=True)])
    chosen = [mask_of(model, p, image) for p, (image, _) in zip(found, tests, strict=True)]
    row["f1_3px, chosen cuts"] = float(np.mean([tolerance_f1(m, t) for m, t in zip(chosen, truths, strict=True)]))
    if arm != "balanced CE":
        return {arm: row}
    known = [
        (read_one(pair.image), reference(Pair(pair.image, folder / "exact" / pair.label.name)))
        for pair in pairs
        if pair.label
    ]
    weights = best_crf([(np.asarray(image.data), foreground(model, image, args), truth) for image, truth in known])
    masks = [crf(np.asarray(image.data), p, weights) for (image, _), p in zip(tests, found, strict=True)]
    smooth = mean_row([measures(m, t) for m, t in zip(masks, truths, strict=True)])
    return {arm: row, CRF_ARM: {**smooth, "f1_3px, chosen cuts": smooth["f1_3px"]}}


def nottingham(args: argparse.Namespace) -> None:
    """Train on 16, test on 4 images, subjects kept together, for several seeds; thresholds come from 6 of the 16."""
    rows: list[Row] = []
    pairs = ScDcnn().find_pairs(args.data).require(args.data).pairs
    arms = {name: LOSSES[name] for name in args.losses}
    for seed in range(args.first, args.first + args.seeds):
        for arm, loss in arms.items():
            start = time.perf_counter()
            training, held_out = split(pairs, args.hold, seed)
            if args.inner:
                training, held_out = split(training, args.hold, seed)
            settings = {**loss, "width": args.width, "crop": args.crop, "dilate_labels": args.dilate,
                        "surroundings": args.surroundings}  # fmt: skip
            model = train(ScDcnn(ScDcnnSettings.parse(settings)), training, args, seed, args.start)
            thresholds = {name: getattr(model.method.settings, name) for name in ("threshold", "strong", "shortest")}
            row = {**thresholds, **_traced(model, held_out, args)}
            rows.append({"seed": seed, "loss": arm, "tested": " ".join(p.stem for p in held_out), **row})
            print(rows[-1], f"{time.perf_counter() - start:.0f} s", flush=True)
            write_table(rows, args.out / "ccm_nottingham")
    for arm in arms:
        values = [float(str(row["f1_3px"])) for row in rows if row["loss"] == arm]
        print(arm, f"f1_3px {np.mean(values):.3f} SD {np.std(values, ddof=len(values) > 1):.3f}")


def _traced(model: Model, held_out: Sequence[Pair], args: argparse.Namespace) -> dict[str, float]:
    images = [read_one(pair.image) for pair in held_out]
    found = [
        (foreground(model, image, args), image, reference(pair)) for image, pair in zip(images, held_out, strict=True)
    ]
    row = mean_row([measures(mask_of(model, p, image), truth) for p, image, truth in found])
    raw = mean_row([measures(p > 0.5, truth) for p, _, truth in found])
    return row | {f"{name} at .5": raw[name] for name in ("f1_3px", "small pieces")}


def chase(args: argparse.Namespace) -> None:
    """Train on some children, test on the others against observer 1, beside observer 2.

    The input is evened out over 12 pixels: vessels differ from their surroundings by 0.1 SD of the whole picture only.
    """
    settings = {"width": args.width, "crop": args.crop, "dark": True, "surroundings": FLAT_PX}
    method = ScDcnn(ScDcnnSettings.parse(settings))
    training, held_out = split(method.find_pairs(args.data).require(args.data).pairs, args.hold, 0)
    model, dice = train(method, training, args, 0, args.start), get_metric("dice")
    known = [(foreground(model, read_one(pair.image), args), reference(pair)) for pair in training[:THRESHOLD_IMAGES]]
    threshold = max(THRESHOLDS, key=lambda c: sum(dice(p > c, y, (1.0, 1.0)) for p, y in known))
    rows: list[Row] = []
    for pair in held_out:
        p, truth = foreground(model, read_one(pair.image), args), reference(pair)
        values = {
            "network": p > threshold,
            "network at .5": p > 0.5,
            "observer 2": reference(Pair(pair.image, _second(pair))),
        }
        rows.append({"child": pair.subject, "image": pair.stem, "threshold": threshold,
                     **{name: dice(mask, truth, (1.0, 1.0)) for name, mask in values.items()}})  # fmt: skip
        print(rows[-1], flush=True)
    means = {name: float(np.mean([float(str(r[name])) for r in rows])) for name in values}
    rows.append({"child": "mean", "image": "", "threshold": threshold, **means})
    write_table(rows, args.out / "ccm_chase")
    print(rows[-1])


def ridges(args: argparse.Namespace) -> None:
    """Choose the filter of ``nerve-ridges``, then its thresholds, on images 1 to 10; score 11 to 20."""
    pairs = ScDcnn().find_pairs(args.data).require(args.data).pairs
    halves = [[p for p in pairs if (int(p.stem) <= CHOSEN) == first] for first in (True, False)]
    cases, others = ([(read_one(p.image), reference(p)) for p in half] for half in halves)
    shapes = product((1.5, 2.0, 2.5), (4.0, 6.0, 8.0), (8.0, 12.0, 20.0))
    cuts = product((4.5, 5.0, 5.5, 6.0), (7.0, 9.0, 11.0), (25, 40, 60))
    chosen: dict[str, float] = {}
    print({"present": _lines(chosen, cases), "reported": _lines(chosen, others)}, flush=True)
    for names, tried in ((("width", "length", "surroundings"), shapes), (("weak", "strong", "shortest"), cuts)):
        rows = [chosen | dict(zip(names, values, strict=True)) for values in tried]
        scores = [_lines(row, cases)["f1_3px"] for row in rows]
        for row, score in sorted(zip(rows, scores, strict=True), key=lambda pair: -pair[1])[:5]:
            print(row, round(score, 4), flush=True)
        chosen = rows[int(np.argmax(scores))]
    print({"best": chosen, "chosen on": _lines(chosen, cases), "reported": _lines(chosen, others)})


def _lines(settings: dict[str, float], cases: Sequence[tuple[Image, np.ndarray]]) -> dict[str, float]:
    method = create("nerve-ridges", settings)
    model = Model(method, method.build_network().eval(), {})
    masks = [np.asarray(run(predict(model, image)).labels.data) > 0 for image, _ in cases]
    f1 = [tolerance_f1(mask, truth) for mask, (_, truth) in zip(masks, cases, strict=True)]
    errors = [length_error(mask, truth) for mask, (_, truth) in zip(masks, cases, strict=True)]
    return {"f1_3px": float(np.mean(f1)), "length error %": float(np.mean(errors))}


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
