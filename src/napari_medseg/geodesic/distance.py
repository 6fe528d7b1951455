"""`geodesic_distance`: exact geodesic distance transforms on the engine that fits."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, get_args

import numpy as np

from napari_medseg.errors import DataError, DeviceError, SettingsError
from napari_medseg.geodesic import _external
from napari_medseg.geodesic._inputs import Problem, check_problem, check_region, check_seeds
from napari_medseg.geodesic.incremental import Box, GeodesicMap

Engine = Literal["numba", "torch", "triton", "geodistk", "fastgeodis"]


def geodesic_distance(
    image: Any,
    seeds: Any,
    *,
    spacing: float | Sequence[float] = 1.0,
    weight: float = 0.9,
    metric: str = "linear",
    device: str | None = None,
    engine: str | None = None,
    roi: Box | None = None,
) -> np.ndarray:
    """Compute the geodesic distance of every voxel to the nearest seed.

    The distance is the cost of the cheapest path on the 8-neighbour (2D) or 26-neighbour (3D) grid,
    exact to float32 rounding except with the engines ``geodistk`` and ``fastgeodis``. With step s
    and intensity difference g (L2 over channels) an edge costs

    - ``linear``: (1 - weight) s + weight g; weight 1 is the distance of DeepIGeoS (Wang et al. 2018,
      eq. 1, doi:10.1109/TPAMI.2018.2840695), which has plateaus where the image is constant,
    - ``harmonic``: s / ((1 - weight) + weight / (g + 1e-5)), as GeodisTK's raster scan,
    - ``product``: s g, as GeodisTK's fast marching; the weight is ignored.

    Parameters
    ----------
    image
        (*spatial) or (C, *spatial), 2D or 3D, finite; bring intensities to about [0, 1] first, for
        they are weighed against `spacing`.
    seeds
        Bool (*spatial), true at distance 0.
    spacing
        Step of each spatial axis, or one number for all; the distance is in its unit.
    weight
        Share of the image in the cost, 0 to 1.
    metric
        ``linear``, ``harmonic`` or ``product``.
    device
        ``cpu`` (default), ``cuda``, ``mps`` or ``auto``; others than ``cpu`` and ``cuda`` compute on the CPU.
    engine
        ``numba`` (default on the CPU), ``torch``, ``triton`` (default on CUDA; 3.3 or newer), or, where installed,
        ``geodistk`` (harmonic, product) or ``fastgeodis`` (linear; adds the differences of channels): these two run
        two raster scans, as in the publications' scripts, and need not have converged.
    roi
        Slices of the spatial axes; computes inside this box alone, from the seeds in it.

    Returns
    -------
    numpy.ndarray
        Float32 (*spatial), infinite everywhere when there are no seeds, and outside `roi`.

    Raises
    ------
    DataError
        If shapes do not fit, the image holds NaN, the seeds are no mask, the spacing is not positive, or `roi` is
        not one slice for each axis with a step of 1.
    SettingsError
        If weight, metric, device or engine is not known or the engine does not offer the metric.
    DeviceError
        If CUDA is asked for and absent.
    MissingDependencyError
        If the package of the engine is not installed.
    """
    maps = geodesic_distances(
        image, [seeds], spacing=spacing, weight=weight, metric=metric, device=device, engine=engine, roi=roi
    )
    return maps[0]


def geodesic_distances(
    image: Any,
    seeds: Iterable[Any],
    *,
    spacing: float | Sequence[float] = 1.0,
    weight: float = 0.9,
    metric: str = "linear",
    device: str | None = None,
    engine: str | None = None,
    roi: Box | None = None,
) -> list[np.ndarray]:
    """Compute one distance map per seed mask, on the CPU one thread each.

    Parameters and errors are those of `geodesic_distance`; `seeds` holds one bool mask (*spatial)
    per map, for instance foreground and background scribbles.
    """
    masks = [_to_numpy(mask) for mask in seeds]
    image = _to_numpy(image)
    if not masks:
        return []
    shape = masks[0].shape
    if image.shape != shape and image.shape[1:] != shape:
        raise DataError(f"Seeds of shape {shape} do not fit an image of shape {image.shape} (channels come first).")
    problem = check_problem(image, image.shape != shape, spacing, weight, metric)
    masks = [check_seeds(mask, shape) for mask in masks]
    engine, device = choose_engine(engine, device)
    if roi is None:
        return _compute(problem, masks, engine, device)
    roi = check_region(roi, shape)
    inside = Problem(problem.image[(slice(None), *roi)], problem.spacing, problem.weight, problem.metric)
    if inside.image.size == 0:
        raise DataError(f"The region of interest {roi} holds no voxel of an image of shape {shape}.")
    results = [np.full(shape, np.inf, np.float32) for _ in masks]
    for result, part in zip(results, _compute(inside, [mask[roi] for mask in masks], engine, device), strict=True):
        result[roi] = part
    return results


def choose_engine(engine: str | None, device: str | None) -> tuple[str, str]:
    """Return the engine and torch device to use.

    Raises
    ------
    SettingsError
        If one is not known or they do not go together.
    DeviceError
        If CUDA is asked for and absent.
    """
    if engine is not None and engine not in get_args(Engine):
        raise SettingsError(f"Engine {engine!r} is not known; choose one of {', '.join(get_args(Engine))}.")
    if device is not None and not isinstance(device, str):
        raise SettingsError(f"The device must be a name such as 'cpu' or 'cuda', got {device!r}.")
    kind = (device or "cpu").split(":")[0]
    if kind in ("cuda", "auto"):
        import torch

        if torch.cuda.is_available():
            return engine or _gpu_engine(), "cuda" if device == "auto" else str(device)
        if kind == "cuda":
            raise DeviceError("Device 'cuda' was asked for, but torch sees no CUDA device; use device='cpu'.")
    elif kind != "cpu":
        warnings.warn(f"Geodesic distances have no kernel for {device!r}; they are computed on the CPU.", stacklevel=4)
    return engine or "numba", "cpu"


def _gpu_engine() -> str:
    """Return ``triton`` where it is installed and new enough for the kernels (tuples: 3.3), else ``torch``."""
    try:
        from triton import __version__
    except ImportError:
        return "torch"
    return "triton" if tuple(int(part) for part in __version__.split(".")[:2]) >= (3, 3) else "torch"


def _compute(problem: Problem, masks: list[np.ndarray], engine: str, device: str) -> list[np.ndarray]:
    """Return the distances to each mask, float32 (*spatial), by an engine that `choose_engine` gave."""
    if engine == "numba":
        return _compute_numba(problem, masks)
    if engine in ("torch", "triton"):
        from napari_medseg.geodesic._torch import compute

        return [compute(problem, mask, device, engine) for mask in masks]
    return [_external.compute(problem, mask, engine) for mask in masks]


def _compute_numba(problem: Problem, masks: list[np.ndarray]) -> list[np.ndarray]:
    from napari_medseg.geodesic._grid import Grid

    grid = Grid(problem)

    def fill(mask: np.ndarray) -> np.ndarray:
        distance = GeodesicMap.of(grid)
        distance.add(mask)
        return np.ascontiguousarray(distance.distance)

    if len(masks) == 1:
        return [fill(masks[0])]
    with ThreadPoolExecutor(min(len(masks), os.cpu_count() or 1)) as pool:
        return list(pool.map(fill, masks))


def _to_numpy(array: Any) -> np.ndarray:
    """Return `array` as numpy, also when it is a torch tensor."""
    return np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)
