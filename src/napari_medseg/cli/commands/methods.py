"""``medseg methods``: list the methods."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from napari_medseg.cli.commands import show, table


def add(commands: Any, words: Sequence[str]) -> None:
    """Add the command; `words` are the command line's, to find the method."""
    parser = commands.add_parser("methods", help="list the methods")
    parser.add_argument("--json", action="store_true", help="print JSON only")

    def call(arguments: argparse.Namespace) -> None:
        from napari_medseg.method import count_parameters
        from napari_medseg.methods import KNOWN, create

        rows = []
        for name in KNOWN:
            method = create(name)
            count = count_parameters(method.build_network())[1]
            row = {"name": name, "title": method.title, "doi": method.doi, "ndim": method.ndim}
            rows.append({**row, "trainable_parameters": count})
        show(rows, arguments.json, lambda: table(rows))

    parser.set_defaults(call=call)
