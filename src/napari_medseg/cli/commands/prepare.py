"""``medseg prepare``: make a training folder from raw images and annotations."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_medseg.cli.flags import add_flags, method_settings, settings_of
from napari_medseg.cli.output import drain, show
from napari_medseg.errors import counted


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments; `words` are those of the command line after the command."""
    parser.add_argument("method", metavar="METHOD")
    parser.add_argument("source", type=Path, metavar="SRC", help="folder of images with label maps or outlines")
    parser.add_argument("destination", type=Path, metavar="DST", help="training folder to write")
    parser.add_argument("--json", action="store_true", help="print the report as JSON only")
    cls = getattr(method_settings(words), "preparation", None)
    if cls:
        add_flags(parser, cls)

    def call(arguments: argparse.Namespace) -> None:
        from napari_medseg.training.preparation import prepare

        settings = settings_of(arguments, cls) if cls else None
        job = prepare(arguments.method, arguments.source, arguments.destination, settings)
        report = drain(job, arguments.json)
        value: dict[str, Any] = {"folder": str(report.folder), "cases": report.cases, "kept": report.skipped}
        value |= {"problems": report.problems, "notes": report.notes, "mean": report.mean, "std": report.std}
        lines = [f"{counted(len(report.cases), 'case')} in {report.folder} ({len(report.skipped)} were there already)"]
        lines += [f"not used: {problem}" for problem in report.problems]
        lines += report.notes
        show(value, arguments.json, "\n".join(lines))

    parser.set_defaults(call=call)
