"""Processor time, memory and labels of FullNet against an older commit, in turns.

Run ``python -m benchmarks fullnet --against COMMIT [IMAGE ...]``. Both sides run in processes of their own, one after
the other, with one thread: prediction of whole tiles by the nuclei model of the older commit, which both can read, and a
training step (loss included).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import header
from benchmarks._against import ask, row, sources_of

PREDICT = """
import json, resource, sys, time
import numpy as np, torch
from napari_medseg import Image, load_model, predict, run
torch.set_num_threads(1)
model, data = load_model(sys.argv[1]), np.load(sys.argv[2])
before = time.process_time()
result = run(predict(model, Image(data, "YXC"), model.method.prediction.updated(device="cpu")))
seconds = time.process_time() - before
np.save(sys.argv[3], result.labels.data)
print(json.dumps({"seconds": seconds, "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""
STEP = """
import json, tempfile, time
from pathlib import Path
import numpy as np, torch
from napari_medseg import Image, settings
from napari_medseg.io.write import write
from napari_medseg.jobs import run
from napari_medseg.methods import create
from napari_medseg.samples.histology import nuclei_tile
try:
    from napari_medseg.training.run import Run
except ImportError:
    from napari_medseg.training_run import Run
torch.set_num_threads(1)
folder = Path(tempfile.mkdtemp())
for part, image in zip(("images", "labels"), nuclei_tile(0, 256)):
    write(folder / part / "a.png", image.replace(name="a"))
method = create("fullnet", {"preset": "light", "crop": 96})
how = settings.TrainSettings(epochs=9, steps_per_epoch=6, batch_size=6, device="cpu")
live = Run(method, method.find_pairs(folder).pairs, (), how, folder / "run")
x, y = next(iter(live.batches.epoch(0)))
live.parallel.train()
live._step(x, y)
times = []
for _ in range(5):
    before = time.process_time()
    live._step(x, y)
    times.append(time.process_time() - before)
print(json.dumps({"seconds": min(times)}))
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    from napari_medseg.io import read_one
    from napari_medseg.samples.histology import nuclei_tile

    parser = argparse.ArgumentParser("benchmarks fullnet", description=__doc__)
    parser.add_argument("images", nargs="*", type=Path, help="colour tiles; default: a generated one of 1000 x 1000")
    parser.add_argument("--against", required=True, help="commit to compare with")
    parser.add_argument("--model", type=Path, help="checkpoint that both can read; default: the older commit's nuclei")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    print(header(f"fullnet --against {args.against}", ("numpy", "torch")))
    print("\n| what | before | now | ratio |\n|---|---|---|---|")
    tiles = [np.asarray(read_one(path).data)[..., :3] for path in args.images] or [nuclei_tile(0, 1000)[0].data]
    with tempfile.TemporaryDirectory() as work:
        sources = sources_of(args.against, Path(work))
        args.model = args.model or sources[0] / "napari_medseg/models/nuclei_dsb2018.pt"
        steps = [[ask(source, STEP)["seconds"] for source in sources] for _ in range(args.repeats)]
        row("training step, 6 crops of 96 x 96, s", steps)
        for index, tile in enumerate(tiles):
            compare(f"tile {index + 1}", tile, args, sources, Path(work))


def compare(name: str, tile: np.ndarray, args: argparse.Namespace, sources: Sequence[Path], work: Path) -> None:
    """Print the rows of one tile."""
    np.save(work / "tile.npy", tile)
    runs = [
        [
            ask(s, PREDICT, str(args.model), str(work / "tile.npy"), str(work / f"{k}.npy"))
            for k, s in enumerate(sources)
        ]
        for _ in range(args.repeats)
    ]
    row(f"predict, {name}, {tile.shape[0]} x {tile.shape[1]}, s", [[r["seconds"] for r in pair] for pair in runs])
    row(f"peak memory, {name}, MB", [[r["MB"] for r in pair] for pair in runs])
    before, now = (np.load(work / f"{k}.npy") for k in (0, 1))
    flips = float(((before > 0) != (now > 0)).mean())
    print(f"| objects, {name} | {before.max()} | {now.max()} | {now.max() / max(before.max(), 1):.4f} |")
    print(f"| pixels that changed sides, {name} | | {flips:.2e} | |", flush=True)


if __name__ == "__main__":
    main()
