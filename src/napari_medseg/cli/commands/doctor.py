"""``medseg doctor``: show versions, device and what is missing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from napari_medseg.cli.output import show


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments; `words` are those of the command line after the command."""
    parser.add_argument("--json", action="store_true", help="print JSON only")

    def call(arguments: argparse.Namespace) -> int:
        from napari_medseg.cli.doctor import examine, report

        found = examine()
        show(found, arguments.json, lambda: report(found))
        return 1 if found["problems"] else 0

    parser.set_defaults(call=call)
