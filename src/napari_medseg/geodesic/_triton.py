"""Tiled active-list solver in Triton.

One program owns one tile of voxels: it lowers them from their neighbours until they rest or a step
limit is reached. Tiles that changed wake themselves and the tiles around them for the next round;
no tile awake means the exact distance. A program writes its own voxels alone and values only fall,
so reading a neighbour's value before it falls does no harm: its fall wakes this tile again.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
_STEPS = 32


@triton.jit  # type: ignore[untyped-decorator]
def _settle(distance, image, tiles, changed, a, b, eps, depth, height, width, rows, columns, CHANNELS: tl.constexpr, HARMONIC: tl.constexpr, TZ: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr, STEPS: tl.constexpr):  # type: ignore[no-untyped-def] # fmt: skip # noqa: E501
    tile = tl.load(tiles + tl.program_id(0))
    lane = tl.arange(0, TZ * TY * TX)
    z = tile // (rows * columns) * TZ + lane // (TY * TX)
    y = tile // columns % rows * TY + lane // TX % TY
    x = tile % columns * TX + lane % TX
    inside = (z < depth) & (y < height) & (x < width)
    voxels = depth * height * width
    at = (z * height + y) * width + x
    first = tl.load(distance + at, mask=inside, other=float("inf"))
    now = first
    falls = 1
    step = 0
    while (falls > 0) & (step < STEPS):
        best = now
        for k in tl.static_range(27):
            if k != 13:
                dz, dy, dx = k // 9 - 1, k // 3 % 3 - 1, k % 3 - 1
                there = inside & (z + dz >= 0) & (z + dz < depth) & (y + dy >= 0) & (y + dy < height)
                there = there & (x + dx >= 0) & (x + dx < width)
                to = at + (dz * height + dy) * width + dx
                total = tl.zeros_like(first)
                for c in tl.static_range(CHANNELS):
                    here = tl.load(image + c * voxels + at, mask=inside, other=0.0)
                    gap = here - tl.load(image + c * voxels + to, mask=there, other=0.0)
                    total += gap * gap
                gap = tl.sqrt(total)
                kind = dz * dz * 4 + dy * dy * 2 + dx * dx
                share = tl.load(b + kind)
                if HARMONIC:
                    gap += eps
                    cost = tl.load(a + kind) * gap / ((1 - share) * gap + share)
                else:
                    cost = tl.load(a + kind) + share * gap
                best = tl.minimum(best, tl.load(distance + to, mask=there, other=float("inf")) + cost)
        falls = tl.sum((best < now).to(tl.int32))
        tl.store(distance + at, best, mask=inside)
        tl.debug_barrier()
        now = best
        step += 1
    if tl.sum((now < first).to(tl.int32)) > 0:
        tl.store(changed + tile, 1.0)


def solve(distance: torch.Tensor, image: torch.Tensor, a: np.ndarray, b: np.ndarray, eps: float | None) -> None:
    """Lower `distance` (*spatial), 0 at seeds and else infinite, to the geodesic distance.

    Parameters
    ----------
    distance, image
        Contiguous float32 (*spatial) and (C, *spatial) on the same device.
    a, b
        (2,) * ndim cost coefficients by the absolute offset per axis.
    eps
        Regulariser of the harmonic cost, or None.
    """
    size = (1,) * (3 - distance.ndim) + tuple(distance.shape)
    tile = (8, 8, 8) if size[0] > 1 else (1, 16, 32)
    grid = [-(-n // t) for n, t in zip(size, tile, strict=True)]
    tables = [torch.from_numpy(np.broadcast_to(t, (2, 2, 2)).copy()).to(distance.device) for t in (a, b)]
    seeded = (distance == 0).reshape(size).float()[None, None]
    changed = torch.nn.functional.max_pool3d(seeded, tile, ceil_mode=True)
    options: dict[str, Any] = {"CHANNELS": len(image), "HARMONIC": eps is not None, "STEPS": _STEPS}
    options.update(zip(("TZ", "TY", "TX"), tile, strict=True))
    while True:
        awake = torch.nn.functional.max_pool3d(changed, 3, 1, 1).flatten().nonzero().flatten().int()
        if not len(awake):
            return
        changed.zero_()
        _settle[(len(awake),)](distance, image, awake, changed, *tables, eps or 0.0, *size, *grid[1:], **options)
