"""``medseg demo``: walk through training, prediction and measurement on generated data."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from napari_medseg.cli.output import drain, say

KINDS = ("story", "afm", "mri", "video")


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments; `words` are those of the command line after the command."""
    parser.add_argument(
        "--kind", choices=KINDS, default=KINDS[0],
        help="story: afm, then mri; afm: train, segment and measure cells; mri: refine a lesion with scribbles; "
        "video: outline the nerve in a movie (default: story)",
    )  # fmt: skip
    parser.add_argument("--headless", action="store_true", help="do not open napari")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output"), help="folder (default: demo-output)")
    parser.add_argument("--screenshots", action="store_true", help="take pictures of the window, then close it")

    def call(arguments: argparse.Namespace) -> int:
        from napari_medseg.samples.demo import demo, open_viewer

        result = drain(demo(arguments.output, arguments.kind))
        say("\n".join(result.lines))
        return 0 if arguments.headless else open_viewer(arguments.output, arguments.screenshots, arguments.kind)

    parser.set_defaults(call=call)
