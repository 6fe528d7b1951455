"""Run a network over an image of any size: tiles, blending, test-time views and out-of-memory fallback."""

from __future__ import annotations

import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from napari_medseg import __version__
from napari_medseg.device import (
    autocast,
    choose_device,
    fast_precision,
    memory_format,
    with_openvino,
)
from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.inference import tiling
from napari_medseg.inference.adaptation import adapted_to
from napari_medseg.inference.memory import Plan, within_memory
from napari_medseg.inference.views import View, views_of
from napari_medseg.jobs import Job, Progress, relabel
from napari_medseg.method import Method, Model
from napari_medseg.models.purpose import PixelSize, doubts_on, notes_on
from napari_medseg.nn.batch_norm import folded
from napari_medseg.preprocessing.resampling import interpolated, nearest, resampled
from napari_medseg.settings import PredictSettings

ON_DISK_BYTES = 2**29
LOOK = 0.5  # seconds between looks at a network that computes
FINE = 1000  # parts of a run that are told apart within a tile
AUTO_TILE = {2: 1024, 3: 256}
EXAMPLE = 32  # pixels along each axis, at least, of the input with which a network is followed to be translated
T = TypeVar("T")


@dataclass(frozen=True)
class Prediction:
    """Result of `predict`: label image, probabilities (K, *spatial), where and how long it took, and doubts of it."""

    labels: Image
    probabilities: np.ndarray
    device: str
    seconds: float
    doubts: tuple[str, ...] = ()


class LazyInput:
    """Network input (C, *spatial) of a whole image, normalised block by block when read.

    Without `statistics` those of the image count; of a part of an image they are those of the whole.
    """

    def __init__(self, method: Method, image: Image, statistics: Any = None) -> None:
        method.check(image)
        image = method.preprocess(image)
        self._method, self._raw = method, image.channels_first()
        self._statistics = method.statistics(image) if statistics is None else statistics
        self.shape = (method.in_channels, *image.spatial_shape)

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        return self._method.normalise(np.asarray(self._raw[(slice(None), *index[1:])]), self._statistics)


def predict(
    model: Model, image: Image, settings: PredictSettings | None = None, *, statistics: Any = None
) -> Job[Prediction]:
    """Segment `image`: prepare, `infer`, postprocess.

    Where the settings ask for it, the network sees an image of another pixel size than that of its training images at
    theirs; labels and probabilities are on the image's own pixels in any case. What a user should know of that, and of
    an image that the model was not made for, is among the doubts and in the labels' notes.

    Parameters
    ----------
    model, image, settings
        What runs, on what, and how.
    statistics
        Of a part of a larger image what ``method.statistics`` says of the whole; by default that of `image`. With them
        the model is taken as it is: who has the whole calls `fitted` before.

    Raises
    ------
    DataError
        If the method cannot take the image.
    """
    start = time.perf_counter()
    method = model.method
    settings = fast_settings(method, settings or PredictSettings())
    steps = trained_steps(model, image, settings)
    seen = image if steps is None else resampled(image, steps)
    array: Any = LazyInput(method, seen, statistics) if method.tiled else method.prepare(seen)
    if statistics is None:
        model = yield from adapted_to(model, array, settings)
    probabilities = yield from infer(model, array, settings)
    labels = method.postprocess(probabilities, seen)
    doubt, field = method.doubt(labels), str(model.card.get("field") or getattr(method.settings, "field", ""))
    notes = notes_on(image, model.card, seen) if method.tiled else ()
    if seen is not image:
        labels, probabilities, lost = _on_own_pixels(labels, probabilities, seen, image)
        notes += lost
    doubts = (*doubts_on(seen, model.card if method.tiled else {}, field), *((doubt,) if doubt else ()))
    said = [*labels.metadata.get("notes", ()), *notes, *doubts]
    labels = labels.replace(metadata={**labels.metadata, "notes": said}) if said else labels
    seconds = time.perf_counter() - start
    device = str(next(chain(model.network.parameters(), model.network.buffers()), torch.empty(0)).device)
    return Prediction(labels, probabilities, device, seconds, doubts)


def fitted(model: Model, sample: Image, settings: PredictSettings, statistics: Any = None) -> Job[Model]:
    """Return a model whose batch norm is adapted to an image, or a sample of it, as far as its method asks.

    `statistics` are those of `predict`; up to 3 blocks of 192 pixels along each axis are looked at.
    """
    settings = fast_settings(model.method, settings)
    steps = trained_steps(model, sample, settings)
    seen = sample if steps is None else resampled(sample, steps)
    return (yield from adapted_to(model, LazyInput(model.method, seen, statistics), settings))


