"""The user's preferences: napari's own dialog edits them, the manifest declares them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_medseg._napari import PLUGIN
from napari_medseg.cluster.settings import ClusterSettings
from napari_medseg.io.files import expanded
from napari_medseg.settings import PredictSettings


def compute() -> dict[str, Any]:
    """Return device, precision, tile, model_folder and address; built-in values where napari keeps none."""
    try:
        from napari.settings import get_plugin_settings

        return dict(get_plugin_settings(PLUGIN).compute.dict())
    except (ImportError, KeyError, AttributeError):  # napari < 0.9, or not installed as a plugin
        return {}


def predict_settings(base: PredictSettings) -> PredictSettings:
    """Return `base` with the user's device, precision and tile where they differ from the built-in values."""
    chosen = {k: v for k, v in compute().items() if k in ("device", "precision", "tile")}
    changed = {k: v for k, v in chosen.items() if v != getattr(PredictSettings(), k)}
    return base.updated(**changed)


def compute_address() -> str:
    """Return the address of the Dask scheduler that computes for the docks; empty: this computer does."""
    return str(compute().get("address") or "").strip()


def security() -> ClusterSettings:
    """Return how that scheduler is trusted: by the preferences, else by the environment."""
    chosen = {k: v for k, v in compute().items() if k in ClusterSettings.model_fields and v}
    return ClusterSettings.of_environment().updated(**chosen)


def model_folder() -> Path:
    """Return the folder that the model list shows."""
    from napari_medseg.models.catalog import DEFAULT_FOLDER  # loads torch

    return expanded(compute().get("model_folder") or DEFAULT_FOLDER)
