"""Five published medical segmentation methods for napari, the command line and Python."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

__version__ = "0.1.0"


def lazily(package: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package that imports the module of a name (name -> module) on first use."""

    def get(name: str) -> Any:
        if name in names:
            return getattr(importlib.import_module(f"{package}.{names[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get


_LAZY = {
    "Image": "image",
    "MedSegError": "errors",
    "Progress": "jobs",
    "run": "jobs",
    "read": "io",
    "write": "io",
    "get_method": "methods",
    "METHODS": "methods",
    "load_model": "models.catalog",
    "predict": "inference",
    "infer": "inference",
    "fit": "training",
    "geodesic_distance": "geodesic",
    "PredictSettings": "settings",
    "TrainSettings": "settings",
}
__all__ = ["__version__", *sorted(_LAZY)]


__getattr__ = lazily(__name__, _LAZY)


def __dir__() -> list[str]:
    return __all__
