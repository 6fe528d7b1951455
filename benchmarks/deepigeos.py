"""Measure P-Net, R-Net and their CRF-Nets on MR volumes over rounds of simulated scribbles: Dice and ASSD.

A fold trains five models with the same number of steps for each pair that is compared, all through `fit`: P-Net,
P-Net + CRF-Net(f), and on the latter's proposals R-Net with Euclidean maps, with geodesic maps, and with geodesic maps
and CRF-Net(fu). R-Nets start from P-Net's weights. The folds' test cases are used for nothing but the tables.

A round of the simulated user is one stroke (a piece of the skeleton) in every error region of at least --smallest
pixels in three slices per class, one per axis: those with the largest error area. Strokes stay for the later rounds.
Rows without a network start from the same proposal: the strokes alone, and the geodesic engine.

FOLDER holds ``images`` and ``labels``, or with ``--flair`` the case folders of BraTS 2013, which are resampled to --step mm,
cut to the brain and z-scored first. Finished models and rows in ``--work`` are kept: run again to go on.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import ttest_rel

from napari_medseg import io
from napari_medseg.evaluate.metrics.compare import compare
from napari_medseg.image import Image
from napari_medseg.inference.network import predict
from napari_medseg.io.pairs import Pair, find_pairs
from napari_medseg.jobs import run
from napari_medseg.method import Model
from napari_medseg.methods import create
from napari_medseg.methods.deepigeos.inputs import case_folders
from napari_medseg.methods.deepigeos.simulated_user import interactive_rounds, simulate
from napari_medseg.preprocessing.volumes import brain_mask, crop, resample
from napari_medseg.refinement import RefinementSession, RefinementSettings
from napari_medseg.settings import TrainSettings
from napari_medseg.training.data import split
from napari_medseg.training.loop import fit

METRICS = ("dice", "assd")
P_NET, P_CRF = "P-Net", "P-Net + CRF-Net(f)"
R_EUCLIDEAN, R_GEODESIC, R_CRF = "R-Net, Euclidean", "R-Net, geodesic", "R-Net, geodesic + CRF-Net(fu)"
STROKES, ENGINE = "strokes alone", "geodesic engine"
CRF = {"crf": "freeform", "crf_start": 0.6}
NETWORKS: dict[str, dict[str, object]] = {
    P_NET: {},
    P_CRF: CRF,
    R_EUCLIDEAN: {"metric": "euclidean"},
    R_GEODESIC: {},
    R_CRF: CRF,
}
Refiner = Callable[[Image, np.ndarray], Callable[[np.ndarray, np.ndarray], np.ndarray]]
Row = dict[str, Any]


# ---- data
def cases(args: argparse.Namespace) -> list[Pair]:
    """Return the cases, BraTS's prepared first."""
    if not args.flair:
        return list(find_pairs(args.data).require(args.data).pairs[: args.limit or None])
    folder = args.work / "prepared"
    for pair in case_folders(args.data, "Flair", "OTMultiClass").pairs:
        assert pair.label is not None
        target = folder / "images" / f"{pair.subject}.nii.gz", folder / "labels" / f"{pair.subject}.nii.gz"
        if not target[1].exists():
            image, labels = (
                resample(i, args.voxel) for i in (io.read_one(pair.image), io.read_one(pair.label, "labels"))
            )
            brain = brain_mask(image)
            io.write(target[0], crop(image.replace(data=zscore(image, brain)), brain, 4))
            io.write(target[1], crop(labels, brain, 4))
    return list(find_pairs(folder).require(folder).pairs)


def zscore(channel: Image, mask: np.ndarray) -> np.ndarray:
    """Return (clipped - mean) / SD inside `mask`, 0 outside; half a percent is clipped at either end."""
    data = np.asarray(channel.data, np.float32)
    inside = np.clip(data[mask], *np.percentile(data[mask], (0.5, 99.5)))
    out = np.zeros_like(data)
    out[mask] = (inside - inside.mean()) / max(float(inside.std()), 1e-6)
    return out


def load(pair: Pair) -> tuple[Image, Image]:
    """Read image and whole-structure mask."""
    assert pair.label is not None
    labels = io.read_one(pair.label, "labels")
    return io.read_one(pair.image), labels.replace(data=(np.asarray(labels.data) > 0).astype(np.uint8))


