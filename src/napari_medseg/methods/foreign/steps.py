"""Intensities before a network, by the words of bioimage.io: each step is a gain and an offset, or a limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from napari_medseg.errors import CheckpointError

Step = Mapping[str, Any]
Resolved = list[tuple[str, Any, Any]]
NAMED: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "zscore": [{"id": "zero_mean_unit_variance", "kwargs": {}}],
    "percentile": [{"id": "scale_range", "kwargs": {"min_percentile": 1, "max_percentile": 99.8}}],
    "255": [{"id": "scale_linear", "kwargs": {"gain": 1 / 255, "offset": 0}}],
}
KNOWN = (
    "ensure_dtype", "scale_linear", "zero_mean_unit_variance", "fixed_zero_mean_unit_variance", "scale_range", "clip",
)  # fmt: skip
EPS = 1e-6


def checked(steps: Sequence[Step], what: str) -> list[dict[str, Any]]:
    """Return steps as plain values.

    Raises
    ------
    CheckpointError
        If one of them is not known here.
    """
    found = [{"id": str(s.get("id") or s.get("name")), "kwargs": dict(s.get("kwargs") or {})} for s in steps]
    for step in found:
        fixed = step["id"] == "zero_mean_unit_variance" and "mean" in step["kwargs"]
        step["id"] = "fixed_zero_mean_unit_variance" if fixed else step["id"]
        if step["id"] not in KNOWN:
            raise CheckpointError(f"{what} asks for {step['id']!r} of intensities, which is not known here.")
    return found


def resolve(steps: Sequence[Step], image: np.ndarray) -> Resolved:
    """Return what the steps do to any part of an image (C, *spatial): statistics are those of the whole image."""
    found: Resolved = []
    values = np.asarray(image, np.float32)
    for step in steps:
        one = _resolve(step["id"], step["kwargs"], values)
        if one is not None:
            found.append(one)
            values = apply([one], values)
    return found


def apply(resolved: Resolved, block: np.ndarray) -> np.ndarray:
    """Return float32 intensities (C, *spatial) after resolved steps."""
    values = np.asarray(block, np.float32)
    for kind, first, second in resolved:
        values = np.clip(values, first, second) if kind == "clip" else values * first + second
    return np.asarray(values, np.float32)


def _resolve(kind: str, kwargs: Mapping[str, Any], values: np.ndarray) -> tuple[str, Any, Any] | None:
    """Return a step for `values` (C, *spatial): ``linear``, gain, offset, or ``clip``, least, most, or ``None``."""
    if kind == "ensure_dtype":
        return None
    if kind == "clip":
        return "clip", kwargs.get("min", -np.inf), kwargs.get("max", np.inf)
    if kind == "scale_linear":
        return "linear", _shaped(kwargs.get("gain", 1.0), values), _shaped(kwargs.get("offset", 0.0), values)
    eps = float(kwargs.get("eps", EPS))
    if kind == "fixed_zero_mean_unit_variance":
        gain = 1 / np.maximum(_shaped(kwargs["std"], values), eps)
        return "linear", gain, -_shaped(kwargs["mean"], values) * gain
    axes = tuple(range(1, values.ndim))
    if "axes" in kwargs and ("c" in kwargs["axes"] or "channel" in kwargs["axes"]):
        axes = tuple(range(values.ndim))
    if kind == "zero_mean_unit_variance":
        gain = 1 / (values.std(axes, keepdims=True, dtype=np.float64) + eps)
        return "linear", gain, -values.mean(axes, keepdims=True, dtype=np.float64) * gain
    ends = (float(kwargs.get("min_percentile", 0.0)), float(kwargs.get("max_percentile", 100.0)))
    low, high = np.percentile(values, ends, axis=axes, keepdims=True)
    return "linear", 1 / (high - low + eps), -low / (high - low + eps)


def _shaped(value: Any, values: np.ndarray) -> np.ndarray:
    """Return a number, or one for each channel, as an array that fits (C, *spatial)."""
    array = np.asarray(value, np.float64).ravel()
    return array.reshape(-1, *(1 for _ in values.shape[1:]))
