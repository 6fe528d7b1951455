"""Tiled active-list solver in Triton.

One program owns one tile of voxels. It is awake where its own values or those of the tiles around it
fell in the round before; then it lowers its voxels from their neighbours until they rest or a step
limit is reached. No tile awake means the exact distance. A program writes its own voxels alone and
values only fall, so reading a neighbour's value before it falls does no harm: its fall wakes this
tile again. The host looks at the flags only every few rounds, because a look waits for the device.

A ring of tiles with infinite image surrounds the grid, and incomplete tiles are filled up in the same
way: each path through them costs inf or NaN and loses each comparison, so that nothing needs a mask.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch.nn.functional import max_pool3d, pad

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
LARGEST = 2**30  # voxels are counted in 32 bits, and incomplete tiles filled up
_TILES = {2: (1, 16, 32), 3: (8, 8, 8)}
_STEPS = 32
_ROUNDS_PER_CHECK = 4
_WARPS = 16  # one voxel a thread: the costs of its 26 edges fit into registers


@triton.jit  # type: ignore[untyped-decorator]
def _shift(n: tl.constexpr, height, width):  # type: ignore[no-untyped-def]
    return ((n // 9 - 1) * height + n // 3 % 3 - 1) * width + n % 3 - 1


@triton.jit  # type: ignore[untyped-decorator]
def _cost(image, voxels, at, shift, n: tl.constexpr, a, b, eps, CHANNELS: tl.constexpr, HARMONIC: tl.constexpr):  # type: ignore[no-untyped-def] # fmt: skip
    if CHANNELS == 1:
        gap = tl.abs(tl.load(image + at) - tl.load(image + at + shift))
    else:
        total = tl.zeros_like(at).to(tl.float32)
        for _ in tl.static_range(CHANNELS):
            gap = tl.load(image + at) - tl.load(image + at + shift)
            total += gap * gap
            image += voxels
        gap = tl.sqrt(total)
    kind = (n // 9 != 1) * 4 + (n // 3 % 3 != 1) * 2 + (n % 3 != 1)
    share = tl.load(b + kind)
    if HARMONIC:
        gap += eps
        return tl.load(a + kind) * gap / ((1 - share) * gap + share)
    return tl.load(a + kind) + share * gap


@triton.jit  # type: ignore[untyped-decorator]
def _settle(distance, image, voxels, a, b, eps, fell, falls, height, width, layers, rows, columns, CHANNELS: tl.constexpr, HARMONIC: tl.constexpr, TZ: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr, STEPS: tl.constexpr):  # type: ignore[no-untyped-def] # fmt: skip # noqa: E501
    tile = tl.program_id(0)
    layer, row, column = tile // (rows * columns) + 1, tile // columns % rows + 1, tile % columns + 1
    around = tl.arange(0, 32)
    k, j, i = layer + around // 9 - 1, row + around // 3 % 3 - 1, column + around % 3 - 1
    flags = tl.load(fell + (k * (rows + 2) + j) * (columns + 2) + i, mask=around < 27, other=0)
    changed = 0
    if tl.max(flags) > 0:
        lane = tl.arange(0, TZ * TY * TX)
        z, y, x = layer * TZ + lane // (TY * TX), row * TY + lane // TX % TY, column * TX + lane % TX
        at = (z * height + y) * width + x
        costs = ()
        for n in tl.static_range(27):
            costs += (_cost(image, voxels, at, _shift(n, height, width), n, a, b, eps, CHANNELS, HARMONIC),)  # type: ignore[assignment]
        first = tl.load(distance + at)
        now = first
        active = 1
        step = 0
        while (active > 0) & (step < STEPS):
            best = now
            for n in tl.static_range(27):
                if n != 13 and (TZ > 1 or n // 9 == 1):
                    new = tl.load(distance + at + _shift(n, height, width)) + costs[n]
                    best = tl.where(new < best, new, best)
            active = tl.max((best < now).to(tl.int32))
            tl.store(distance + at, best)
            tl.debug_barrier()
            now = best
            step += 1
        changed = tl.max((now < first).to(tl.int32))
    tl.store(falls + (layer * (rows + 2) + row) * (columns + 2) + column, changed)


def solve(seeds: torch.Tensor, image: torch.Tensor, a: np.ndarray, b: np.ndarray, eps: float | None) -> torch.Tensor:
    """Return the geodesic distance, float32 (*spatial), to `seeds`.

    Parameters
    ----------
    seeds, image
        Bool (*spatial) and float32 (C, *spatial) on the same device; fewer than `LARGEST` voxels.
    a, b
        (2,) * ndim cost coefficients by the absolute offset per axis.
    eps
        Regulariser of the harmonic cost, or None.
    """
    size, tile = (1,) * (3 - seeds.ndim) + tuple(seeds.shape), _TILES[seeds.ndim]
    tiles = [-(-n // t) for n, t in zip(size, tile, strict=True)]
    margins = [m for n, t, k in zip(size[::-1], tile[::-1], tiles[::-1], strict=True) for m in (t, (k + 1) * t - n)]
    distance = pad(torch.where(seeds, 0.0, torch.inf).reshape(size), margins, value=torch.inf)
    image = pad(image.reshape(-1, *size), margins, value=torch.inf)
    tables = [torch.from_numpy(np.broadcast_to(t, (2, 2, 2)).copy()).to(distance.device) for t in (a, b)]
    fell = max_pool3d((distance == 0).float()[None], tile)[0].int()
    falls = torch.zeros_like(fell)
    options: dict[str, Any] = {"CHANNELS": len(image), "HARMONIC": eps is not None, "STEPS": _STEPS}
    options.update(zip(("TZ", "TY", "TX"), tile, strict=True))
    field = (image, distance.numel(), *tables, eps or 0.0)
    while fell.any():
        for _ in range(_ROUNDS_PER_CHECK):
            _settle[(int(np.prod(tiles)),)](
                distance, *field, fell, falls, *distance.shape[1:], *tiles, **options, num_warps=_WARPS
            )
            fell, falls = falls, fell
    return distance[tuple(slice(t, t + n) for n, t in zip(size, tile, strict=True))].reshape(seeds.shape)
