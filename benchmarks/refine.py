"""Scribble release to repainted mask in the real viewer: ``xvfb-run -a python -m benchmarks refine``.

A generated scan is open in napari with the dock Refine with scribbles. Each stroke is a short line where the mask
differs most from the lesion. The clock starts when the stroke is released and stops when the canvas has drawn the new
mask; strokes come one second apart, as from a hand. Processor time counts all threads, software rendering included: on
an idle machine the answer comes at least as soon as that.

``--large`` opens no window: a session of 20 classes on 1500x400x400 voxels, each stroke in another class, handed over as
the dock does it, as the box that it lies in.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import napari
import numpy as np
from qtpy.QtCore import QEventLoop, QTimer
from scipy import ndimage

from benchmarks import header
from napari_medseg._napari.layers import layer_data
from napari_medseg._napari.refine import saves as refine_saves
from napari_medseg._napari.refine.setup import DEEPIGEOS
from napari_medseg.image import Image
from napari_medseg.jobs import run
from napari_medseg.methods import create
from napari_medseg.models.checkpoint import bundled, pack, write_checkpoint
from napari_medseg.refinement import RefinementSession, RefinementSettings
from napari_medseg.samples.mri import brain_volume, slice_2d

SHAPES = ((512, 512), (160, 192, 128))
TARGETS = {("geodesic", 2): 150.0, ("deepigeos", 2): 1500.0}
LENGTH, PAUSE_MS, LIMIT_MS = 7, 1000, 120_000
LARGE, CLASSES, NOISE = (1500, 400, 400), 20, 12


class Window:
    """A viewer with the dock on `image`; `truth` says where strokes are needed."""

    def __init__(self, image: Image, truth: np.ndarray, engine: str, folder: Path, small: bool) -> None:
        self.viewer = napari.Viewer(title="benchmark")
        self.viewer.window.resize(1380, 960)
        data, kwargs, _ = layer_data(image)
        self.viewer.add_image(data, **kwargs)
        self.truth = truth
        _, self.dock = self.viewer.window.add_plugin_dock_widget("napari-medseg", "Refine with scribbles")
        if engine == "deepigeos":
            self.dock.setup.engine.setCurrentText(DEEPIGEOS)
            self.dock.setup.rnet.browse(str(rnet(image, folder, small)))
        self.canvas: Any = self.viewer.window._qt_viewer.canvas._scene_canvas
        self.longest, self.last = 0.0, time.perf_counter()
        self.heart = QTimer(interval=2)
        self.heart.timeout.connect(self.beat)
        start = time.perf_counter()
        self.dock.run_bar.start()
        self.until(lambda: self.dock.live is not None)
        self.opening = time.perf_counter() - start

    def beat(self) -> None:
        """Note the longest time that the window did not answer."""
        now = time.perf_counter()
        self.longest, self.last = max(self.longest, now - self.last), now

    def until(self, condition: Any, milliseconds: int = LIMIT_MS) -> None:
        """Let the window work until the canvas is drawn, or a moment passes, and `condition` holds."""
        loop, timer, limit = QEventLoop(), QTimer(interval=20), QTimer(interval=milliseconds, singleShot=True)
        check = lambda *_: loop.quit() if condition() else None  # noqa: E731
        timer.timeout.connect(check)
        limit.timeout.connect(loop.quit)
        timer.start()
        limit.start()
        loop.exec()

    def wait(self, milliseconds: int) -> None:
        """Let the window work for a while."""
        loop = QEventLoop()
        QTimer.singleShot(milliseconds, loop.quit)
        loop.exec()

    def stroke(self) -> dict[str, float]:
        """Paint where the mask is most wrong and return the milliseconds until the mask is repainted."""
        live = self.dock.live
        place = live.session.biggest_disagreement(self.truth)
        position = place.position if place is not None else tuple(n // 2 for n in self.truth.shape)
        live.guidance.look_at(position)
        self.wait(PAUSE_MS)
        layer, value = live.layers.scribbles, 2 if self.truth[position] else 1
        before, shown, loop = live.session.state.index, [False], QEventLoop()

        def drawn(event: Any = None) -> None:
            if live.session.state.index > before and live.steps.current is None and shown[0]:
                loop.quit()

        live.panel.strip.show_rounds = _after(live.panel.strip.show_rounds, shown)
        self.canvas.events.draw.connect(drawn)
        self.longest, self.last = 0.0, time.perf_counter()
        self.heart.start()
        with layer.block_history():
            for step in range(LENGTH):
                layer.paint((*position[:-1], min(position[-1] + step, self.truth.shape[-1] - 1)), value, refresh=False)
            layer.refresh(extent=False)
            start, processor = time.perf_counter(), time.process_time()
        QTimer.singleShot(LIMIT_MS, loop.quit)
        loop.exec()
        total, processor = 1000 * (time.perf_counter() - start), 1000 * (time.process_time() - processor)
        self.heart.stop()
        self.canvas.events.draw.disconnect(drawn)
        del live.panel.strip.show_rounds
        engine = 1000 * sum(live.session.rounds[-1]["timings"].values())
        return {"total": total, "processor": processor, "engine": engine, "blocked": 1000 * self.longest}


def _after(function: Any, shown: list[bool]) -> Any:
    def call(*arguments: Any) -> None:
        function(*arguments)
        shown[0] = True

    return call


def rnet(image: Image, folder: Path, small: bool) -> Path:
    """Return the bundled R-Net, or write one of the paper's size with random weights, as slow as a trained one."""
    if small:
        return bundled(f"demo_rnet_{len(image.spatial_shape)}d")
    method = create("r-net", {"ndim": len(image.spatial_shape)})
    path = folder / f"r-net-{method.ndim}d.pt"
    write_checkpoint(path, pack(method, method.build_network().state_dict()))
    return path


