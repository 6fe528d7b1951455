"""Score every bundled model and method without training on labelled images, beside masks that other tools made.

Run ``python -m benchmarks day-one FOLDER`` where FOLDER holds the folders named in `FIELDS`; those that are missing are
left out. ``--masks NAME=FOLDER`` adds the masks ``STEM.tif`` or ``.png`` of another tool to the corneal nerves.

A model's row counts only images that its training did not see and its constants were not chosen on; the row below it, if
there is one, those that chose its thresholds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks import header
from napari_medseg.evaluate.metrics.compare import compare
from napari_medseg.evaluate.metrics.tolerance import centreline
from napari_medseg.image import Image, LabelKind
from napari_medseg.inference import predict
from napari_medseg.io import read_one
from napari_medseg.io.files import read_json
from napari_medseg.io.pairs import Pair
from napari_medseg.jobs import run
from napari_medseg.measure.nuclei import instances
from napari_medseg.method import Model
from napari_medseg.methods import create
from napari_medseg.methods.deepigeos.simulated_user import simulate
from napari_medseg.models.catalog import load_model
from napari_medseg.models.checkpoint import bundled
from napari_medseg.refinement import RefinementSession, RefinementSettings

ROUNDS = 3
CHOOSING = range(1, 11)  # corneal images that thresholds were chosen on


def is_any(pair: Pair, card: Mapping[str, object]) -> bool:
    """Take every image."""
    return True


def is_test(pair: Pair, card: Mapping[str, object]) -> bool:
    """Take what the model's card lists as its test."""
    scores = card["scores"]
    return isinstance(scores, Mapping) and pair.stem in scores["test_images"]


def is_reported(pair: Pair, card: Mapping[str, object]) -> bool:
    """Take the corneal images that chose nothing."""
    return int(pair.stem) not in CHOOSING


def has_chosen(pair: Pair, card: Mapping[str, object]) -> bool:
    """Take the corneal images that thresholds were chosen on."""
    return int(pair.stem) in CHOOSING


@dataclass(frozen=True)
class Row:
    """One line of the table: a model on some images of a folder."""

    field: str
    model: str
    folder: str
    images: str
    takes: Callable[[Pair, Mapping[str, object]], bool]
    metrics: tuple[str, ...]
    finder: str = ""
    kind: LabelKind = "binary"
    label: int = 0  # the class that counts; 0: every one


NERVES, KUMAR, DSB = "ccm/nottingham/train", "histology/kumar", "histology/dsb2018_stained"
GLAS = "histology/glas/train"
LINES, OBJECTS = ("f1_3px", "length error %"), ("aji", "f1", "pq", "dice")
FIELDS = (
    *(
        Row("corneal nerves", model, NERVES, images, takes, LINES, "sc-dcnn")
        for images, takes in (("11 to 20", is_reported), ("1 to 10, chose thresholds", has_chosen))
        for model in ("ccm_generated", "nerve-ridges")
    ),
    Row("AFM cells", "afm-threshold", "afm/astrocytes/valid", "validation scans", is_any, ("mcc", "dice"), "afm-unet"),
    Row("H&E nuclei", "nuclei_dsb2018", DSB, "Data Science Bowl, test", is_test, OBJECTS, kind="instances"),
    Row(
        "H&E nuclei",
        "nuclei_dsb2018",
        f"{KUMAR}/train",
        "Kumar, training tiles, chose to adapt",
        is_any,
        OBJECTS,
        kind="instances",
    ),
    Row("H&E nuclei", "nuclei_dsb2018", f"{KUMAR}/val", "Kumar, validation tiles", is_any, OBJECTS, kind="instances"),
    Row(
        "H&E glands",
        "stained_glands",
        GLAS,
        "GlaS, chose no constant",
        is_test,
        ("object_dice", "f1_glas"),
        kind="instances",
    ),
    Row("hippocampus", "hippocampus_pnet", "mri/hippocampus", "test volumes", is_test, ("dice", "assd")),
    Row("hippocampus", "hippocampus_rnet", "mri/hippocampus", f"test, {ROUNDS} rounds", is_test, ("dice", "assd")),
    Row("ultrasound nerves", "ultrasound_nerves", "nerve/ultrasound", "test stills", is_test, ("dice",), label=1),
)


