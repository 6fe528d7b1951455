"""Cost of the engine over the bare network, of importing, of starting napari, and memory by image size."""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks import header
from napari_medseg.image import Image
from napari_medseg.inference.network import LazyInput, predict
from napari_medseg.jobs import run
from napari_medseg.method import Model
from napari_medseg.methods import create
from napari_medseg.models.checkpoint import pack, write_checkpoint
from napari_medseg.samples.afm import afm_folder
from napari_medseg.settings import PredictSettings, TrainSettings
from napari_medseg.training.run import Run

REPEATS = 3
EDGE, TILE = 768, 256


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved(first: Callable[[], object], second: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the median ratio first/second of runs made in turns, after one warm-up of each."""
    first(), second()
    return statistics.median(seconds(first) / seconds(second) for _ in range(repeats))


def predict_overhead(architecture: str) -> float:
    method = create("afm-unet", {"architecture": architecture})
    model = Model(method, method.build_network().eval(), {})
    image = Image(np.random.default_rng(0).integers(0, 255, (EDGE, EDGE), np.uint8), "YX")
    settings = PredictSettings(tile=TILE, overlap=0, device="cpu")
    source = LazyInput(method, image)
    starts = range(0, EDGE, TILE)
    tiles = [
        torch.from_numpy(source[(slice(None), slice(y, y + TILE), slice(x, x + TILE))])[None]
        for y in starts
        for x in starts
    ]

    @torch.no_grad()
    def bare() -> None:
        for tile in tiles:
            torch.sigmoid(model.network(tile))

    return interleaved(lambda: run(predict(model, image, settings)), bare)


def training_overhead(architecture: str, folder: Path) -> float:
    afm_folder(folder, 6, 128)
    method = create("afm-unet", {"architecture": architecture})
    settings = TrainSettings(epochs=1000, batch_size=4, steps_per_epoch=6, device="cpu")
    live = Run(method, method.find_pairs(folder).pairs, (), settings, folder / "run")
    x, y = next(iter(live.batches.epoch(0)))

    def bare() -> None:
        live.parallel.train()
        for _ in range(settings.steps_per_epoch):
            live.optimizer.zero_grad(set_to_none=True)
            method.loss(live.network(x), y, x)["loss"].backward()
            live.optimizer.step()

    return interleaved(lambda: run(live.train_epoch()), bare)


def import_milliseconds(module: str, repeats: int = 9) -> float:
    """Return the median time that importing `module` adds to starting Python."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    times = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(repeats)
    ]
    return 1000 * statistics.median(times)


def napari_start_milliseconds(repeats: int = 9) -> float:
    """Return the median time that discovering and registering the plugin adds to napari's start."""
    code = (
        "import time; from npe2 import PluginManager, PluginManifest; import npe2.manifest.schema; pm = PluginManager();"
        "t = time.perf_counter(); pm.register(PluginManifest.from_distribution('napari-medseg'));"
        "print(time.perf_counter() - t)"
    )
    times = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(repeats)
    ]
    return 1000 * statistics.median(times)


def memory_megabytes(edge: int) -> float:
    """Return the peak memory that predicting an edge x edge image adds in a process of its own."""
    words = [sys.executable, "-m", "benchmarks", "engine", "--memory-of", str(edge)]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def memory_of(edge: int) -> None:
    method = create("afm-unet", {"architecture": "unet2"})
    model = Model(method, method.build_network().eval(), {})
    settings = PredictSettings(tile=1024, device="cpu")
    small = Image(np.zeros((1024, 1024), np.uint8), "YX")
    run(predict(model, small, settings))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    image = Image(np.random.default_rng(0).integers(0, 255, (edge, edge), np.uint8), "YX")
    run(predict(model, image, settings))
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def checkpoint_milliseconds() -> float:
    method = create("afm-unet")
    content = pack(method, method.build_network().state_dict())
    with tempfile.TemporaryDirectory() as folder:
        return 1000 * statistics.median(
            seconds(lambda: write_checkpoint(Path(folder) / "a.pt", content)) for _ in range(5)
        )


def train_row() -> str:
    with tempfile.TemporaryDirectory() as folder:
        ratio = training_overhead("unet3", Path(folder) / "data")
    return f"| training step / bare step, unet3, 4x128x128, augmented | {ratio:.3f} | <= 1.15 |"


def memory_row(edge: int) -> str:
    whole = edge * edge * 64 / 2**20
    text = f"| memory added by {edge}x{edge} (one 16-channel float32 map: {whole:.0f} MB) "
    return text + f"| {memory_megabytes(edge):.0f} MB | bounded by tiles |"


def predict_row(architecture: str) -> str:
    ratio = predict_overhead(architecture)
    return f"| predict / bare network, {architecture}, {EDGE}x{EDGE} in tiles of {TILE} | {ratio:.3f} | <= 1.15 |"


PARTS: dict[str, list[Callable[[], str]]] = {
    "predict": [lambda: predict_row("unet3"), lambda: predict_row("unet5")],
    "train": [train_row],
    "start": [
        lambda: f"| import napari_medseg | {import_milliseconds('napari_medseg'):.1f} ms | <= 50 ms |",
        lambda: f"| registering the plugin at napari's start | {napari_start_milliseconds():.1f} ms | <= 30 ms |",
        lambda: f"| writing a 7.8 MB checkpoint | {checkpoint_milliseconds():.0f} ms | |",
    ],
    "memory": [lambda: memory_row(4096), lambda: memory_row(8192)],
}


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("benchmarks engine")
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--memory-of", type=int)
    arguments = parser.parse_args(argv)
    if arguments.memory_of:
        memory_of(arguments.memory_of)
        return
    print(header(" ".join(["engine", *arguments.parts]), ("numpy", "torch", "napari")))
    print("\n| what | measured | aim |\n|---|---|---|")
    for part in arguments.parts:
        for row in PARTS[part]:
            print(row(), flush=True)
