"""Progress on a terminal: one line that is redrawn; in a log, one line now and then."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from typing import TextIO

from napari_medseg.errors import printable
from napari_medseg.jobs import Progress

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
