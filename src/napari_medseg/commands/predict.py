"""``medseg predict``: segment images with a trained model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_medseg.commands import drain, show
from napari_medseg.flags import add_flags, given
from napari_medseg.settings import PredictSettings


def add(commands: Any, words: Sequence[str]) -> None:
    """Add the command; `words` are the command line's, to find the method."""
    parser = commands.add_parser("predict", help="segment images with a trained model")
    parser.add_argument("model", type=Path, metavar="MODEL", help="checkpoint (.pt)")
    parser.add_argument("inputs", type=Path, nargs="+", metavar="INPUT", help="image files or folders")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="result folder")
    parser.add_argument("--redo", action="store_true", help="predict again what is finished")
    parser.add_argument("--json", action="store_true", help="print the record as JSON only")
    add_flags(parser, PredictSettings)

    def call(arguments: argparse.Namespace) -> None:
        from napari_medseg.batch import predict_files
        from napari_medseg.methods import load_model

        model = load_model(arguments.model)
        settings = model.method.prediction.updated(**given(arguments, PredictSettings))
        job = predict_files(model, arguments.inputs, arguments.output, settings, resume=not arguments.redo)
        record = drain(job, arguments.json)
        failed = {k: v["reason"] for k, v in record["files"].items() if v["status"] == "failed"}
        done = len(record["files"]) - len(failed)
        lines = [f"{done} files predicted into {arguments.output}"]
        lines += [f"not predicted: {name}: {reason}" for name, reason in failed.items()]
        lines += [f"{len(record['skipped'])} files are no images and were skipped"] if record["skipped"] else []
        show(record, arguments.json, lambda: "\n".join(lines))

    parser.set_defaults(call=call)
