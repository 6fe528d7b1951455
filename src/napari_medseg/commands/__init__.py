"""The commands of ``medseg``, one module each with ``add(commands, words)``; and what they share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from napari_medseg.console import ProgressLine
from napari_medseg.jobs import Job, run

T = TypeVar("T")
COMMANDS = (
    "methods",
    "describe",
    "train",
    "predict",
    "refine",
    "evaluate",
    "measure",
    "prepare",
    "video",
    "export",
    "report",
    "sample",
    "doctor",
    "demo",
)


def drain(job: Job[T], quiet: bool = False) -> T:
    """Run a job with a progress line; Ctrl+C closes the job so that it can save."""
    line = ProgressLine()
    try:
        return run(job, None if quiet else line)
    finally:
        job.close()
        if not quiet:
            line.close()


def method_class(words: Sequence[str]) -> Any:
    """Return the class of the method named in `words`, or ``None``."""
    from napari_medseg.methods import METHODS, get_method

    name = next((word for word in words[1:] if word in METHODS), None)
    return get_method(name) if name else None


def show(value: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Print JSON, and only JSON, or text."""
    print(json.dumps(value, indent=2, default=str) if as_json else text())


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as aligned text."""
    import pandas as pd

    return str(pd.DataFrame(rows).to_string(index=False, float_format=_digits))


def _digits(value: float) -> str:
    """Write shares with four digits behind the point, larger values with two, large whole ones with none."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.0f}" if value == round(value) else f"{value:.2f}"
