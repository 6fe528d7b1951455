"""The commands of ``medseg``, one module each with ``add(commands, words)``; and what they share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from napari_medseg.cli.console import ProgressLine
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
    from napari_medseg.methods import KNOWN, get_method

    name = next((word for word in words[1:] if word in KNOWN), None)
    return get_method(name) if name else None


def show(value: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Print JSON, and only JSON, or text."""
    print(json.dumps(value, indent=2, default=str) if as_json else text())


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as aligned text."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    formats: Any = {name: _digits(column) for name, column in frame.items() if column.dtype.kind == "f"}
    return str(frame.to_string(index=False, formatters=formats))


def _digits(column: Any) -> Callable[[float], str]:
    """Return the format of a column: shares with four digits, larger values with two, whole ones with none."""
    known = column.dropna()
    largest = known.abs().max()
    digits = 4 if not largest >= 10 else 0 if (known == known.round()).all() else 2
    return lambda value: f"{value:.{digits}f}"
