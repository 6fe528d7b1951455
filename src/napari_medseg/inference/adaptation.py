"""Adapt the batch-norm statistics of a network to the image that it is run on."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import torch

from napari_medseg.device import autocast, choose_device, memory_format
from napari_medseg.inference import tiling
from napari_medseg.inference.memory import SMALLEST_TILE, Plan, within_memory
from napari_medseg.jobs import Job, Progress
from napari_medseg.method import Model
from napari_medseg.nn.batch_norm import adapted
from napari_medseg.settings import PredictSettings


def adapted_to(model: Model, array: Any, settings: PredictSettings) -> Job[Model]:
    """Adapt to network input `array` (C, *spatial), if asked to: n pixels of it count n / (n + ``method.adapt``)."""
    if not settings.adapt or not model.method.adapt or math.prod(array.shape[1:]) == 1:  # one pixel has no variance
        return model
    device, _ = choose_device(settings.device)
    plan = Plan(device, SMALLEST_TILE, 1)  # other blocks would be other statistics: only the device may change
    return (yield from within_memory(plan, lambda: _adapt(model, array, plan.device, settings)))


def _adapt(model: Model, array: Any, device: torch.device, settings: PredictSettings) -> Job[Model]:
    """Do `adapted_to` on a device."""
    yield Progress(0, 1, "adapting to the image")
    layout, sizes = memory_format(device, model.method.ndim), array.shape[1:]
    numbers = [min(math.ceil(n / tiling.PART_EDGE), tiling.PARTS) for n in sizes]
    parts = [min(math.ceil(n / k), tiling.PART_EDGE) for n, k in zip(sizes, numbers, strict=True)]
    tile = [tiling.rounded_up(part, model.method.size_multiple) for part in parts]
    starts = [
        np.linspace(0, max(n - t, 0), k).astype(int).tolist() for n, t, k in zip(sizes, tile, numbers, strict=True)
    ]
    seen = math.prod(k * part for k, part in zip(numbers, parts, strict=True))
    blocks = (torch.from_numpy(tiling.read_block(array, at, tile)[None]).to(device) for at in product(*starts))
    network = model.network.to(device).eval().to(memory_format=layout)  # type: ignore[call-overload]
    with autocast(device, settings.precision):
        network = adapted(network, blocks, seen / (seen + model.method.adapt))
    return replace(model, network=network)
