"""Find the constants of `above_glass` on labelled AFM scans: MCC for values around the present ones.

Run ``python -m benchmarks glass FOLDER`` with images and masks; only every second scan is looked at.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import header
from napari_medseg.evaluate.metrics.compare import compare
from napari_medseg.image import Image
from napari_medseg.inference import predict
from napari_medseg.io import read_one
from napari_medseg.io.pairs import find_pairs
from napari_medseg.jobs import run
from napari_medseg.method import Model
from napari_medseg.methods import create
from napari_medseg.preprocessing import levelling

TRIED: dict[str, tuple[float, ...]] = {
    "SMOOTHING": (0.3, 0.5, 0.8),
    "ENVELOPE": (0.02, 0.05, 0.1),
    "ORDER": (2, 3, 4),
    "ROUNDS": (4, 8, 16),
    "RISE": (3.5, 4.5, 5.5),
    "MARGIN": (1, 3, 5),
    "PEAK_SHARE": (0.08, 0.12, 0.18),
}
SETTINGS: dict[str, tuple[float, ...]] = {"threshold": (3.5, 4.5, 5.5), "min_area": (0, 60, 150), "fill_holes": (0, 30)}


def score(scans: Sequence[tuple[Image, Image]], settings: dict[str, float]) -> tuple[float, float]:
    """Return mean and least MCC."""
    method = create("afm-threshold", settings)
    model = Model(method, method.build_network(), {})
    values = [compare(run(predict(model, image)).labels, truth, ("mcc",))["mcc"] for image, truth in scans]
    return float(np.mean(values)), float(np.min(values))


def show(name: str, value: float, mean: float, least: float) -> None:
    """Print one row."""
    print(f"| {name} | {value:g} | {mean:.4f} | {least:.3f} |", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser("benchmarks glass", description=__doc__)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args(argv)
    pairs = sorted(find_pairs(args.folder).require(args.folder).pairs, key=lambda pair: pair.stem)[::2]
    scans = [(read_one(p.image), read_one(p.label, "labels")) for p in pairs if p.label is not None]
    print(header("glass FOLDER", ("numpy", "scipy")))
    mean, least = score(scans, {})
    print(f"\n{len(scans)} scans; as it is: MCC {mean:.4f}, least {least:.3f}\n")
    print("| constant | value | MCC | least |\n|---|---|---|---|")
    for name, values in TRIED.items():
        kept = getattr(levelling, name)
        for value in values:
            setattr(levelling, name, value)
            show(name, value, *score(scans, {}))
        setattr(levelling, name, kept)
    for name, values in SETTINGS.items():
        for value in values:
            show(name, value, *score(scans, {name: value}))


if __name__ == "__main__":
    main()
