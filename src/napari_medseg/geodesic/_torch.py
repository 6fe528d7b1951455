"""Geodesic distances on torch devices: plain relaxation in torch, tiles in Triton (see `_triton`)."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch

from napari_medseg.errors import MissingDependencyError, SettingsError
from napari_medseg.geodesic._inputs import Problem, edge_cost

_ROUNDS_PER_CHECK = 8  # sweeps over all edges between looks whether anything changed


def compute(problem: Problem, seeds: np.ndarray, device: str, engine: str) -> np.ndarray:
    """Compute on a torch device: plain relaxation in torch, tiles in Triton (see `_triton`)."""
    image = torch.from_numpy(np.array(problem.image, np.float32, order="C")).to(device)
    sources = torch.from_numpy(np.array(seeds, order="C")).to(device)
    if engine == "triton":
        return _solve_tiles(sources, image, problem).cpu().numpy()
    distance = torch.where(sources, 0.0, torch.inf)
    _relax_all(distance, image, problem)
    return distance.cpu().numpy()


def _solve_tiles(seeds: torch.Tensor, image: torch.Tensor, problem: Problem) -> torch.Tensor:
    try:
        from napari_medseg.geodesic import _triton
    except ImportError as error:
        raise MissingDependencyError(
            f"The engine 'triton' needs Triton, which is not installed ({error}). Install: pip install triton"
        ) from error
    if image.device.type != "cuda" and not _triton.INTERPRETED:
        raise SettingsError(f"Engine 'triton' needs a CUDA device, got {str(image.device)!r}; use engine='torch'.")
    if seeds.numel() > _triton.LARGEST:
        raise SettingsError(
            f"Engine 'triton' takes at most {_triton.LARGEST:,} voxels, got {seeds.numel():,}; use engine='torch' or a "
            "region of interest."
        )
    return _triton.solve(seeds, image, *problem.coefficients(), problem.eps)


def _relax_all(distance: torch.Tensor, image: torch.Tensor, problem: Problem) -> None:
    """Lower `distance` over every edge, again and again, until nothing changes (Bellman-Ford)."""
    edges = list(_edges(problem))
    before = torch.empty_like(distance)
    while not torch.equal(before, distance):
        before.copy_(distance)
        for _ in range(_ROUNDS_PER_CHECK):
            for here, there, a, b in edges:
                difference = image[(slice(None), *here)] - image[(slice(None), *there)]
                gap = difference[0].abs() if len(image) == 1 else difference.square().sum(0).sqrt()
                cost = edge_cost(gap, a, b, problem.eps)
                distance[there] = torch.minimum(distance[there], distance[here] + cost)
                distance[here] = torch.minimum(distance[here], distance[there] + cost)


def _edges(problem: Problem) -> list[tuple[tuple[slice, ...], tuple[slice, ...], float, float]]:
    """Both ends, as slices, and the cost coefficients of each direction of edges (13 in 3D, 4 in 2D)."""
    a, b = problem.coefficients()
    edges = []
    for offset in product((-1, 0, 1), repeat=a.ndim):
        if offset > (0,) * a.ndim:
            here = tuple(slice(max(0, -o), n - max(0, o)) for o, n in zip(offset, problem.shape, strict=True))
            there = tuple(slice(max(0, o), n - max(0, -o)) for o, n in zip(offset, problem.shape, strict=True))
            kind = tuple(map(abs, offset))
            edges.append((here, there, float(a[kind]), float(b[kind])))
    return edges