def measures(mask: Image, truth: Image, row: Row) -> dict[str, float]:
    """Return the row's metrics of one image."""
    found = compare(mask, truth, [name for name in row.metrics if name != LINES[1]], row.kind)
    if LINES[1] in row.metrics:
        ours, theirs = (centreline(np.asarray(image.data) > 0).sum() for image in (mask, truth))
        found[LINES[1]] = 100 * abs(ours / max(theirs, 1) - 1)
    return found


def answer(model: Model, image: Image, truth: Image, seed: int) -> Image:
    """Return the model's labels; an R-Net's after strokes of the simulated user on its proposal."""
    if model.method.settings.role != "refine":
        return run(predict(model, image)).labels
    proposer = load_model(bundled("hippocampus_pnet"))
    session = RefinementSession(image, model=model, pnet=proposer, settings=RefinementSettings(engine="deepigeos"))
    run(session.propose())
    strokes, mask = np.zeros(image.spatial_shape, np.uint8), np.asarray(truth.data) > 0
    rng = np.random.default_rng(seed)
    for _ in range(ROUNDS):
        new = simulate(mask.astype(np.uint8), session.mask, rng, rule="scribble", smallest=5)
        for value, wanted in ((1, ~mask), (2, mask)):  # a brush of radius 1 that stays inside its class
            strokes[ndimage.binary_dilation(new == value) & wanted] = value
        run(session.refine(strokes))
    return image.labels_like(session.mask)


def cases(row: Row, data: Path, card: Mapping[str, object]) -> Iterator[tuple[Pair, Image, Image]]:
    """Yield image and truth of every case that counts."""
    folder = data / row.folder
    method = create(row.finder) if row.finder else load_model(bundled(row.model)).method
    for pair in method.find_pairs(folder).require(folder).pairs:
        if pair.label is None or not row.takes(pair, card):
            continue
        truth = read_one(pair.label, "labels")
        if row.kind == "instances":  # a mask is split into its pieces
            truth = truth.labels_like(instances(truth))
        yield pair, read_one(pair.image), truth.labels_like(truth.data == row.label) if row.label else truth


def show(row: Row, name: str, values: Sequence[dict[str, float]], seconds: Sequence[float]) -> None:
    """Print one line: mean, least and largest value of each metric."""
    cells = []
    for metric in row.metrics:
        found = [value[metric] for value in values]
        digits = 1 if metric == LINES[1] else 3
        cells.append(f"{metric} {np.mean(found):.{digits}f} ({min(found):.{digits}f} to {max(found):.{digits}f})")
    time_of_one = f"{np.median(seconds):.2f}" if seconds else ""
    print(f"| {row.field} | {name} | {row.images} ({len(values)}) | {', '.join(cells)} | {time_of_one} |", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser("benchmarks day-one", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--field", action="append", choices=sorted({row.field for row in FIELDS}), help="only this one")
    parser.add_argument("--masks", action="append", default=[], metavar="NAME=FOLDER")
    args = parser.parse_args(argv)
    others = dict(item.split("=", 1) for item in args.masks)
    print(header("day-one FOLDER", ("numpy", "scipy", "torch")))
    print(
        "\n| field | model | images | scores: mean (least to largest) | processor seconds an image |\n|---|---|---|---|---|"
    )
    for row in FIELDS:
        if not (args.folder / row.folder).is_dir() or (args.field and row.field not in args.field):
            continue
        model, card = load_model(bundled(row.model)), read_json(bundled(row.model).with_suffix(".json"))
        values, seconds = [], []
        found: dict[str, list[dict[str, float]]] = {name: [] for name in others if row.field == "corneal nerves"}
        for index, (pair, image, truth) in enumerate(cases(row, args.folder, card)):
            start = time.process_time()
            mask = answer(model, image, truth, index)
            seconds.append(time.process_time() - start)
            values.append(measures(mask, truth, row))
            for name, scores in found.items():
                (file,) = Path(others[name]).glob(f"{pair.stem}.*")
                scores.append(measures(read_one(file, "labels"), truth, row))
        show(row, f"`{row.model}`", values, seconds)
        for name, scores in found.items() if row.model == "ccm_generated" else ():
            show(row, f"*{name}*", scores, [])


if __name__ == "__main__":
    main()
