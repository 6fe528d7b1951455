"""What to do when memory runs out: smaller batches, smaller tiles, then the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from napari_medseg.device import is_out_of_memory
from napari_medseg.errors import DeviceError
from napari_medseg.jobs import Job, Progress

T = TypeVar("T")
SMALLEST_TILE = 64  # pixels along each axis


@dataclass
class Plan:
    """What the fallback may change: device, tile and batch."""

    device: torch.device
    tile: int
    batch: int

    def smaller(self) -> str | None:
        """Halve the batch, then the tile, then leave the GPU; return what was done, ``None`` if nothing is left."""
        if self.batch > 1:
            self.batch //= 2
            return f"memory ran out: going on with batches of {self.batch}"
        if self.tile > SMALLEST_TILE:
            self.tile //= 2
            return f"memory ran out: going on with tiles of {self.tile}"
        if self.device.type != "cpu":
            self.device = torch.device("cpu")
            return "memory ran out on the GPU: going on with the CPU"
        return None


def within_memory(plan: Plan, attempt: Callable[[], Job[T]]) -> Job[T]:
    """Do `attempt`, again with a smaller plan each time that memory runs out."""
    while True:
        try:
            return (yield from attempt())
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise DeviceError(f"The network failed: {error}") from error
            note = plan.smaller()
            if note is None:
                raise DeviceError("Memory ran out even with the smallest tile on the CPU. Close programs.") from error
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        yield Progress(0, 1, note)