def scan(shape: tuple[int, ...], seed: int) -> tuple[Image, np.ndarray]:
    """Return a generated scan and its lesion."""
    image, truth = slice_2d(seed, shape) if len(shape) == 2 else brain_volume(seed, shape, (1.0, 1.0, 1.0))
    return image, np.asarray(truth.data) > 0


def bodies(shape: tuple[int, ...], classes: int, seed: int) -> tuple[Image, np.ndarray]:
    """Return a noisy volume of one ellipsoid for each class, four beside one another, and its classes (uint8)."""
    rng, truth = np.random.default_rng(seed), np.zeros(shape, np.uint8)
    cell = np.array([shape[0] / -(-classes // 4), shape[1] / 2, shape[2] / 2])
    for k in range(classes):
        middle, radii = (np.array([k // 4, k // 2 % 2, k % 2]) + 0.5) * cell, cell * rng.uniform(0.2, 0.42, 3)
        box = tuple(slice(int(m - r), int(m + r) + 1) for m, r in zip(middle, radii, strict=True))
        away = [((x - m) / r) ** 2 for x, m, r in zip(np.ogrid[box], middle, radii, strict=True)]
        truth[box][sum(away) < 1] = k + 1
    levels = np.array([60, *rng.integers(100, 200, classes)], np.int16)
    data = levels[truth]
    for plane in data:
        plane += rng.normal(0, NOISE, plane.shape).astype(np.int16)
    return Image(data, "ZYX", (1.0, 1.0, 1.0)), truth


def large(strokes: int, seed: int) -> None:
    """Print the cost of a round in a large volume, from nothing and with two thirds of each object given."""
    image, truth = bodies(LARGE, CLASSES, seed)
    objects = ndimage.find_objects(truth)
    given = truth.copy()
    for k, box in enumerate(objects, 1):
        part = given[box][..., : (box[2].stop - box[2].start) // 3]
        part[part == k] = 0
    print("| start | rounds | processor time, median | fastest, slowest | Dice, median | undo | memory at the peak |")
    print("|---|---|---|---|---|---|---|")
    for start, mask in (("nothing", None), ("two thirds", given)):
        session = RefinementSession(image, proposal=mask, settings=RefinementSettings(classes=CLASSES))
        run(session.propose())
        seconds, scores = [], []
        for number in range(strokes):
            k = number * 7 % CLASSES + 1
            z, y, (low, high) = *((s.start + s.stop) // 2 for s in objects[k - 1][:2]), _ends(objects[k - 1][2], mask)
            box = (slice(z, z + 1), slice(y - 1, y + 2), slice(low, high))
            began = time.process_time()
            run(session.refine(np.full((1, 3, high - low), k + 1, np.uint8), box))
            seconds.append(time.process_time() - began)
            found, true = session.mask[objects[k - 1]] == k, truth[objects[k - 1]] == k
            scores.append(2 * np.count_nonzero(found & true) / (np.count_nonzero(session.mask == k) + true.sum()))
        began = time.process_time()
        session.undo()
        undo = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        cells = [
            start,
            str(strokes),
            f"{statistics.median(seconds):.2f} s",
            f"{min(seconds):.2f}, {max(seconds):.2f} s",
        ]
        cells += [f"{statistics.median(scores):.3f}", f"{1000 * undo:.0f} ms", f"{peak:.1f} GB"]
        print(f"| {' | '.join(cells)} |", flush=True)


def _ends(row: slice, given: np.ndarray | None) -> tuple[int, int]:
    """Return where a stroke along a row begins and ends: two thirds of an object, or most of what lacks of it."""
    width = row.stop - row.start
    return (row.start + width // 6, row.stop - width // 6) if given is None else (row.start + 6, row.start + width // 3)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and print markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks refine", description=__doc__)
    parser.add_argument("--strokes", type=int, default=12, help="timed strokes of each entry; the median is printed")
    parser.add_argument("--engine", nargs="+", default=["geodesic"], choices=["geodesic", "deepigeos"])
    parser.add_argument("--ndim", type=int, nargs="+", default=[2, 3], choices=[2, 3])
    parser.add_argument("--bundled", action="store_true", help="the small bundled R-Net instead of the paper's size")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--large", action="store_true", help="a session of 20 classes on 1500x400x400 voxels instead")
    options = parser.parse_args(argv)
    if options.large:
        print(header(f"refine --large --strokes {options.strokes}", ("numpy", "numba", "torch")) + "\n")
        large(options.strokes, options.seed)
        return
    words = f"refine --strokes {options.strokes} --engine {' '.join(options.engine)}{' --bundled' * options.bundled}"
    words += "" if options.ndim == [2, 3] else f" --ndim {' '.join(map(str, options.ndim))}"
    print(header(words, ("napari", "numpy", "numba", "torch")) + "\n")
    print(
        "| image | engine | Start (s) | release to repaint, median | fastest, slowest | processor time | engine | window blocked |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        refine_saves.SESSIONS = Path(temporary) / "sessions"
        for engine in options.engine:
            for shape in (s for s in SHAPES if len(s) in options.ndim):
                window = Window(*scan(shape, options.seed), engine, Path(temporary), options.bundled)
                times = [window.stroke() for _ in range(options.strokes)]
                print(row(shape, engine, window.opening, times), flush=True)
                window.wait(2 * PAUSE_MS)
                window.viewer.close()


def row(shape: tuple[int, ...], engine: str, opening: float, times: list[dict[str, float]]) -> str:
    """Return one line of the table, in milliseconds."""
    total = [t["total"] for t in times]
    target = TARGETS.get((engine, len(shape)))
    middle = statistics.median(total)
    met = "" if target is None else f" (target {target:g}: {'met' if middle <= target else 'missed'})"
    alone, processor = (statistics.median(t[name] for t in times) for name in ("engine", "processor"))
    cells = ["x".join(map(str, shape)), engine, f"{opening:.1f}", f"{middle:.0f} ms{met}"]
    cells += [f"{min(total):.0f}, {max(total):.0f} ms", f"{processor:.0f} ms", f"{alone:.0f} ms"]
    blocked = f"at most {max(t['blocked'] for t in times):.0f} ms"
    return f"| {' | '.join([*cells, blocked])} |"


if __name__ == "__main__":
    main()
