"""Time the stages of the movie pipeline alone and together, and watch its memory over a long movie.

python benchmarks/video.py --frames 24 --size 1080 --network-size 256
python benchmarks/video.py --memory --frames 10000
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from napari_medseg.device import choose_device
from napari_medseg.io.movies.movie import Movie
from napari_medseg.io.movies.writer import MovieWriter
from napari_medseg.jobs import run
from napari_medseg.measure.video import contrast, shape_of
from napari_medseg.method import Model
from napari_medseg.methods.double_unet.method import DoubleUnet, DoubleUnetSettings
from napari_medseg.methods.frame_classifier.method import FrameClassifier, FrameClassifierSettings
from napari_medseg.samples.video import nerve_video
from napari_medseg.video import VideoSettings, segment_video
from napari_medseg.video.networks import Computed, Networks
from napari_medseg.video.output import CODEC_OPTIONS, paint, png

DISTINCT = 24


class Light(nn.Module):
    """Stand-in network for the memory run: K numbers per frame, or the brightness as a mask."""

    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        self.classes, self.bias = classes, nn.Parameter(torch.tensor(0.65))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to logits."""
        if self.classes:
            return x.mean((1, 2, 3))[:, None] * torch.arange(self.classes, 0, -1)
        logits = (x.mean(1, keepdim=True) - self.bias) * 100
        return torch.cat([logits, logits], 1)


def models(network_size: int, light: bool) -> tuple[Model, Model]:
    """Return classifier and segmenter with random weights (or stand-ins that cost nothing)."""
    size = network_size
    classifier = FrameClassifier(FrameClassifierSettings(encoder_weights="none", input_size=32 if light else 224))
    segmenter = DoubleUnet(DoubleUnetSettings(encoder_weights="none", input_size=size))
    networks = (Light(3), Light()) if light else (classifier.build_network(), segmenter.build_network())
    return Model(classifier, networks[0].eval(), {}), Model(segmenter, networks[1].eval(), {})


def make_movie(path: Path, frames: int, size: int) -> Path:
    """Write an H.264 movie of `frames` frames, repeating a generated one to and fro."""
    movie, _ = nerve_video(0, min(frames, DISTINCT), (size, size))
    order = [*range(len(movie.data)), *range(len(movie.data) - 2, 0, -1)]
    with MovieWriter(path, 60, (size, size), "libx264", options={"preset": "veryfast", "crf": "18"}) as writer:
        for k in range(frames):
            writer.write(movie.data[order[k % len(order)]])
    return path


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def stages(path: Path, pair: tuple[Model, Model], settings: VideoSettings, folder: Path) -> dict[str, float]:
    """Return the seconds each stage takes alone, one after the other, over all frames."""
    frames: list[np.ndarray] = []
    movie = Movie(path)
    seconds = {"decode": timed(lambda: frames.extend(movie.frame(k) for k in range(len(movie))))}
    networks = Networks(*pair, settings)
    done: list[Computed] = []
    seconds["classify + segment"] = timed(lambda: done.extend(networks.run(iter(enumerate(frames)), [])))
    overlays: list[np.ndarray] = []

    def finish() -> None:
        for item in done:
            mask = np.zeros(item.frame.shape[:2], bool) if item.mask is None else networks.method.clean(item.mask)
            shape_of(mask)
            contrast(item.frame, mask)
            (folder / "mask.png").write_bytes(png(mask.astype(np.uint8) * np.uint8(255)))
            overlays.append(paint(item.frame, mask, settings))

    seconds["measure + paint"] = timed(finish)

    def encode() -> None:
        options = CODEC_OPTIONS[settings.movie]
        with MovieWriter(folder / "alone.mkv", 60, movie.shape[1:3], settings.movie, options=options) as writer:
            for overlay in overlays:
                writer.write(overlay)

    seconds["encode"] = timed(encode)
    return seconds


def throughput(arguments: argparse.Namespace) -> dict[str, object]:
    """Return seconds of each stage and of the whole, and their ratio."""
    pair = models(arguments.network_size, arguments.light)
    settings = VideoSettings(nerve_probability=1e-9, batch=arguments.batch, movie=arguments.codec)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = make_movie(folder / "movie.mp4", arguments.frames, arguments.size)
        warm = settings.updated(every=max(arguments.frames // 2, 1))
        run(segment_video(path, *pair, folder / "warm", warm))
        alone = stages(path, pair, settings, folder)
        cpu = time.process_time()
        whole = timed(lambda: run(segment_video(path, *pair, folder / "out", settings)))
        cpu = time.process_time() - cpu
    return {
        "seconds alone": {name: round(value, 3) for name, value in alone.items()},
        "seconds one after another": round(sum(alone.values()), 3),
        "seconds together": round(whole, 3),
        "CPU seconds together": round(cpu, 3),
        "together / slowest": round(whole / max(alone.values()), 3),
        "frames per second": round(arguments.frames / whole, 2),
    }


def memory(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the resident memory in MB at tenths of a long movie (stand-in networks)."""
    readings: list[int] = []
    with tempfile.TemporaryDirectory() as temporary:
        path = make_movie(Path(temporary) / "movie.mp4", arguments.frames, arguments.size)
        settings = VideoSettings(masks=False, movie=arguments.codec)
        step = max(arguments.frames // 10, 1)
        job = segment_video(path, *models(arguments.network_size, light=True), Path(temporary) / "out", settings)
        start = time.perf_counter()
        for progress in job:
            if progress.step and progress.step % step == 0:
                readings.append(resident_megabytes())
        seconds = time.perf_counter() - start
    return {"MB at tenths": readings, "seconds": round(seconds, 1)}


def resident_megabytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        return round(pages * resource.getpagesize() / 2**20)
    except OSError:
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", type=int, default=1080, help="edge of the movie's frames in pixels")
    parser.add_argument("--network-size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--codec", choices=("ffv1", "libx264", "mpeg4"), default="ffv1")
    parser.add_argument("--light", action="store_true", help="stand-in networks: the time of everything else")
    parser.add_argument("--memory", action="store_true", help="watch memory instead of time")
    arguments = parser.parse_args(argv)
    result = memory(arguments) if arguments.memory else throughput(arguments)
    machine = {"device": choose_device()[1], "cores": os.cpu_count(), "torch": torch.__version__,
               "torch threads": torch.get_num_threads(), "python": platform.python_version()}  # fmt: skip
    json.dump({**vars(arguments), **machine, **result}, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
