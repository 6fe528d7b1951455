"""`segment_video`: decode, compute, measure and write side by side, in constant memory."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_medseg.device import autocast, choose_device, fast_precision, is_out_of_memory, memory_format
from napari_medseg.errors import DataError, DeviceError
from napari_medseg.image import Image
from napari_medseg.io.identity import fingerprint
from napari_medseg.io.locks import held_folder
from napari_medseg.jobs import Job, Progress, Speed
from napari_medseg.measure.video import area_of, contrast, shape_of
from napari_medseg.method import Model
from napari_medseg.methods import for_movies, role_of
from napari_medseg.nn.batch_norm import folded
from napari_medseg.video.decision import Decision, p_columns
from napari_medseg.video.edits import TABLE
from napari_medseg.video.output import Output, paint
from napari_medseg.video.settings import VideoSettings
from napari_medseg.video.source import Source
from napari_medseg.video.stages import batched, close, ordered_map, prefetch


@dataclass
class Computed:
    """One frame with what the networks say: `mask` is ``None`` where the frame shows no nerve."""

    position: int
    frame: np.ndarray
    p: np.ndarray | None = None
    label: str = ""
    mask: np.ndarray | None = None
    cls_ms: float = 0.0
    seg_ms: float = 0.0
    done: bool = False
    on_device: Tensor | None = None


class Networks:
    """Classifier and segmenter on their device.

    Raises
    ------
    DataError
        If the models are swapped, or the classifier lacks the nerve class.
    """

    def __init__(self, classifier: Model | None, segmenter: Model, settings: VideoSettings) -> None:
        _check_models(classifier, segmenter)
        self.device, self.reason = choose_device(settings.device)
        self._settings = settings
        self.classes = () if classifier is None else classifier.method.classes  # type: ignore[attr-defined]
        self.decision = Decision(self.classes, settings) if self.classes else None
        changes = {name: getattr(settings, name) for name in ("threshold", "min_area", "fill_holes")}
        self.method: Any = type(segmenter.method)(segmenter.method.settings.updated(**changes))
        self._classifier = classifier.method if classifier is not None else None
        self._networks = [None if m is None else self._place(m.network) for m in (classifier, segmenter)]

    def run(self, frames: Iterator[tuple[int, np.ndarray]], done: list[np.ndarray | None]) -> Iterator[Computed]:
        """Yield the frames in order; those at the positions of `done` are not computed, but their logged p counts."""
        waiting: deque[Computed] = deque()
        try:
            for batch in batched(frames, self._settings.batch):
                items = [Computed(position, frame) for position, frame in batch]
                new = [item for item in items if item.position >= len(done)]
                self._upload(new)
                self._classify(new)
                for item in items[: len(items) - len(new)]:
                    item.done, item.p = True, done[item.position]
                waiting.extend(items)
                yield from self._segment(self._decided(waiting, items))
            if self.decision is not None:
                yield from self._segment(self._take(waiting, self.decision.flush()))
        finally:
            close(frames)

    def _decided(self, waiting: deque[Computed], items: list[Computed]) -> list[Computed]:
        if self.decision is None:
            return self._take(waiting, [(item.position, -1) for item in items])
        decisions = [d for item in items if item.p is not None for d in self.decision.push(item.position, item.p)]
        return self._take(waiting, decisions)

    def _take(self, waiting: deque[Computed], decisions: list[tuple[int, int]]) -> list[Computed]:
        taken = []
        for _, label in decisions:
            item = waiting.popleft()
            item.label = self.classes[label] if self.classes else self._settings.nerve_class
            if self.decision is not None and label != self.decision.nerve:
                item.on_device = None
            taken.append(item)
        return taken

    def _upload(self, items: list[Computed]) -> None:
        if items:
            stack = torch.from_numpy(np.stack([item.frame for item in items]))
            if self.device.type == "cuda":
                stack = stack.pin_memory()
            batch = stack.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
            for item, frame in zip(items, batch, strict=True):
                item.on_device = frame

    def _classify(self, items: list[Computed]) -> None:
        if not items or self._classifier is None:
            return
        start = time.perf_counter()
        p = self._in_parts(self._probabilities, torch.stack([_frame(item) for item in items]))
        each = (time.perf_counter() - start) / len(items) * 1000
        for item, row in zip(items, p.numpy(), strict=True):
            item.p, item.cls_ms = row, each

    def _segment(self, items: list[Computed]) -> Iterator[Computed]:
        nerve = [item for item in items if item.on_device is not None and not item.done]
        if nerve:
            start = time.perf_counter()
            masks = self._in_parts(self._masks, torch.stack([_frame(item) for item in nerve])).numpy()
            each = (time.perf_counter() - start) / len(nerve) * 1000
            for item, mask in zip(nerve, masks, strict=True):
                item.mask, item.seg_ms = mask, each
        for item in items:
            item.on_device = None
            yield item

    def _probabilities(self, batch: Tensor) -> Tensor:
        method: Any = self._classifier
        with torch.inference_mode(), self._autocast(method):
            logits = self._networks[0](self._layout(method.encode(batch)))  # type: ignore[misc]
        return torch.softmax(logits.float(), 1).cpu()

    def _masks(self, batch: Tensor) -> Tensor:
        with torch.inference_mode(), self._autocast(self.method):
            logits = self._networks[1](self._layout(self.method.encode(batch)))  # type: ignore[misc]
        height, width = batch.shape[-2:]
        with torch.inference_mode():
            masks: Tensor = self.method.decode(torch.sigmoid(logits.float()), (height, width)).cpu()
        return masks

    def _autocast(self, method: Any) -> AbstractContextManager[object]:
        return autocast(self.device, fast_precision(self._settings.precision, self.device, method.halves))

    def _in_parts(self, function: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        """Apply `function`; when memory runs out, to halves of the batch."""
        try:
            return function(batch)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise DeviceError(f"The network failed: {error}") from error
            if len(batch) == 1:
                raise DeviceError("Memory ran out with one frame. Close programs, or choose the CPU.") from error
        half = len(batch) // 2
        return torch.cat([self._in_parts(function, part) for part in (batch[:half], batch[half:])])

    def _place(self, network: torch.nn.Module) -> torch.nn.Module:
        network = network.to(self.device).eval()
        return folded(network.to(memory_format=memory_format(self.device, 2)))  # type: ignore[call-overload]

    def _layout(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=memory_format(self.device, 2))


def _frame(item: Computed) -> Tensor:
    if item.on_device is None:
        raise DataError(f"Frame {item.position} was not uploaded.")
    return item.on_device


def _check_models(classifier: Model | None, segmenter: Model) -> None:
    given = None if classifier is None else classifier.method.name
    classifies, segments = given is None or role_of(given) == "classify", _outlines(segmenter)
    if not classifies and not segments and role_of(segmenter.method.name) == "classify":
        raise DataError("Classifier and segmenter are swapped: give the model that classifies frames as --classifier.")
    if not classifies:
        raise DataError(f"The classifier must be a model that classifies frames, got one of {given}.")
    if not segments:
        raise DataError(f"The segmenter must outline nerves in frames of movies, got a {segmenter.method.name} model.")


def _outlines(model: Model) -> bool:
    return for_movies(model.method.name) and role_of(model.method.name) == "segment"


MEASURES = ("mask_area_px", "mask_area_frac", "n_components", "centroid_y", "centroid_x")


@dataclass(frozen=True)
class VideoResult:
    """What `segment_video` wrote: folder, table, overlay movie (or ``None``), and the content of summary.json."""

    folder: Path
    table: Path
    movie: Path | None
    summary: dict[str, Any]


def segment_video(
    movie: str | Path | Image,
    classifier: Model | None,
    segmenter: Model,
    folder: str | Path,
    settings: VideoSettings | None = None,
) -> Job[VideoResult]:
    """Classify every frame, segment those that show nerve, and write everything to `folder`.

    Yields one `Progress` per frame: ``metrics`` holds the frame's row of numbers, ``preview`` its overlay. Closing the
    generator stops the run; table, movie and masks then hold the frames so far, and the same call goes on from there.

    Parameters
    ----------
    movie
        File, folder of frames, or image ``TYX`` or ``TYXC``.
    classifier
        A frame-classifier model; ``None``: every frame counts as nerve.
    segmenter
        A double-unet model.
    folder
        For ``frames.csv``, ``summary.json``, ``masks/``, ``overlay.mkv`` (or ``.mp4``) and ``overlays/``.
    settings
        Cut, vote, result and speed.

    Raises
    ------
    ReadError, DataError, WriteError, DeviceError
        If the movie cannot be read, models or folder do not fit, or memory runs out.
    """
    settings = settings or VideoSettings()
    source = Source(movie, settings)
    networks = Networks(classifier, segmenter, settings)
    identity = _identity(source, classifier, segmenter, settings)
    with held_folder(folder, "video") as out:
        return (yield from _run(source, networks, out, settings, identity))


def _run(
    source: Source, networks: Networks, folder: Path, settings: VideoSettings, identity: dict[str, Any]
) -> Job[VideoResult]:
    columns = _columns(networks.classes, settings, source)
    output = Output(folder, source, settings, columns, identity)
    started, speed, finished = time.perf_counter(), Speed(), False
    results = _results(source, networks, output, settings)
    try:
        yield Progress(0, len(source.numbers), _greeting(source, networks, output))
        for computed, row, overlay in results:
            output.add(computed.position, row, overlay)
            yield _progress(computed, row, overlay, source, speed)
        finished = True
    finally:
        close(results)
        seconds = time.perf_counter() - started
        summary = output.close(
            finished,
            device=networks.reason,
            seconds=round(seconds, 3),
            frames_computed=output.added,
        )
    return VideoResult(output.folder, output.folder / TABLE, output.movie_path, summary)


Result = tuple[Computed, dict[str, Any] | None, np.ndarray | None]


def _results(source: Source, networks: Networks, output: Output, settings: VideoSettings) -> Iterator[Result]:
    """Join the stages; frames that an earlier run finished are decoded again only for the movie or the vote."""
    done = [_logged(row, networks.classes) for row in output.done]
    threads = settings.threads or min(os.cpu_count() or 1, 4)
    frames = prefetch(source.frames(0 if output.movie_wanted or settings.vote > 1 else len(done)), 2 * settings.batch)
    if not output.movie_wanted and settings.vote == 1:
        _replay(networks, done)
    computed = prefetch(networks.run(frames, done), 2 * settings.batch)
    return ordered_map(lambda item: _finish(item, source, networks, output, settings), computed, threads)


def _replay(networks: Networks, done: list[np.ndarray | None]) -> None:
    """Bring the hysteresis to where the earlier run stopped."""
    for position, p in enumerate(done):
        if networks.decision is not None and p is not None:
            networks.decision.push(position, p)


def _finish(item: Computed, source: Source, networks: Networks, output: Output, settings: VideoSettings) -> Result:
    """Clean, measure and paint one frame and write its pictures."""
    if item.done:
        if not output.movie_wanted:
            return item, None, None
        return item, None, paint(item.frame, output.done_mask(item.position), settings)
    empty = np.zeros(source.size, bool)
    mask = empty if item.mask is None else networks.method.clean(item.mask)
    number = source.numbers[item.position]
    row: dict[str, Any] = {"frame": number, "name": source.name(number), "time_s": source.time(number)}
    if item.p is not None:
        row |= dict(zip(p_columns(networks.classes), item.p.tolist(), strict=True))
    row |= {"label": item.label, **shape_of(mask)}
    row |= area_of(row["mask_area_px"], source.image)
    if settings.contrast:
        row |= contrast(item.frame, mask, settings.ring_gap, settings.ring_width)
    row |= {"cls_ms": item.cls_ms, "seg_ms": item.seg_ms}
    overlay = paint(item.frame, mask, settings)
    output.write_pictures(item.position, mask, overlay)
    return item, row, overlay


def _progress(
    item: Computed, row: dict[str, Any] | None, overlay: np.ndarray | None, source: Source, speed: Speed
) -> Progress:
    step, total = item.position + 1, len(source.numbers)
    number = source.numbers[item.position]
    preview = None if overlay is None else Image(overlay, "YXC", name=source.name(number))
    if row is None:
        return Progress(step, total, f"frame {step} of {total}: done before", {"frame": float(number)}, preview)
    numbers = {name: float(value) for name, value in row.items() if not isinstance(value, str)}
    pace = speed.note(step, time.perf_counter())
    told = f", {pace:.1f} frames/s" if pace else ""
    return Progress(step, total, f"frame {step} of {total}: {row['label']}{told}", numbers, preview)


def _columns(classes: tuple[str, ...], settings: VideoSettings, source: Source) -> list[str]:
    measured = ("nbr", "cnr") if settings.contrast else ()
    return [
        "frame",
        *(["name"] if source.named else []),
        "time_s",
        *p_columns(classes),
        "label",
        *MEASURES,
        *area_of(0, source.image),
        *measured,
        "cls_ms",
        "seg_ms",
    ]


def _logged(row: dict[str, Any], classes: tuple[str, ...]) -> np.ndarray | None:
    return np.array([float(row[name]) for name in p_columns(classes)], np.float32) if classes else None


def _identity(source: Source, classifier: Model | None, segmenter: Model, settings: VideoSettings) -> dict[str, Any]:
    """Return what must be equal for two runs to give the same result."""

    def model(one: Model | None) -> dict[str, Any] | None:
        if one is None:
            return None
        described = {"method": one.method.name, "settings": one.method.settings.model_dump(mode="json")}
        return {**described, "sha256": one.card.get("sha256", "")}

    return {
        "source": Path(source.path).name,
        "content": fingerprint([Path(source.path)]),
        "frames": [0, source.image.data.shape[0], source.step],
        "classifier": model(classifier),
        "segmenter": model(segmenter),
        "settings": settings.result_settings(),
    }


def _greeting(source: Source, networks: Networks, output: Output) -> str:
    parts = [networks.reason]
    if output.resumed:
        parts.append(f"going on after {output.resumed} frames")
    if source.missing:
        parts.append(f"the movie is cut short: {source.missing} frames are missing at its end")
    if source.assumed:
        parts.append(f"the source states no time between frames: {float(source.fps):g} a second are taken (--fps)")
    if source.white != 255:
        parts.append(f"white is taken to be {source.white:g}")
    parts += source.image.metadata.get("notes", [])
    return "; ".join(parts)
