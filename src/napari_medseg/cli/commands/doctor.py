"""``medseg doctor``: show versions, device and what is missing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from napari_medseg.cli.commands import show


def add(commands: Any, words: Sequence[str]) -> None:
    """Add the command; `words` are the command line's, to find the method."""
    parser = commands.add_parser("doctor", help="show versions, device and what is missing")
    parser.add_argument("--json", action="store_true", help="print JSON only")

    def call(arguments: argparse.Namespace) -> int:
        from napari_medseg.cli.doctor import examine, report

        found = examine()
        show(found, arguments.json, lambda: report(found))
        return 1 if found["problems"] else 0

    parser.set_defaults(call=call)
