"""Optional engines GeodisTK and FastGeodis, for comparison with published settings."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_medseg.errors import MissingDependencyError, SettingsError
from napari_medseg.geodesic._inputs import Problem

_HOW = {
    "GeodisTK": 'CXXFLAGS="-DNPY_IN_ARRAY=NPY_ARRAY_IN_ARRAY" pip install --no-build-isolation GeodisTK==0.1.7',
    "FastGeodis": 'pip install "setuptools<81" ninja && pip install --no-build-isolation FastGeodis==1.0.5',
}
_SCANS = 2


def compute(problem: Problem, seeds: np.ndarray, engine: str) -> np.ndarray:
    """Return the distance, float32 (*spatial), computed by ``geodistk`` or ``fastgeodis``.

    Raster scans run twice, as in the publications' scripts, and need not have converged.

    Raises
    ------
    MissingDependencyError
        If the package is not installed.
    SettingsError
        If it does not offer the metric or the spacing.
    """
    if len(problem.shape) == 2 and problem.spacing != (1.0, 1.0):
        raise SettingsError(f"Engine {engine!r} has no pixel size in 2D, got {problem.spacing}; use engine='numba'.")
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
    if problem.metric == "linear":
        raise SettingsError("GeodisTK offers the metrics 'harmonic' and 'product', not 'linear'; use engine='numba'.")
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
    if problem.metric != "linear":
        raise SettingsError(f"FastGeodis offers the metric 'linear' alone, got {problem.metric!r}; use engine='numba'.")
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
