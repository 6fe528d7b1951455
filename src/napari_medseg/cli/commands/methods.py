"""``medseg methods``: list the methods."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from napari_medseg.cli.output import show, table


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments; `words` are those of the command line after the command."""
    parser.add_argument("--json", action="store_true", help="print JSON only")

    def call(arguments: argparse.Namespace) -> None:
        from napari_medseg.method import count_parameters
        from napari_medseg.methods import create, usable_methods

        rows = []
        for name in usable_methods():
            method = create(name)
            count = count_parameters(method.build_network())[1]
            row = {"name": name, "title": method.title, "doi": method.doi, "ndim": method.ndim}
            rows.append({**row, "trainable_parameters": count})
        show(rows, arguments.json, table(rows))

    parser.set_defaults(call=call)
