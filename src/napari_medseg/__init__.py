"""Five published medical segmentation methods for napari, the command line and Python."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "Image": "image",
    "MedSegError": "errors",
    "Progress": "jobs",
    "run": "jobs",
    "read": "io",
    "write": "io",
    "get_method": "methods",
    "METHODS": "methods",
    "load_model": "methods",
    "predict": "inference",
    "infer": "inference",
    "fit": "training",
    "geodesic_distance": "geodesic",
    "PredictSettings": "settings",
    "TrainSettings": "settings",
}
__all__ = ["__version__", *sorted(_LAZY)]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"napari_medseg.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'napari_medseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
