"""JSON files: written whole, read without trust in what they hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError, one_line
from napari_medseg.io.atomic import write_text


def read_json(path: str | Path) -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    ReadError
        If there is no such file, or it is no JSON, or its brackets are nested too deeply.
    """
    path = Path(path)
    try:
        return parse_json(path.read_text("utf-8-sig"))
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise ReadError(f"{path} is no JSON ({one_line(error)}); it is damaged, cut short or another file.") from error


def parse_json(text: str) -> Any:
    """Return what JSON text holds; `ValueError` for whatever is none, also for brackets nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its brackets are nested too deeply") from None


def write_json(path: str | Path, value: Any) -> Path:
    """Write `value` as JSON; what JSON cannot hold becomes text, NaN becomes null."""
    return write_text(path, json.dumps(json_safe(value), indent=1, ensure_ascii=False) + "\n")


def json_safe(value: Any) -> Any:
    """Turn `value` into what JSON can hold: arrays become lists, NaN becomes null, anything unknown its text."""
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return json_safe(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [json_safe(item) for item in value]
    if isinstance(value, np.generic):
        return json_safe(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
