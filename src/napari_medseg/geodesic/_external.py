"""Geodesic distances of other packages, for comparison with published settings: GeodisTK and FastGeodis."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from napari_medseg.errors import MissingDependencyError, SettingsError
from napari_medseg.geodesic._inputs import Problem
from napari_medseg.settings import check_metric

_HOW = {  # to install what has no wheels
    "GeodisTK": 'CXXFLAGS=-DNPY_IN_ARRAY=NPY_ARRAY_IN_ARRAY pip install --no-build-isolation "napari-medseg[geodistk]"',
    "FastGeodis": 'pip install "setuptools<81" ninja && pip install --no-build-isolation FastGeodis==1.0.5',
}
_SCANS = 2  # over the grid, as in the publications' scripts


def compute(problem: Problem, seeds: np.ndarray, engine: str) -> np.ndarray:
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
    """Import a package that was built against torch, and needs it loaded first."""
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
