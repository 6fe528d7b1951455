"""Cut tiles into training patches (the authors' rule, generalised to any size)."""

from __future__ import annotations

import math
from collections.abc import Iterator

PATCH = 250
FULL = 1000


def starts(length: int, patch: int = PATCH) -> list[int]:
    """Return where windows of `patch` pixels start on an axis of `length`.

    The authors' overlap is ceil((1000 - length) / 3) for patches of 250; the last window is flush with the border, and
    axes above 1000 pixels are cut without overlap. An axis no longer than the patch has one window.
    """
    if length <= patch:
        return [0]
    overlap = max(math.ceil((FULL / PATCH * patch - length) / (FULL / PATCH - 1)), 0)
    stride = max(patch - overlap, 1)
    n = math.ceil((length - patch) / stride) + 1
    return sorted({min(i * stride, length - patch) for i in range(n)})


def windows(shape: tuple[int, int], patch: int = PATCH) -> Iterator[tuple[slice, slice]]:
    """Yield the windows of an image (H, W) in row-major order."""
    for y in starts(shape[0], patch):
        for x in starts(shape[1], patch):
            yield slice(y, min(y + patch, shape[0])), slice(x, min(x + patch, shape[1]))