# ---- training
def settings_of(name: str, folder: Path, args: argparse.Namespace) -> dict[str, object]:
    """Return the method settings of a row."""
    common = {"ndim": 3, "width": args.width, "crop": args.crop}
    common |= {"modern": True, "loss": "dice_ce", "optimiser": "adamw"}
    if name in (P_NET, P_CRF):
        return {**common, **NETWORKS[name]}
    user = {"rule": "mixed", "rounds": 3, "smallest_region": args.smallest, "no_mark_probability": 0.1}
    start = {"inherit": str(weights(folder, P_NET)), "proposal": str(weights(folder, P_CRF))}
    return {**common, **user, **start, **NETWORKS[name]}


def weights(folder: Path, name: str) -> Path:
    """Return the file of a fold's model."""
    return folder / "".join(c if c.isalnum() else "-" for c in name.lower()) / "best.pt"


def train(name: str, training: Sequence[Pair], folder: Path, args: argparse.Namespace) -> Model:
    """Train the network of a row, or go on with it, or take it when it is finished."""
    held = args.validation
    first = name in (P_NET, P_CRF)
    epochs, rate = (args.epochs, args.rate) if first else (args.refine_epochs, args.rate / 2)
    schedule = TrainSettings(
        epochs=epochs, steps_per_epoch=args.steps, batch_size=1, learning_rate=rate,
        halve_steps=max(1, epochs * args.steps // 5), device=args.device,
        precision=args.precision, augment=args.augment,
    )  # fmt: skip
    method = create("p-net" if first else "r-net", settings_of(name, folder, args))
    target = weights(folder, name).parent
    start = time.perf_counter()
    job = fit(method, training[held:], training[:held], schedule, target, resume=True)
    model = run(job, lambda p: print(f"{name}: {p.message}", flush=True) if "learning_rate" in p.metrics else None)
    print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    return model


# ---- measuring
def measured(mask: np.ndarray, truth: Image) -> Row:
    """Return Dice and ASSD (mm)."""
    return compare(truth.labels_like(mask), truth, METRICS, "binary")


def proposed(model: Model, image: Image) -> np.ndarray:
    """Return P-Net's mask."""
    return np.asarray(run(predict(model, image)).labels.data)


def scored(model: Model, pair: Pair) -> Row:
    """Return the scores of P-Net on one case."""
    image, truth = load(pair)
    return {"case": pair.stem, "round": 0, **measured(proposed(model, image), truth)}


def by_session(image: Image, proposal: np.ndarray, **options: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return the refinement of one case by a `RefinementSession`."""
    session = RefinementSession(image, proposal=proposal, **options)

    def refine(mask: np.ndarray, scribbles: np.ndarray) -> np.ndarray:
        if scribbles.any():
            run(session.refine(scribbles))
        return session.mask

    return refine


def refiners(models: dict[str, Model], device: str) -> Iterator[tuple[str, Refiner]]:
    """Yield the interactive rows."""
    yield STROKES, lambda image, proposal: lambda mask, s: np.where(s > 0, s - 1, mask).astype(np.uint8)
    yield ENGINE, lambda image, proposal: by_session(image, proposal)
    for name in (R_EUCLIDEAN, R_GEODESIC, R_CRF):
        options = {"model": models[name], "settings": RefinementSettings(engine="deepigeos", device=device)}  # type: ignore[arg-type]
        yield name, lambda image, proposal, options=options: by_session(image, proposal, **options)  # type: ignore[misc]


def rounds_of(pair: Pair, proposal: np.ndarray, refiner: Refiner, seed: int, args: argparse.Namespace) -> list[Row]:
    """Return the scores of one case: of the proposal and of each round."""
    image, truth = load(pair)
    target = np.asarray(truth.data)
    rng = np.random.default_rng([30_000, seed])
    rows = [{"case": pair.stem, "round": 0, "marked": 0, "seconds": 0.0, **measured(proposal, truth)}]
    mark = lambda t, m: simulate(t, m, rng, rule="scribble", smallest=args.smallest)  # noqa: E731
    clock = time.perf_counter()
    for number, (mask, scribbles) in enumerate(
        interactive_rounds(target, proposal, mark, refiner(image, proposal), args.rounds), 1
    ):
        spent = time.perf_counter() - clock
        rows.append({"case": pair.stem, "round": number, "marked": int((scribbles > 0).sum()), "seconds": spent,
                     **measured(mask, truth)})  # fmt: skip
        clock = time.perf_counter()
    return rows


def fold(number: int, training: Sequence[Pair], test: Sequence[Pair], args: argparse.Namespace) -> dict[str, list[Row]]:
    """Train and measure one fold; what is in its folder is not done again."""
    folder = args.work / f"fold{number}"
    models = {name: train(name, training, folder, args) for name in NETWORKS}
    path = folder / "rows.json"
    table: dict[str, list[Row]] = json.loads(path.read_text()) if path.exists() else {}
    for name in (P_NET, P_CRF):
        if name not in table:
            table[name] = [scored(models[name], pair) for pair in test]
            path.write_text(json.dumps(table))
    proposals = [proposed(models[P_CRF], load(pair)[0]) for pair in test]
    for name, refiner in refiners(models, args.device):
        if name not in table:
            found = (rounds_of(*case, refiner, k, args) for k, case in enumerate(zip(test, proposals, strict=True)))
            table[name] = [row for rows in found for row in rows]
            path.write_text(json.dumps(table))
    return table


# ---- tables
def values(rows: Sequence[Row], number: int, metric: str) -> np.ndarray:
    """Return one value for each case, in the cases' order."""
    return np.array([row[metric] for row in sorted(rows, key=lambda r: str(r["case"])) if row["round"] == number])


def markdown(table: dict[str, list[Row]], metric: str, rounds: int) -> str:
    """Return mean and SD over the cases, one row for each method, one column for each round."""
    lines = [f"| {metric} | proposal | " + " | ".join(f"round {k}" for k in range(1, rounds + 1)) + " |"]
    lines.append("|---|" + "---|" * (rounds + 1))
    form = "{:.3f} ± {:.3f}" if metric == "dice" else "{:.2f} ± {:.2f}"
    for name, rows in table.items():
        found = [values(rows, k, metric) for k in range(rounds + 1)]
        cells = [form.format(np.nanmean(v), np.nanstd(v)) if len(v) else "" for v in found]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def tests(table: dict[str, list[Row]], rounds: int) -> Iterator[str]:
    """Yield the paired differences of Dice behind the paper's ranking."""
    last = min(3, rounds)
    refined = [(R_GEODESIC, R_EUCLIDEAN, 1), (R_GEODESIC, R_EUCLIDEAN, last), (R_CRF, R_GEODESIC, last)]
    for better, other, number in [(P_CRF, P_NET, 0), *refined]:
        a, b = (values(table[name], number, "dice") for name in (better, other))
        p = ttest_rel(a, b).pvalue if len(a) > 1 else float("nan")
        yield f"- {better} - {other}, round {number}: Dice {np.mean(a - b):+.4f}, paired t-test p = {p:.2g}"


def main(argv: Sequence[str] | None = None) -> None:
    """Train, measure, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="FOLDER")
    parser.add_argument("--work", type=Path, required=True, help="folder of models, prepared cases and rows")
    parser.add_argument("--flair", action="store_true", help="FOLDER holds the case folders of BraTS 2013")
    parser.add_argument("--voxel", type=float, default=2.0, help="voxel size of BraTS in mm")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fold", type=int, nargs="+", default=[0], help="folds to run, from 0")
    parser.add_argument("--validation", type=int, default=8, help="training cases that choose the best epoch")
    parser.add_argument("--limit", type=int, default=0, help="only the first cases; 0: all")
    parser.add_argument("--tests", type=int, default=0, help="only the first test cases of a fold; 0: all")
    parser.add_argument("--width", type=int, default=16, help="of the networks; paper: 16")
    parser.add_argument("--crop", type=int, default=0, help="edge of training samples; 0: whole volumes")
    parser.add_argument("--epochs", type=int, default=10, help="of the P-Nets")
    parser.add_argument("--refine-epochs", type=int, default=8, help="of the R-Nets")
    parser.add_argument("--steps", type=int, default=50, help="in an epoch, one volume each")
    parser.add_argument("--rate", type=float, default=4e-3, help="learning rate of the P-Nets; R-Nets take half")
    parser.add_argument("--precision", default="float32", help="of training")
    parser.add_argument("--augment", action="store_true", help="turn, zoom, bend ... the training samples")
    parser.add_argument("--smallest", type=int, default=5, help="pixels of the smallest marked error")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    table: dict[str, list[Row]] = {}
    parts = split(cases(args), TrainSettings(folds=args.folds))
    for number in args.fold:
        for name, rows in fold(number, parts[number].train, parts[number].held_out[: args.tests or None], args).items():
            table.setdefault(name, []).extend(rows)
    n = len(values(table[P_NET], 0, "dice"))
    print(f"\n{n} test cases, {platform.machine()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}\n")
    for metric in METRICS:
        print(markdown(table, metric, args.rounds), end="\n\n")
    print("\n".join(tests(table, args.rounds)))
    for name in (ENGINE, R_EUCLIDEAN, R_GEODESIC, R_CRF):
        spent, marked = (np.median(values(table[name], args.rounds, what)) for what in ("seconds", "marked"))
        print(f"- {name}: median {spent:.2f} s in the last round, {marked:.0f} voxels marked in {args.rounds} rounds")


if __name__ == "__main__":
    main()
