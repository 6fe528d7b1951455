"""``medseg sample``: write generated sample data."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from napari_medseg.cli.output import say


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments; `words` are those of the command line after the command."""
    from napari_medseg.samples import KINDS

    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--count", type=int, default=0, metavar="N", help="cases; 0: a few")
    parser.add_argument("--seed", type=int, default=0, metavar="INT", help="other seeds give other data")

    def call(arguments: argparse.Namespace) -> None:
        from napari_medseg.errors import SettingsError
        from napari_medseg.samples import write_sample

        if arguments.count < 0 or arguments.seed < 0:
            raise SettingsError(f"--count and --seed count from 0, got {arguments.count} and {arguments.seed}.")
        say(f"Sample data in {write_sample(arguments.kind, arguments.output, arguments.count, arguments.seed)}")

    parser.set_defaults(call=call)
