"""What a GPU is for, in one run of a minute or two: ``python -m benchmarks gpu`` on a machine with one.

Geodesic maps against those of the CPU (kernel alone, and with the transfers), CRF-Net and R-Net against the CPU, the
rounds of a refinement with an R-Net of the paper's size, and training steps. ``--device cpu --small`` tries the script
itself where there is none; its times then say nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from benchmarks import header
from benchmarks.geodesic import scene
from benchmarks.scribbles import stroke
from napari_medseg.geodesic import geodesic_distance
from napari_medseg.geodesic._inputs import check_problem
from napari_medseg.image import Image
from napari_medseg.jobs import run
from napari_medseg.method import Model
from napari_medseg.methods import create
from napari_medseg.methods.deepigeos.crf import CRFNet
from napari_medseg.refinement import RefinementSession, RefinementSettings
from napari_medseg.samples.mri import brain_volume

CUBES = ((128, 5.0), (256, 30.0))
ROUND, ROUND_TARGET = (160, 192, 128), 250.0
SMALL = 4


def milliseconds(work: Callable[[], object], device: str, repeat: int = 5) -> float:
    """Return the median time of `work` after one warm-up, waiting for the device."""
    times = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def kernel(image: np.ndarray, seeds: np.ndarray, weight: float, device: str) -> Callable[[], object]:
    """Return the tiled solver alone, its data on the device."""
    from napari_medseg.geodesic import _triton

    problem = check_problem(image, False, 1.0, weight, "linear")
    data = torch.from_numpy(np.ascontiguousarray(problem.image, np.float32)).to(device)
    sources = torch.from_numpy(seeds).to(device)
    return lambda: _triton.solve(sources, data, *problem.coefficients(), problem.eps)


def geodesic(device: str, shrink: int) -> None:
    """Print the time and the largest deviation from the CPU of one map."""
    print("| map | weight | kernel (ms) | with transfers (ms) | CPU, one thread (ms) | largest deviation |")
    print("|---|---|---|---|---|---|")
    for edge, target in CUBES:
        image, seeds = scene((edge // shrink,) * 3)
        for weight in (0.5, 0.9, 1.0):
            engine = "triton" if device.startswith("cuda") else "torch"
            on_device = lambda: geodesic_distance(image, seeds, weight=weight, device=device, engine=engine)  # noqa: B023, E731
            on_cpu = lambda: geodesic_distance(image, seeds, weight=weight)  # noqa: B023, E731
            alone = f"{milliseconds(kernel(image, seeds, weight, device), device):.2f}" if engine == "triton" else "-"
            deviation = float(np.abs(on_device() - on_cpu()).max())
            cells = [f"{image.shape[0]}^3", f"{weight:g}", f"{alone} (target {target:g})"]
            cells += [
                f"{milliseconds(on_device, device):.1f}",
                f"{milliseconds(on_cpu, 'cpu'):.0f}",
                f"{deviation:.1e}",
            ]
            print(f"| {' | '.join(cells)} |", flush=True)


def equality(device: str) -> None:
    """Print the largest difference between CPU and device of the probabilities of CRF-Net and R-Net."""
    torch.manual_seed(0)
    crf = CRFNet(ndim=3).eval()
    logits, features = torch.randn(1, 2, 24, 32, 32), torch.rand(1, 1, 24, 32, 32)
    marks = (torch.rand(1, 24, 32, 32) > 0.98).to(torch.int8)
    network = create("r-net", {"ndim": 3, "crf": "freeform"}).build_network().eval()
    network.crf_active.fill_(1)
    volume = torch.cat([torch.randn(1, 4, 24, 32, 32), marks[:, None].float()], 1)  # the last channel: scribbles
    for name, module, inputs in (
        ("CRF-Net", crf, (logits, features, marks)),
        ("R-Net + CRF-Net(fu)", network, (volume,)),
    ):
        with torch.no_grad():
            here = module(*inputs).softmax(1)
            there = module.to(device)(*(x.to(device) for x in inputs)).softmax(1).cpu()
        print(f"- {name}: CPU and {device} differ by at most {float((here - there).abs().max()):.1e} (aim 1e-3)")


def rounds(device: str, shrink: int, strokes: int = 9) -> None:
    """Print the median time of a refinement round with an R-Net of the paper's size and random weights."""
    image, truth = brain_volume(3, tuple(n // shrink for n in ROUND), (1.0, 1.0, 1.0))
    wanted = np.asarray(truth.data) > 0
    method = create("r-net", {"ndim": 3})
    model = Model(method, method.build_network().eval(), {})
    session = RefinementSession(
        Image(np.asarray(image.data), "ZYX", image.scale, image.units),
        proposal=np.zeros(wanted.shape, np.uint8),
        model=model,
        settings=RefinementSettings(engine="deepigeos", device=device),
    )
    run(session.propose())
    marks, times = np.zeros(wanted.shape, np.uint8), []
    for _ in range(strokes):
        new = stroke(wanted, session.mask)
        if new is None:
            break
        marks = np.where(new > 0, new, marks)
        start = time.perf_counter()
        run(session.refine(marks))
        times.append(1000 * (time.perf_counter() - start))
    size, middle = "x".join(map(str, wanted.shape)), statistics.median(times[1:] or times)
    print(
        f"- round on {size}, R-Net of the paper's size: median {middle:.0f} ms of {len(times)} (aim {ROUND_TARGET:g} ms)"
    )


def training(device: str) -> None:
    """Print the steps a second of forward, backward and update."""
    for name, settings, shape in (("p-net", {"ndim": 3}, (1, 1, 64, 64, 64)), ("p-net", {"ndim": 2}, (4, 1, 128, 128))):
        method = create(name, settings)
        network = method.build_network().to(device).train()
        optimiser = torch.optim.SGD(network.parameters(), 1e-3)
        x, y = torch.randn(shape, device=device), torch.zeros(shape[0], *shape[2:], dtype=torch.long, device=device)

        def step() -> None:
            optimiser.zero_grad()  # noqa: B023
            torch.nn.functional.cross_entropy(network(x), y).backward()  # noqa: B023
            optimiser.step()  # noqa: B023

        print(f"- {name}, input {'x'.join(map(str, shape))}: {1000 / milliseconds(step, device):.1f} steps a second")


def main(argv: Sequence[str] | None = None) -> None:
    """Run all of it and print markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="a quarter of every edge, to try the script")
    options = parser.parse_args(argv)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("no CUDA device is found; run this on a machine with one, or try it with --device cpu --small")
    shrink = SMALL if options.small else 1
    name = torch.cuda.get_device_name() if options.device.startswith("cuda") else "no GPU"
    print(f"{header('gpu', ('numpy', 'numba', 'torch', 'triton'))} {name}.\n")
    geodesic(options.device, shrink)
    print()
    equality(options.device)
    rounds(options.device, shrink)
    training(options.device)


if __name__ == "__main__":
    main()
