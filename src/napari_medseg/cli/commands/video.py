"""``medseg video``: outline the nerve in the frames of a movie that show one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_medseg.cli.flags import add_flags, settings_of
from napari_medseg.cli.output import drain, show
from napari_medseg.errors import counted


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments; `words` are those of the command line after the command."""
    parser.add_argument("source", type=Path, metavar="MOVIE", help="movie, multi-page TIFF or folder of frames")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="result folder")
    parser.add_argument("--classifier", type=Path, metavar="C.pt", help="without it every frame counts as nerve")
    parser.add_argument("--segmenter", type=Path, required=True, metavar="S.pt", help="double-unet model")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON only")
    from napari_medseg.video.settings import VideoSettings

    add_flags(parser, VideoSettings)

    def call(arguments: argparse.Namespace) -> None:
        from napari_medseg.models.catalog import load_model
        from napari_medseg.video import segment_video
        from napari_medseg.video.settings import VideoSettings

        settings = settings_of(arguments, VideoSettings)
        classifier = load_model(arguments.classifier) if arguments.classifier else None
        segmenter = load_model(arguments.segmenter)
        job = segment_video(arguments.source, classifier, segmenter, arguments.output, settings)
        summary = drain(job, arguments.json).summary
        show(summary, arguments.json, report(summary, arguments.output))

    parser.set_defaults(call=call)


def report(summary: dict[str, Any], folder: Path) -> str:
    """Return what was found as lines."""
    found = summary["nerve_intervals"]
    lines = [
        f"{summary['frames_total']} frames of {summary['size'][1]}x{summary['size'][0]} pixels into {folder}",
        f"nerve in {summary['nerve_frames']} frames ({summary['nerve_share']:.0%}), {counted(len(found), 'interval')}",
    ]
    lines += [f"  {interval['start_s']:8.2f} s to {interval['stop_s']:.2f} s" for interval in found]
    rate = summary["frames_computed"] / max(summary["seconds"], 1e-9)
    lines.append(f"{summary['seconds']:.1f} s, {rate:.1f} frames/s; {summary['device']}")
    return "\n".join(lines)
