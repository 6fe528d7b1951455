"""Measure the histology pipeline: varCE, weight maps, object metrics, prediction overhead, oracle ceiling.

Run ``python -m benchmarks histology`` (``--tiles FOLDER`` adds the oracle ceiling on instance maps).
"""

from __future__ import annotations

import argparse
import platform
import resource
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from napari_medseg.evaluate.metrics.objects import aji, aji_greedy, object_hausdorff
from napari_medseg.inference.network import predict
from napari_medseg.io import read_one
from napari_medseg.jobs import Job, run
from napari_medseg.measure.labels import instances
from napari_medseg.method import Model
from napari_medseg.methods.fullnet import ternary
from napari_medseg.methods.fullnet.loss import Options, varce
from napari_medseg.methods.fullnet.method import FullNet, FullNetSettings
from napari_medseg.methods.fullnet.ternary import drop_small, label_objects
from napari_medseg.samples.histology import nuclei_tile

Row = tuple[str, str, str]
OPTIONS = Options()


def nuclei(size: int, per_side: tuple[int, int], radius: tuple[float, float], seed: int = 0) -> np.ndarray:
    """Return labels (size, size) of disks on a jittered grid."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), np.int32)
    rows, columns = np.ogrid[:size, :size]
    step = size / np.asarray(per_side)
    for k in range(per_side[0] * per_side[1]):
        y, x = (np.asarray(divmod(k, per_side[1])) + 0.5 + rng.uniform(-0.1, 0.1, 2)) * step
        r = rng.uniform(*radius)
        box = slice(max(int(y - r), 0), int(y + r) + 2), slice(max(int(x - r), 0), int(x + r) + 2)
        inside = (rows[box[0]] - y) ** 2 + (columns[:, box[1]] - x) ** 2 < r * r
        labels[box][inside & (labels[box] == 0)] = k + 1
    return labels


def best(function: Callable[[], object], repeats: int) -> float:
    """Return the smallest processor time of `repeats` calls in seconds, which other programs hardly disturb."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def loop_loss(logits: Tensor, target: Tensor, weight: Tensor, instances: Tensor) -> Tensor:
    """Compute varCE one instance at a time, as its definition reads."""
    p = torch.softmax(logits, 1)
    ce = (torch.nn.functional.cross_entropy(logits, target, reduction="none") * weight).mean()
    total = torch.zeros(())
    for k in range(len(p)):
        ids = torch.unique(instances[k])
        image = torch.zeros(())
        for i in ids[ids > 0]:
            inside = p[k][:, instances[k] == i]
            if inside.shape[1] > 1:
                image = image + inside.var(1).sum()
        total = total + image / ((ids > 0).sum() + 1e-8)
    return ce + total / len(p)


def loss_rows() -> Iterator[Row]:
    """Compare forward and backward of varCE with the loop on 8 x 3 x 208 x 208 and 400 instances."""
    maps = np.stack([nuclei(208, (5, 10), (7, 10), seed) for seed in range(8)]).astype(np.int64)
    instances = torch.from_numpy(maps)
    target, weight = (instances > 0).long(), torch.ones(instances.shape)
    logits = torch.randn(8, 3, 208, 208, generator=torch.Generator().manual_seed(0))

    def step(loss: Callable[[Tensor], Tensor]) -> Tensor:
        leaf = logits.clone().requires_grad_()
        loss(leaf).backward()
        assert leaf.grad is not None
        return leaf.grad

    def whole(z: Tensor) -> Tensor:
        return varce(z, target, weight, instances, OPTIONS)["loss"]

    def loop(z: Tensor) -> Tensor:
        return loop_loss(z, target, weight, instances)

    difference = float((step(whole) - step(loop)).abs().max())  # also compiles
    fast, slow = best(lambda: step(whole), 30), best(lambda: step(loop), 8)
    plain = best(lambda: step(lambda z: varce(z, target, weight, instances, Options(alpha=0))["loss"]), 30)
    yield "varCE, 400 instances, forward + backward", f"{fast * 1e3:.1f} ms", f"loop {slow * 1e3:.0f} ms"
    yield "varCE against the loop", f"{slow / fast:.0f} x", f"largest gradient difference {difference:.1e}"
    alone = (slow - plain) / (fast - plain)
    yield "variance term alone against the loop", f"{alone:.0f} x", f"cross entropy alone {plain * 1e3:.1f} ms"


