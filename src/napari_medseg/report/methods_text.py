"""A paragraph for the methods section of a paper: what made a result, with versions and settings."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from napari_medseg import __version__
from napari_medseg.errors import MedSegError
from napari_medseg.image import Image
from napari_medseg.methods import get_method, known_methods

LIBRARIES = ("torch", "numpy", "scipy", "scikit-image", "napari")
SCRIBBLES = "strokes that a geodesic minimum cut answers (engine geodesic)"


def methods_paragraph(
    labels: Image, facts: Mapping[str, Any], *, measured_as: str = "", objects: int | None = None
) -> str:
    """Return the paragraph on one result.

    Parameters
    ----------
    labels
        The result; its voxel size is stated.
    facts
        How the labels came about: what ``labels.metadata["medseg"]`` holds.
    measured_as, objects
        Kind of measurement and number of its rows, where the result was measured.
    """
    with_ = ", ".join(f"{name} {version}" for name, version in [("Python", platform.python_version()), *_versions()])
    version = facts.get("version") or __version__
    sentences = [f"Images were segmented with napari-medseg {version} ({with_}) by {_method(facts)}."]
    if facts.get("checkpoint"):
        sha = str(facts.get("checkpoint_sha256", ""))[:12]
        name = str(facts["checkpoint"]).replace("\\", "/").rpartition("/")[2]
        sentences.append(f"The model was {name}{f' (SHA-256 {sha}...)' if sha else ''}.")
    changed = _changed(facts)
    sentences.append(f"Settings other than the defaults: {changed}." if changed else "All settings were the defaults.")
    if facts.get("device"):
        sentences.append(f"It was computed on {facts['device']}.")
    sentences.append(f"The result is {labels.describe()}.")
    if measured_as:
        count = f"; {objects:,} rows" if objects is not None else ""
        sentences.append(f"Objects were measured as {measured_as}{count}.")
    return " ".join(sentences) + "\n"


def _versions() -> list[tuple[str, str]]:
    found = []
    for name in LIBRARIES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found


def _method(facts: Mapping[str, Any]) -> str:
    name = str(facts.get("method", ""))
    if name not in known_methods():
        return SCRIBBLES if name == "geodesic" else (name or "hand or another program (no record of how was kept)")
    try:
        method = get_method(name)
    except MedSegError:
        return name
    return f"{method.title}{f' (doi:{method.doi})' if method.doi else ''}"


def _changed(facts: Mapping[str, Any]) -> str:
    """Return the settings that are not the method's defaults."""
    settings, name = dict(facts.get("settings") or {}), str(facts.get("method", ""))
    if name in known_methods():
        try:
            default = get_method(name).Settings().model_dump(mode="json")
        except MedSegError:
            default = {}
        settings = {k: v for k, v in settings.items() if k not in default or default[k] != v}
    return ", ".join(f"{key} = {value}" for key, value in settings.items() if value not in ("", None))
