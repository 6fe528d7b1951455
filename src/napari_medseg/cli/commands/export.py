"""``medseg export``: give a model away as ONNX or bioimage.io package, or labels in another program's format."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_medseg.cli.flags import add_flags, settings_of
from napari_medseg.cli.output import drain, keep_apart, show
from napari_medseg.errors import SettingsError

FORMATS = ("onnx", "bioimageio")


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments; `words` are those of the command line after the command."""
    parser.add_argument("source", type=Path, metavar="MODEL", help="checkpoint (.pt), or a label file to convert")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--format", choices=FORMATS, help="of a model; labels go by the suffix of FILE")
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    from napari_medseg.export.settings import PackageInfo

    add_flags(parser, PackageInfo)
    parser.set_defaults(call=_call)


def _call(arguments: argparse.Namespace) -> None:
    from napari_medseg.models.checkpoint import find_model

    arguments.source = find_model(arguments.source)
    keep_apart(arguments.output, arguments.source)
    if arguments.source.suffix.lower() != ".pt":
        result = _convert(arguments)
    elif arguments.format is None:
        raise SettingsError(f"A model needs --format, one of: {', '.join(FORMATS)}.")
    else:
        result = _export(arguments)
    show(result, arguments.json, "\n".join(f"{key}: {value}" for key, value in result.items()))


def _export(arguments: argparse.Namespace) -> dict[str, Any]:
    from napari_medseg.export import export_bioimageio, export_onnx
    from napari_medseg.export.settings import PackageInfo
    from napari_medseg.models.catalog import load_model

    model = load_model(arguments.source)
    if arguments.format == "onnx":
        return drain(export_onnx(model, arguments.output), arguments.json)
    info = settings_of(arguments, PackageInfo)
    return drain(export_bioimageio(model, arguments.output, info), arguments.json)


def _convert(arguments: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    from napari_medseg.io import read_one, write

    if arguments.format:
        raise SettingsError(f"--format is for models (.pt); {arguments.source.name} is converted by FILE's suffix.")
    labels = read_one(arguments.source, "labels")
    return {"file": str(write(arguments.output, labels)), "labels": int(np.count_nonzero(np.unique(labels.data)))}
