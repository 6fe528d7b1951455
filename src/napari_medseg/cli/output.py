"""What the commands share: run a job with a progress line, print JSON or text."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TextIO, TypeVar

from napari_medseg.cli.console import ProgressLine
from napari_medseg.errors import WriteError, printable
from napari_medseg.jobs import Job, run

T = TypeVar("T")


def drain(job: Job[T], quiet: bool = False) -> T:
    """Run a job with a progress line; Ctrl+C closes the job so that it can save."""
    line = ProgressLine()
    try:
        return run(job, None if quiet else line)
    finally:
        job.close()
        if not quiet:
            line.close()


def show(value: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Print JSON, and only JSON, or text."""
    say(json.dumps(value, indent=2, default=str) if as_json else text())


def say(text: str, stream: TextIO | None = None) -> None:
    """Write a line to standard output, or to `stream`; what a terminal would obey is shown as an escape.

    Raises
    ------
    WriteError
        If it cannot be written, as on a full disk.
    """
    write(printable(text) + "\n", stream or sys.stdout)


def write(text: str, stream: TextIO) -> None:
    """Write text as it is, now."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise WriteError(f"The output cannot be written: {error.strerror or error}. Write it elsewhere.") from error


def warn(text: str) -> None:
    """Write a line about something that the user must know to standard error."""
    say(f"medseg: {text}", sys.stderr)


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
