"""What the networks say of the frames of a movie: in batches, in order, each frame with its label and mask."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_medseg.device import autocast, choose_device, fast_precision, is_out_of_memory, memory_format
from napari_medseg.errors import DataError, DeviceError
from napari_medseg.method import Model
from napari_medseg.methods import for_movies, role_of
from napari_medseg.nn.batch_norm import folded
from napari_medseg.video.decision import Decision
from napari_medseg.video.settings import VideoSettings
from napari_medseg.video.stages import batched, close


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
        """Return the waiting frames whose label is known now: a vote looks at frames that come later."""
        if self.decision is None:
            return self._take(waiting, [(item.position, -1) for item in items])
        decisions = [d for item in items if item.p is not None for d in self.decision.push(item.position, item.p)]
        return self._take(waiting, decisions)

    def _take(self, waiting: deque[Computed], decisions: list[tuple[int, int]]) -> list[Computed]:
        """Take decided frames from the front of the queue and give them their labels."""
        taken = []
        for _, label in decisions:
            item = waiting.popleft()
            item.label = self.classes[label] if self.classes else self._settings.nerve_class
            if self.decision is not None and label != self.decision.nerve:
                item.on_device = None
            taken.append(item)
        return taken

    def _upload(self, items: list[Computed]) -> None:
        """Bring frames (H, W, 3) onto the device as (3, H, W)."""
        if items:
            stack = torch.from_numpy(np.stack([item.frame for item in items]))
            if self.device.type == "cuda":
                stack = stack.pin_memory()
            batch = stack.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
            for item, frame in zip(items, batch, strict=True):
                item.on_device = frame

    def _classify(self, items: list[Computed]) -> None:
        """Give frames the probabilities of their classes."""
        if not items or self._classifier is None:
            return
        start = time.perf_counter()
        p = self._in_parts(self._probabilities, torch.stack([_frame(item) for item in items]))
        each = (time.perf_counter() - start) / len(items) * 1000
        for item, row in zip(items, p.numpy(), strict=True):
            item.p, item.cls_ms = row, each

    def _segment(self, items: list[Computed]) -> Iterator[Computed]:
        """Yield frames, those that show nerve with their masks."""
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
        """Return probabilities (B, classes) of frames (B, 3, H, W)."""
        method: Any = self._classifier
        with torch.inference_mode(), self._autocast(method):
            logits = self._networks[0](self._layout(method.encode(batch)))  # type: ignore[misc]
        return torch.softmax(logits.float(), 1).cpu()

    def _masks(self, batch: Tensor) -> Tensor:
        """Return masks (B, H, W) of frames (B, 3, H, W)."""
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