def trained_steps(model: Model, image: Image, settings: PredictSettings) -> tuple[float, ...] | None:
    """Return the pixel size, in the image's units, at which the network is to see an image, ``None``: its own."""
    size = PixelSize.of_card(model.card) if settings.resample and model.method.tiled else None
    return None if size is None else size.steps_for(image)


def _on_own_pixels(
    labels: Image, probabilities: np.ndarray, seen: Image, image: Image
) -> tuple[Image, np.ndarray, tuple[str, ...]]:
    """Bring what was found in `seen` onto the pixels of `image`; say which objects got none."""
    factors, shape = np.divide(image.scale, seen.scale), image.spatial_shape
    own = image.labels_like(nearest(np.asarray(labels.data), factors, shape), labels.name, **labels.metadata)
    maps = _allocate((len(probabilities), *shape))
    for target, source in zip(maps, probabilities, strict=True):
        target[:] = interpolated(source, factors, shape)
    before, after = (int(np.count_nonzero(np.unique(found.data))) for found in (labels, own))
    return own, maps, (f"{before - after} of {before} objects got no pixel.",) if after < before else ()


def fast_settings(method: Method, settings: PredictSettings) -> PredictSettings:
    """Return `settings` with the precision that ``auto`` means for `method` where it will run."""
    device, _ = choose_device(settings.device)
    return settings.updated(precision=fast_precision(settings.precision, device, method.halves))


def infer(model: Model, array: Any, settings: PredictSettings, *, logits: bool = False) -> Job[np.ndarray]:
    """Return probabilities (or logits) float32 (K, *spatial) of network input `array` (C, *spatial).

    Tiles overlap by ``settings.overlap``; with -1 by twice the method's `halo`, which makes the tiled answer equal to
    the whole one. When memory runs out the batch, then the tile is halved, then the CPU takes over.
    Precision ``auto`` is bfloat16 on a GPU and float32 elsewhere here; `fast_settings` knows better.
    Results above 512 MB live in a temporary file, so memory stays bounded by the tile.
    """
    device, reason = choose_device(settings.device)
    plan = Plan(
        device, model.method.tile_edge or settings.tile or AUTO_TILE.get(len(array.shape) - 1, 512), settings.batch
    )
    yield Progress(0, 1, reason)
    return (yield from within_memory(plan, lambda: _infer(model, array, plan, settings, logits)))


def _views(model: Model, settings: PredictSettings) -> list[View]:
    """Return the views that the settings or the model ask for, else the one as it is."""
    return views_of(model.method.ndim) if settings.tta or model.method.views else [View()]


@torch.no_grad()
def forward(model: Model, batch: np.ndarray, device: torch.device, settings: PredictSettings, logits: bool) -> Tensor:
    """Run one batch (B, C, *spatial) and return float32 (B, K, *spatial) on the device, averaged over test views."""
    x = torch.from_numpy(batch).to(device, non_blocking=True)
    x = x.contiguous(memory_format=memory_format(device, x.ndim - 2))
    views = _views(model, settings)
    total: Tensor | None = None
    for view in views:
        with autocast(device, settings.precision):
            output = model.network(view.of(x))
        output = output.float() if logits else model.method.activate(output.float())
        output = view.back(output)
        total = output if total is None else total + output
    assert total is not None  # there is always the identity view
    return total / len(views)


