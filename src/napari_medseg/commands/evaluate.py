"""``medseg evaluate``: compare results with references."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from napari_medseg.commands import drain, show, table

LISTED = 8  # unpaired files named on the screen


def add(commands: Any, words: Sequence[str]) -> None:
    """Add the command; `words` are the command line's, to find the method."""
    parser = commands.add_parser("evaluate", help="compare results with references")
    parser.add_argument("method", metavar="METHOD")
    parser.add_argument("predictions", type=Path, metavar="PRED", help="label file or folder")
    parser.add_argument("references", type=Path, metavar="REF", help="label file or folder")
    parser.add_argument("--json", action="store_true", help="print JSON only")

    def call(arguments: argparse.Namespace) -> None:
        from napari_medseg.evaluation import evaluate

        result = drain(evaluate(arguments.method, arguments.predictions, arguments.references), arguments.json)
        if result["unpaired"]:
            names = cast("list[str]", result["unpaired"])
            more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
            print(f"medseg: without partner: {', '.join(names[:LISTED])}{more}", file=sys.stderr)
        value = {"mean": result["mean"], "images": result["images"]}
        rows = [{"image": stem, **row} for stem, row in {**value["images"], "MEAN": value["mean"]}.items()]  # type: ignore[dict-item]
        show(value, arguments.json, lambda: table(rows))

    parser.set_defaults(call=call)
