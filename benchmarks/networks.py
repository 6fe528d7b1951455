"""Processor time, memory and labels of P-Net, SC-DCNN, U-Net and DoubleU-Net against an older commit, in turns.

Run ``python -m benchmarks networks --against COMMIT``. Networks have the papers' size and the same weights on both sides:
random ones, but trained for some steps on the image that is predicted, so that its answer has two sides. Each run is a
process of its own with one thread; the sides take turns. The third column is what the present commit needs in float32.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import header
from benchmarks._against import ask, row, sources_of

# name: method, its settings, images to predict and to train on, training settings
CASES: dict[str, tuple[str, dict[str, object], tuple[int, ...], tuple[int, ...], dict[str, object]]] = {
    "P-Net 2D": ("p-net", {"ndim": 2}, (512, 512), (128, 128), {"batch_size": 1}),
    "P-Net 3D": ("p-net", {"ndim": 3}, (64, 128, 128), (32, 64, 64), {"batch_size": 1}),
    "SC-DCNN": ("sc-dcnn", {}, (384, 384), (384, 384), {"batch_size": 2}),
    "U-Net, 5 levels": ("afm-unet", {"architecture": "unet5"}, (512, 512), (256, 256), {"batch_size": 2}),
    "DoubleU-Net": ("double-unet", {"encoder_weights": "none"}, (512, 512), (256, 256), {"batch_size": 2}),
}
COMMON = """
import json, resource, sys, tempfile, time
from pathlib import Path
import numpy as np, torch
from napari_medseg import Image, settings
from napari_medseg.io.write import write
from napari_medseg.jobs import run
from napari_medseg.methods import create
try:
    from napari_medseg.training.run import Run
except ImportError:
    from napari_medseg.training_run import Run
torch.set_num_threads(1)
name, options, data, schedule = sys.argv[1], json.loads(sys.argv[2]), np.load(sys.argv[3]), json.loads(sys.argv[4])
axes = "ZYX"[-data.ndim:]
folder, suffix = Path(tempfile.mkdtemp()), ".tif"
write(folder / "images" / f"a{suffix}", Image(data, axes))
write(folder / "labels" / f"a{suffix}", Image(np.uint8(data > 127) * 255, axes, kind="labels"))
method = create(name, options)
how = settings.TrainSettings(epochs=9, steps_per_epoch=4, learning_rate=1e-3, device="cpu", augment=False, **schedule)
live = Run(method, method.find_pairs(folder).pairs, (), how, folder / "run")
x, y = next(iter(live.batches.epoch(0)))
live.parallel.train()
"""
STEP = (
    COMMON
    + """
live._step(x, y)
times = []
for _ in range(4):
    before = time.process_time()
    live._step(x, y)
    times.append(time.process_time() - before)
print(json.dumps({"seconds": min(times)}))
"""
)
WEIGHTS = (
    COMMON
    + """
for _ in range(12):
    live._step(x, y)
torch.save(live.network.state_dict(), sys.argv[5])
print("{}")
"""
)
PREDICT = """
import json, resource, sys, time
import numpy as np, torch
from napari_medseg import Image, predict, run
from napari_medseg.method import Model
from napari_medseg.methods import create
torch.set_num_threads(1)
method, data = create(sys.argv[1], json.loads(sys.argv[2])), np.load(sys.argv[3])
network = method.build_network().eval()
network.load_state_dict(torch.load(sys.argv[4], weights_only=True))
how = method.prediction.updated(device="cpu", precision=sys.argv[6])
model, image, times = Model(method, network, {}), Image(data, "ZYX"[-data.ndim:]), []
for _ in range(3):
    before = time.process_time()
    result = run(predict(model, image, how))
    times.append(time.process_time() - before)
seconds = min(times)
np.savez(sys.argv[5], labels=result.labels.data, probabilities=result.probabilities)
print(json.dumps({"seconds": seconds, "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def picture(shape: Sequence[int], seed: int) -> np.ndarray:
    """Return smooth random blobs with noise, uint8 (*shape)."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    blobs = gaussian_filter(rng.standard_normal(shape), 6)
    return np.asarray(np.clip(128 + 60 * blobs / blobs.std() + rng.normal(0, 12, shape), 0, 255), np.uint8)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser("benchmarks networks", description=__doc__)
    parser.add_argument("--against", required=True, help="commit to compare with")
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    print(header(f"networks --against {args.against}", ("numpy", "torch")))
    print("\n| what | before | now | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as work:
        sources = sources_of(args.against, Path(work))
        for name in args.only:
            compare(name, sources, args.repeats, Path(work))


def compare(name: str, sources: Sequence[Path], repeats: int, work: Path) -> None:
    """Print the rows of one network."""
    import json

    method, options, whole, part, schedule = CASES[name]
    words = method, json.dumps(options)
    np.save(work / "part.npy", picture(part, 0))
    np.save(work / "whole.npy", picture(whole, 1))
    train = (*words, str(work / "part.npy"), json.dumps(schedule))
    size = " x ".join(map(str, part))
    row(f"{name}: training step, {schedule['batch_size']} of {size}, s",
        [[ask(s, STEP, *train)["seconds"] for s in sources] for _ in range(repeats)])  # fmt: skip
    weights = str(work / "weights.pt")
    ask(sources[0], WEIGHTS, *train, weights)
    size = " x ".join(map(str, whole))
    sides = {"before": (sources[0], "auto"), "float32": (sources[1], "float32"), "now": (sources[1], "auto")}
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side, (source, precision) in sides.items():
            out = str(work / f"{side}.npz")
            runs[side].append(ask(source, PREDICT, *words, str(work / "whole.npy"), weights, out, precision))
    for side, told in (("now", ""), ("float32", " in float32")):
        pairs = list(zip(runs["before"], runs[side], strict=True))
        row(f"{name}: predict {size}{told}, s", [[r["seconds"] for r in pair] for pair in pairs])
        row(f"{name}: peak memory{told}, MB", [[r["MB"] for r in pair] for pair in pairs])
    before, exact, now = (np.load(work / f"{side}.npz") for side in ("before", "float32", "now"))
    flips = float((before["labels"] != now["labels"]).mean())
    far = float(np.abs(before["probabilities"] - exact["probabilities"]).max())
    print(f"| {name}: pixels with another label | | {flips:.1e} | |")
    print(f"| {name}: largest difference of probabilities in float32 | | {far:.1e} | |", flush=True)


if __name__ == "__main__":
    main()
