"""`geodesic_distance`: exact geodesic distance transforms on the engine that fits."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from napari_medseg.errors import DataError, DeviceError, MissingDependencyError, SettingsError
from napari_medseg.geodesic._inputs import Problem, check_problem, check_region, check_seeds, edge_cost
from napari_medseg.geodesic.incremental import Box, GeodesicMap
from napari_medseg.settings import check_metric

if TYPE_CHECKING:
    import torch

Engine = Literal["numba", "torch", "triton", "geodistk", "fastgeodis"]
_HOW = {
    "GeodisTK": 'CXXFLAGS=-DNPY_IN_ARRAY=NPY_ARRAY_IN_ARRAY pip install --no-build-isolation "napari-medseg[geodistk]"',
    "FastGeodis": 'pip install "setuptools<81" ninja && pip install --no-build-isolation FastGeodis==1.0.5',
}
_SCANS = 2  # as in the publications' scripts
_ROUNDS_PER_CHECK = 8


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
    if engine == "numba":
        return _compute_numba(problem, masks)
    if engine in ("torch", "triton"):
        return [_compute_torch(problem, mask, device, engine) for mask in masks]
    return [_compute_external(problem, mask, engine) for mask in masks]


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


# ---- on torch devices
def _compute_torch(problem: Problem, seeds: np.ndarray, device: str, engine: str) -> np.ndarray:
    """Compute on a torch device: plain relaxation in torch, tiles in Triton (see `_triton`)."""
    import torch

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
    import torch

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


# ---- other packages, for comparison with published settings
def _compute_external(problem: Problem, seeds: np.ndarray, engine: str) -> np.ndarray:
    """Compute with GeodisTK or FastGeodis, whose two raster scans need not have converged.

    FastGeodis adds the intensity differences of channels where the others take their Euclidean length.
    """
    if len(problem.shape) == 2 and problem.spacing != (1.0, 1.0):
        raise SettingsError(f"Engine {engine!r} has no pixel size in 2D, got {problem.spacing}; use engine='numba'.")
    try:
        check_metric(engine, problem.metric)
    except ValueError as error:
        raise SettingsError(f"{str(error).capitalize()}.") from error
    if not seeds.any():
        return np.full(problem.shape, np.inf, np.float32)
    distance = _geodistk(problem, seeds) if engine == "geodistk" else _fastgeodis(problem, seeds)
    return np.asarray(distance, np.float32)


def _load(name: str) -> Any:
    import importlib

    try:
        importlib.import_module("torch")
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"The engine {name.lower()!r} needs {name}, which is not installed ({error}). Install it with: {_HOW[name]}"
        ) from error


def _geodistk(problem: Problem, seeds: np.ndarray) -> Any:
    library = _load("GeodisTK")
    image = np.ascontiguousarray(np.moveaxis(problem.image, 0, -1), np.float32)
    image = image[..., 0] if image.shape[-1] == 1 else image
    marks, spacing = seeds.astype(np.uint8), list(problem.spacing)
    if len(problem.shape) == 2:
        if problem.metric == "product":
            return library.geodesic2d_fast_marching(image, marks)
        return library.geodesic2d_raster_scan(image, marks, problem.weight, _SCANS)
    if problem.metric == "product":
        return library.geodesic3d_fast_marching(image, marks, spacing)
    return library.geodesic3d_raster_scan(image, marks, spacing, problem.weight, _SCANS)


def _fastgeodis(problem: Problem, seeds: np.ndarray) -> Any:
    library = _load("FastGeodis")
    import torch

    image = torch.from_numpy(np.array(problem.image, np.float32, order="C"))[None]
    marks = torch.from_numpy((~seeds).astype(np.float32))[None, None]
    if len(problem.shape) == 2:
        result = library.generalised_geodesic2d(image, marks, 1e10, problem.weight, _SCANS)
    else:
        spacing = list(problem.spacing)
        result = library.generalised_geodesic3d(image, marks, spacing, 1e10, problem.weight, _SCANS)
    return result[0, 0].numpy()
