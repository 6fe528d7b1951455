"""Run the commands of documentation pages as a new user would: ``python scripts/try_docs.py [PAGE ...]``.

Every page gets an empty folder; its ``bash`` and ``python`` blocks run in order, exactly as written. Lines that install
something, open a window or need a cluster are left out.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SERVER = "medseg serve"
LEFT_OUT = ("pip ", "napari", "make ", "torchrun ", "dask ", "python scripts/", "python -m benchmarks")
LINES = 40


def main() -> int:
    """Run the pages given, or all tutorials, the quick start and the README; 1 if a command failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", type=Path)
    usual = [ROOT / "README.md", ROOT / "docs" / "quickstart.md", *sorted((ROOT / "docs" / "tutorials").glob("*.md"))]
    failed = sum(try_page(page) for page in parser.parse_args().pages or usual)
    print(f"{failed} commands failed")
    return int(failed > 0)


def try_page(page: Path) -> int:
    """Run the blocks of a page in an empty folder and return how many commands failed."""
    failed = 0
    with tempfile.TemporaryDirectory(prefix="try docs ") as folder, ExitStack() as servers:
        for language, body in FENCE.findall(page.read_text(encoding="utf-8")):
            for code in [body] if language == "python" else body.replace("\\\n", " ").splitlines():
                if code.startswith(SERVER):
                    servers.enter_context(serving(code, Path(folder)))
                elif code.strip() and not code.startswith((*LEFT_OUT, "#")):
                    failed += not try_code(page.name, language, code, Path(folder))
    return failed


def try_code(page: str, language: str, code: str, folder: Path) -> bool:
    """Run one command or program, print its time and the end of its output; return whether it succeeded."""
    words = [sys.executable, "-c", code] if language == "python" else ["bash", "-c", code]
    start = time.monotonic()
    ended = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True)
    print(f"== {page}: {code.strip()}\n   exit {ended.returncode}, {time.monotonic() - start:.1f} s")
    print("\n".join((ended.stdout + ended.stderr).splitlines()[-LINES:]), flush=True)
    return ended.returncode == 0


@contextmanager
def serving(code: str, folder: Path) -> Iterator[None]:
    """Run a server from its first line of output until the block ends."""
    words = ["bash", "-c", f"exec {code}"]
    with subprocess.Popen(words, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True) as server:
        print(f"== beside the rest: {code}\n{server.stdout.readline().rstrip()}", flush=True)
        try:
            yield
        finally:
            server.send_signal(signal.SIGINT)


def environment() -> dict[str, str]:
    """Return the environment in which ``medseg`` and ``python`` are those that run this."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


if __name__ == "__main__":
    sys.exit(main())
