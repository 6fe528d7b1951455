"""Measure a batch on Dask processes: speed-up, overhead per file, and what a killed worker costs.

Small pictures are predicted in this process, then on 1, 2 ... worker processes of this machine, each process with one
thread; start-up is measured apart. Processor time, of this process with the scheduler in it and of the workers, tells
what distribution costs even where other programs use the machine. With ``--kill`` one of two workers is killed in the middle and all label files are
compared with those of the serial run.

Run ``python -m benchmarks cluster --kill -o docs/benchmarks`` (``--help`` lists the options).
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_medseg.batch import BatchSettings, predict_files
from napari_medseg.cluster import connect, predict_on_cluster
from napari_medseg.image import Image
from napari_medseg.io import write
from napari_medseg.jobs import Progress, run
from napari_medseg.method import Model
from napari_medseg.methods import create
from napari_medseg.models.catalog import load_model
from napari_medseg.models.checkpoint import pack, write_checkpoint
from napari_medseg.settings import PredictSettings

CPU = PredictSettings(device="cpu")


def make_inputs(folder: Path, files: int, size: int) -> tuple[Model, Path]:
    """Write a checkpoint with random weights and `files` pictures; return the model and the pictures' folder."""
    torch.manual_seed(0)
    method = create("afm-unet", {"architecture": "unet2"})
    write_checkpoint(folder / "m.pt", pack(method, method.build_network().state_dict()))
    rng = np.random.default_rng(0)
    for index in range(files):
        write(folder / "in" / f"{index:03d}.tif", Image(rng.integers(0, 255, (size, size), np.uint8), "YX"))
    return load_model(folder / "m.pt"), folder / "in"


def timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def best(repeats: int, call: Callable[[], Any], spent: Callable[[], float] = time.process_time) -> tuple[float, float]:
    """Return wall and processor seconds of the fastest of several calls."""
    found = []
    for _ in range(repeats):
        before = spent()
        seconds = timed(call)
        found.append((seconds, spent() - before))
    return min(found)


def same_labels(out: Path, serial: Path) -> bool:
    names = sorted(path.name for path in serial.glob("*_labels.tif"))
    return bool(names) and all(
        (out / n).is_file() and (out / n).read_bytes() == (serial / n).read_bytes() for n in names
    )


def on_workers(model: Model, source: Path, folder: Path, workers: int, args: argparse.Namespace) -> dict[str, Any]:
    """Predict on so many processes: start-up, the first files (programs are loaded), the best of several runs, and whether the labels are the serial ones."""
    start = time.perf_counter()
    with connect(workers=workers) as client:
        started = time.perf_counter() - start
        few = BatchSettings(pattern="00?.tif")
        first = timed(
            lambda: run(predict_on_cluster(client, model, [source], folder / f"warm{workers}", CPU, options=few))
        )
        out = folder / f"on{workers}"
        seconds, used = best(
            args.repeats,
            lambda: run(predict_on_cluster(client, model, [source], out, CPU, resume=False)),
            lambda: time.process_time() + sum(client.run(time.process_time).values()),
        )
    row = {"processes": workers, "start (s)": started, "first files (s)": first, "batch (s)": seconds}
    return {**row, "processor (s)": used, "equal": same_labels(out, folder / "serial")}


def killed(model: Model, source: Path, folder: Path) -> dict[str, Any]:
    """Kill one of two workers in the middle."""
    with connect(workers=2) as client:
        victims = list(client.run(os.getpid).values())[:1]

        def shoot(progress: Progress) -> None:
            if progress.step >= progress.total // 2 and victims:
                os.kill(victims.pop(), signal.SIGKILL)

        out = folder / "killed"
        seconds = timed(lambda: run(predict_on_cluster(client, model, [source], out, CPU), shoot))
    assert not victims
    return {"processes": "2, one killed", "batch (s)": seconds, "equal": same_labels(out, folder / "serial")}


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("cluster", description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=64)
    parser.add_argument("--size", type=int, default=512, help="edge of the pictures in pixels")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3, help="of each batch; the fastest counts")
    parser.add_argument("--kill", action="store_true", help="also kill one of two workers in the middle")
    parser.add_argument("-o", "--out", type=Path, help="folder for cluster.csv")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, source = make_inputs(folder, args.files, args.size)
        work = lambda: run(predict_files(model, [source], folder / "serial", CPU, resume=False))  # noqa: E731
        run(predict_files(model, [source], folder / "warm", CPU, options=BatchSettings(pattern="00?.tif")))
        serial, used = best(args.repeats, work)
        rows: list[dict[str, Any]] = [
            {"processes": "this one", "batch (s)": serial, "processor (s)": used, "equal": True}
        ]
        rows += [on_workers(model, source, folder, n, args) for n in args.processes]
        rows += [killed(model, source, folder)] if args.kill else []
    for row in rows:
        row["speed-up"] = serial / row["batch (s)"]
        if "processor (s)" in row:
            row["processor overhead per file (ms)"] = 1000 * (row["processor (s)"] - used) / args.files
        row |= {key: round(value, 3) for key, value in row.items() if isinstance(value, float)}
        print(row)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        with (args.out / "cluster.csv").open("w", newline="", encoding="utf-8") as file:
            names = list(dict.fromkeys(key for row in rows for key in row))
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
