"""What the commands share: run a job with a progress line, print JSON or text."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, TypeVar

from napari_medseg.errors import SettingsError, WriteError, printable
from napari_medseg.jobs import Job, Progress, run

LOG_SECONDS = 10.0


class ProgressLine:
    """Show `Progress` on `stream` (standard error, so that standard output stays clean)."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.started = time.monotonic()
        self.last_log = -LOG_SECONDS
        self.last = ""

    def __call__(self, progress: Progress) -> None:
        """Show one step."""
        text = self.format(progress)
        with contextlib.suppress(OSError):  # a full disk behind a log ends no work
            if self.stream.isatty():
                width = shutil.get_terminal_size().columns - 1
                self.stream.write("\r" + text[:width].ljust(width))
            elif progress.step == 0 or time.monotonic() - self.last_log > LOG_SECONDS:
                self.stream.write(text + "\n")
                self.last_log = time.monotonic()
            self.stream.flush()
        self.last = text

    def format(self, progress: Progress) -> str:
        """Return ``[#####     ]  50 %  12 s left  message``."""
        share = progress.step / progress.total if progress.total else 0.0
        bar = ("#" * round(20 * share)).ljust(20)
        elapsed = time.monotonic() - self.started
        left = f"{elapsed / share - elapsed:.0f} s left" if 0 < share < 1 else ""
        message = printable(progress.message).replace("\n", " ")
        return f"[{bar}] {share:4.0%} {left:>11}  {message}"

    def close(self) -> None:
        """End the line."""
        if self.last and self.stream.isatty():
            self.stream.write("\n")


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


def show(value: Any, as_json: bool, text: str) -> None:
    """Print JSON, and only JSON (what is not finite as null), or text."""
    if as_json:
        from napari_medseg.io.files import json_safe

        text = json.dumps(json_safe(value), indent=2)
    say(text)


def keep_apart(output: Path, *read: Path | str | None) -> None:
    """Refuse to write over a file that is read.

    Raises
    ------
    SettingsError
        If `output` is one of them.
    """
    for path in read:
        if path and os.path.exists(output) and os.path.exists(path) and os.path.samefile(output, path):
            raise SettingsError(f"{output} is read here and would be lost. Choose another name for the result.")


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