def tile_rows() -> Iterator[Row]:
    """Measure weight map, ternary label and metrics of a 1000 x 1000 tile with 1,806 nuclei."""
    truth = nuclei(1000, (42, 43), (7, 11))
    classes = ternary.ternary(truth)
    predicted = label_objects(drop_small(ternary.encode(classes) == ternary.INSIDE, 20), 2)
    yield "weight map, 1,806 nuclei", f"{best(lambda: ternary.weight_map(truth), 3):.2f} s", "aim 3 s"
    yield "ternary label", f"{best(lambda: ternary.ternary(truth), 3) * 1e3:.0f} ms", ""
    both = best(lambda: (aji(predicted, truth), object_hausdorff(predicted, truth)), 3)
    yield "AJI + object Hausdorff", f"{both:.2f} s", "aim 2 s"


def overhead_rows() -> Iterator[Row]:
    """Compare `predict` with the network alone on the same tiles."""
    method = FullNet(FullNetSettings(preset="light"))
    model = Model(method, method.build_network().eval(), {})
    image, _ = nuclei_tile(0, 464)  # 3 x 3 tiles of 208 with 80 overlap
    tile = torch.randn(1, 3, 208, 208)
    settings = method.prediction.updated(device="cpu")

    def bare() -> None:
        with torch.no_grad():
            for _ in range(9):
                model.network(tile)

    whole, network = [], []
    for _ in range(3):  # alternating, so that a busy machine slows both alike
        whole.append(best(lambda: run(predict(model, image, settings)), 1))
        network.append(best(bare, 1))
    ratio = min(whole) / min(network)
    yield "predict / network, light preset, 464 x 464", f"{ratio:.2f}", f"network {min(network):.1f} s; aim 1.15"


class Dark(nn.Module):
    """A network of no cost: inside where the picture is dark."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised RGB (B, 3, H, W) to logits (B, 3, H, W)."""
        dark = (x[:, 1] < -1).float() * 20 - 10
        return torch.stack([-dark, dark, torch.full_like(dark, -30)], 1)


def memory_rows() -> Iterator[Row]:
    """Watch the memory that prediction needs beyond the loaded program: tiles, and what grows with the picture."""
    method = FullNet(FullNetSettings(preset="light"))
    networks: dict[str, nn.Module] = {"light preset": method.build_network().eval(), "a network of no cost": Dark()}
    part, _ = nuclei_tile(0, 512)
    settings = method.prediction.updated(device="cpu", precision="bfloat16")
    for name, size, tile in (
        ("light preset", 512, 208),
        ("light preset", 1024, 208),
        ("a network of no cost", 4096, 512),
    ):
        image = part.replace(data=np.tile(part.data, (size // 512, size // 512, 1)))
        job = predict(Model(method, networks[name], {}), image, settings.updated(tile=tile))
        yield f"memory of predict, {size}x{size}, tiles of {tile}, {name}", f"{peak(job):.0f} MB", ""


def peak(job: Job[object]) -> float:
    """Run a job and return how much resident memory in MB it needed at most."""
    before, found = resident(), [0.0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            found.append(resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    run(job)
    done.set()
    watcher.join()
    return max(found) - before


def resident() -> float:
    """Return the resident memory of this process in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize() / 2**20


def oracle_rows(folder: Path) -> Iterator[Row]:
    """Send true instances through ternary label, encoding and post-processing."""
    for path in sorted(folder.glob("*.png")):
        truth = instances(read_one(path, "labels").data)
        encoded = ternary.encode(ternary.ternary(truth))
        labels = label_objects(drop_small(encoded == ternary.INSIDE, 20), 2)
        counts = f"{labels.max()} of {truth.max()} objects"
        yield f"oracle AJI, {path.stem[:22]}", f"{aji_greedy(labels, truth):.4f}", counts


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=Path, help="folder of instance maps for the oracle ceiling")
    parser.add_argument("--memory", action="store_true", help="only the memory of prediction (Linux)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    rows = list(memory_rows()) if args.memory else [*loss_rows(), *tile_rows(), *overhead_rows()]
    rows += oracle_rows(args.tiles) if args.tiles else ()
    print(
        f"{platform.processor() or platform.machine()}, {args.threads} thread(s), processor time, torch {torch.__version__}\n"
    )
    print("| what | measured | note |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
