"""Compare DoubleU-Net with a plain U-Net on stills with nerves, cross-validated over groups of similar stills.

Run ``python -m benchmarks ultrasound FOLDER`` on a folder with ``images`` and ``masks`` (1: nerve) of equal names.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats
from torch import nn

from benchmarks import header
from napari_medseg.inference.network import predict
from napari_medseg.io import read_one
from napari_medseg.io.pairs import Pair
from napari_medseg.jobs import run
from napari_medseg.method import count_parameters
from napari_medseg.methods.afm_unet.network import LevelUNet
from napari_medseg.methods.double_unet.method import DoubleUnet, DoubleUnetSettings
from napari_medseg.settings import TrainSettings
from napari_medseg.training.data import split
from napari_medseg.training.loop import fit

NERVE = 1


class PlainUnet(DoubleUnet):
    """One U-Net of five levels in place of the two; all else is DoubleU-Net's: input, loss, augmentation, schedule."""

    title = "U-Net, 5 levels from 16 channels"
    out_channels = 1

    def build_network(self) -> nn.Module:
        """Build `LevelUNet` without dropout, as DoubleU-Net has none."""
        return LevelUNet(5, in_channels=3, dropout=0.0)

    def initialise(self, network: nn.Module) -> str:
        """Start from random weights, as the narrow DoubleU-Net does."""
        return ""


METHODS = {"DoubleU-Net": DoubleUnet, "U-Net": PlainUnet}


@dataclass(frozen=True)
class Scores:
    """Dice of every still, pixels of overlap, result and truth, and the time its network was trained."""

    dice: dict[str, float]
    counts: np.ndarray
    seconds: float


def nerve_masks(source: Path, folder: Path) -> None:
    """Write masks 0/255 of the nerve class and link the images beside them."""
    import imageio.v3 as iio

    (folder / "masks").mkdir(parents=True)
    (folder / "images").symlink_to((source / "images").resolve())
    for path in sorted((source / "masks").iterdir()):
        mask = np.asarray(read_one(path, "labels").data) == NERVE
        iio.imwrite(folder / "masks" / f"{path.stem}.png", mask.astype(np.uint8) * 255)


def schedule(arguments: argparse.Namespace) -> TrainSettings:
    """Return the schedule; nothing is held out for choosing a network, the last one is scored."""
    return TrainSettings(
        epochs=arguments.epochs, steps_per_epoch=arguments.steps, batch_size=4, learning_rate=1e-3,
        folds=arguments.folds, augment=True, seed=0,
    )  # fmt: skip


def score(method: DoubleUnet, train: Sequence[Pair], test: Sequence[Pair], settings: TrainSettings) -> Scores:
    """Train on `train` without looking at `test`, then outline the nerves of `test` at full size."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        model = run(fit(method, train, (), settings, Path(temporary)))
    seconds = time.perf_counter() - start
    dice, counts = {}, np.zeros(3)
    for pair in test:
        assert pair.label is not None
        found = np.asarray(run(predict(model, read_one(pair.image))).labels.data) > 0
        truth = np.asarray(read_one(pair.label, "labels").data) > 0
        row = np.array([(found & truth).sum(), found.sum(), truth.sum()], float)
        dice[pair.stem], counts = 2 * row[0] / max(row[1] + row[2], 1), counts + row
    return Scores(dice, counts, seconds)


def folds(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Scores]]:
    """Yield the name of a network and its scores, fold by fold."""
    settings = schedule(arguments)
    options = DoubleUnetSettings(input_size=arguments.size, width=arguments.width, group="similarity",
                                 augmentations=arguments.augmentations)  # fmt: skip
    pairs = DoubleUnet(options).find_pairs(folder).pairs
    print(f"{len(pairs)} stills in {len({p.subject for p in pairs})} groups", flush=True)
    for fold, part in enumerate(split(pairs, settings)[: arguments.first]):
        for name, method in METHODS.items():
            result = score(method(options), part.train, part.held_out, settings)
            yield name, result
            mean = np.mean(list(result.dice.values()))
            print(f"fold {fold}, {name}: Dice {mean:.3f}, {result.seconds:.0f} s", flush=True)


def interval(values: np.ndarray) -> str:
    """Return mean, standard deviation and the t interval of the mean."""
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    return f"{values.mean():.3f} ± {values.std(ddof=1):.3f} ({low:.3f} to {high:.3f})"


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks ultrasound", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--first", type=int, default=None, metavar="N", help="only the first N folds")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=40, help="steps of 4 stills per epoch")
    parser.add_argument("--size", type=int, default=128, help="network size in pixels")
    parser.add_argument("--width", type=int, default=16, help="channels of DoubleU-Net's first stage")
    parser.add_argument("--augmentations", default="hflip,rotate,crop,brightness_contrast,noise")
    arguments = parser.parse_args(argv)
    found: dict[str, list[Scores]] = {name: [] for name in METHODS}
    with tempfile.TemporaryDirectory() as temporary:
        nerve_masks(arguments.folder, Path(temporary) / "nerve")
        for name, result in folds(arguments, Path(temporary) / "nerve"):
            found[name].append(result)
    report(arguments, found)


def report(arguments: argparse.Namespace, found: dict[str, list[Scores]]) -> None:
    """Print the networks side by side, and their difference still by still."""
    options = DoubleUnetSettings(width=arguments.width)
    words = f"--folds {arguments.folds} --epochs {arguments.epochs} --steps {arguments.steps} --size {arguments.size}"
    print("\n" + header(f"ultrasound FOLDER {words} --width {arguments.width}", ("numpy", "torch")), end="\n\n")
    print(
        "| network | values | Dice per still: mean ± SD (95 % interval of the mean) | Dice of all pixels | training, s |"
    )
    print("|---|---|---|---|---|")
    dice = {}
    for name, results in found.items():
        dice[name] = np.array([value for result in results for value in result.dice.values()])
        overlap, ours, truth = np.sum([result.counts for result in results], 0)
        values = count_parameters(METHODS[name](options).build_network())[0]
        seconds = sum(result.seconds for result in results)
        print(f"| {name} | {values:,} | {interval(dice[name])} | {2 * overlap / (ours + truth):.3f} | {seconds:.0f} |")
    first, second = METHODS
    test = stats.wilcoxon(dice[first], dice[second])
    print(
        f"\n{first} minus {second}, still by still: {interval(dice[first] - dice[second])}, Wilcoxon p = {test.pvalue:.3g}"
    )