def _infer(model: Model, array: Any, plan: Plan, settings: PredictSettings, logits: bool) -> Job[np.ndarray]:
    method, network = model.method, model.network.to(plan.device).eval()
    network = network.to(memory_format=memory_format(plan.device, method.ndim))  # type: ignore[call-overload]
    model = replace(model, network=folded(network))
    sizes = tuple(array.shape[1:])
    if not method.tiled:
        padded = tuple(tiling.rounded_up(n, method.size_multiple) for n in sizes)
        model = _translated(model, padded, padded, plan.device, settings)
        block = tiling.read_block(np.asarray(array), (0,) * len(sizes), padded)
        answer = _finite((yield from _attended(model, block[None], plan.device, settings, logits))[0])
        return answer if padded == sizes else answer[(slice(None), *(slice(0, n) for n in sizes))]
    overlap = 2 * method.halo if settings.overlap < 0 else settings.overlap
    overlap = min(overlap, plan.tile * 3 // 4)
    axes = [tiling.tile_axis(n, plan.tile, overlap, method.halo, method.size_multiple) for n in sizes]
    small = (tiling.rounded_up(EXAMPLE, method.size_multiple),) * method.ndim
    model = _translated(model, tuple(axis.tile for axis in axes), small, plan.device, settings)
    total, done = tiling.count(axes), 0
    out = _allocate((method.out_channels, *sizes))
    tiles = tiling.grid(axes)
    start = time.perf_counter()
    while chunk := list(islice(tiles, plan.batch)):
        blocks = np.stack([tiling.read_block(array, starts, [a.tile for a in axes]) for starts, _ in chunk])
        job = _attended(model, blocks, plan.device, settings, logits)
        results = _finite((yield from relabel(job, partial(_within, done, len(chunk), total))))
        for (starts, weight), block in zip(chunk, results, strict=True):
            _add(out, block, weight, starts)
        done += len(chunk)
        pace = (time.perf_counter() - start) / done
        yield Progress(done, total, f"tile {done} of {total}, {pace:.2g} s/tile")
    return out


def _translated(
    model: Model, tile: tuple[int, ...], example: tuple[int, ...], device: torch.device, settings: PredictSettings
) -> Model:
    """Return the model with its network as OpenVINO runs it on tiles of one size, if asked to."""
    if not settings.openvino or device.type != "cpu" or not any(True for _ in model.network.parameters()):
        return model
    before = 1, model.method.in_channels
    network = with_openvino(model.network, (*before, *tile), (*before, *example), settings.precision)
    return replace(model, network=network)


def _within(done: int, tiles: int, total: int, progress: Progress) -> Progress:
    """Say how far the present tiles are, as a share of all."""
    share = (done + tiles * progress.step / progress.total) / total
    which = f"tile {done + 1} of {total}" if total > 1 else "network"
    return replace(progress, step=round(share * FINE), total=FINE, message=f"{which}, {progress.message}")


class _StoppedError(Exception):
    """The network is left in the middle, since nobody wants its answer any more."""


def _attended(
    model: Model, batch: np.ndarray, device: torch.device, settings: PredictSettings, logits: bool
) -> Job[np.ndarray]:
    """Do `forward` beside this thread; say now and then how many layers are done, and leave it when closed."""
    layers = [layer for layer in model.network.modules() if not any(True for _ in layer.children())]
    total = max(1, len(layers) * len(_views(model, settings)))
    done, closed = 0, threading.Event()

    def count(*_: Any) -> None:
        nonlocal done
        if closed.is_set():
            raise _StoppedError
        done += 1

    hooks = [layer.register_forward_pre_hook(count) for layer in layers]
    with ThreadPoolExecutor(1) as beside:
        future = beside.submit(forward, model, batch, device, settings, logits)
        try:
            while not wait([future], LOOK).done:
                reached = min(done, total - 1)
                yield Progress(reached, total, f"about {reached / total:.0%}")
            answer: np.ndarray = future.result().cpu().numpy()
            return answer
        finally:
            closed.set()
            wait([future])
            for hook in hooks:
                hook.remove()


def _finite(values: np.ndarray) -> np.ndarray:
    """Return what a network answered; what is not finite is no answer."""
    if not np.isfinite(values).all():
        raise DataError(
            "The network's answer is not finite (NaN or infinite): the model or the image is damaged, or the precision "
            "is too low. Try precision float32."
        )
    return values


def _add(out: np.ndarray, block: np.ndarray, weight: np.ndarray, starts: tuple[int, ...]) -> None:
    sizes = [min(n - s, t) for n, s, t in zip(out.shape[1:], starts, weight.shape, strict=True)]
    inside = tuple(slice(0, n) for n in sizes)
    where = tuple(slice(s, s + n) for s, n in zip(starts, sizes, strict=True))
    if weight.min() == 1.0:
        out[(slice(None), *where)] = block[(slice(None), *inside)]
    else:
        out[(slice(None), *where)] += block[(slice(None), *inside)] * weight[inside]


def _allocate(shape: tuple[int, ...]) -> np.ndarray:
    if int(np.prod(shape)) * 4 <= ON_DISK_BYTES:
        return np.zeros(shape, np.float32)
    file = tempfile.TemporaryFile(prefix="medseg-")  # noqa: SIM115  lives as long as the map
    return np.memmap(file, np.float32, "w+", shape=shape)


def provenance(model: Model, settings: PredictSettings, device: str, source: Image) -> dict[str, Any]:
    """Return what is kept with every result: method, checkpoint, settings, version, device and source."""
    return {
        "method": model.method.name,
        "checkpoint_sha256": model.card.get("sha256", ""),
        "checkpoint": model.card.get("file", ""),
        "settings": {**model.method.settings.model_dump(mode="json"), **settings.model_dump(mode="json")},
        "version": __version__,
        "device": device,
        "source_layer": source.name,
        "source_file": str(source.metadata.get("source_file", "")),
    }
