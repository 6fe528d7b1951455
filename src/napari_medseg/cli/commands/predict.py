"""``medseg predict``: segment images with a trained model."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from napari_medseg.cli.flags import add_flags, given, settings_of
from napari_medseg.cli.output import drain, show
from napari_medseg.errors import counted, some_of
from napari_medseg.settings import PredictSettings

NAMED = 3  # files that a note names


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments; `words` are those of the command line after the command."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="checkpoint (.pt), or the name of a bundled model")
    parser.add_argument("inputs", type=Path, nargs="+", metavar="INPUT", help="image files or folders")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="result folder")
    parser.add_argument("--redo", action="store_true", help="predict again what is finished")
    parser.add_argument("--json", action="store_true", help="print the record as JSON only")
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="Dask scheduler to work on, e.g. tls://host:8786, or an invitation (.pem)",
    )
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="work on N processes of this machine")
    add_flags(parser, PredictSettings)
    from napari_medseg.batch.settings import BatchSettings
    from napari_medseg.cluster.settings import ClusterSettings

    add_flags(parser, BatchSettings)
    add_flags(parser, ClusterSettings)
    if name := _training_free(words):
        from napari_medseg.methods import settings_class

        add_flags(parser, settings_class(name))
    parser.set_defaults(call=_call)


def _training_free(words: Iterable[str]) -> str | None:
    """Return the method without training that `words` name: its settings are flags of the command."""
    from napari_medseg.methods import TRAINING_FREE

    return next((word for word in words if word in TRAINING_FREE), None)


def _call(arguments: argparse.Namespace) -> None:
    from napari_medseg.models.catalog import load_model, with_settings

    model = load_model(arguments.model)
    if _training_free([str(arguments.model)]) and (changes := given(arguments, type(model.method.settings))):
        model = with_settings(model, changes, arguments.output)
    settings = settings_of(arguments, PredictSettings, model.method.prediction)
    record = _predict(arguments, model, settings)
    failed = {k: v["reason"] for k, v in record["files"].items() if v["status"] == "failed"}
    done = len(record["files"]) - len(failed)
    lines = [f"{counted(done, 'file')} predicted into {arguments.output}"]
    lines += [f"not predicted: {name}: {reason}" for name, reason in failed.items()]
    lines += record.get("notes", [])
    lines += [f"skipped as no images or as labels of images: {len(record['skipped'])}"] if record["skipped"] else []
    lines += _notes(record["files"].values())
    unsure = {row["name"]: row["uncertainty"] for row in record["files"].values() if "uncertainty" in row}
    if len(unsure) > 1:
        worst = max(unsure, key=lambda name: unsure[name])
        lines += [f"least certain: {worst} (mean entropy {unsure[worst]:.3f} of 1)"]
    show(record, arguments.json, "\n".join(lines))


def _notes(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Return what is worth knowing of the files, one line for each kind of note, with the files' names."""
    kinds: dict[str, dict[str, str]] = {}
    for row in rows:
        for note in row.get("notes", ()):
            kinds.setdefault(re.sub(r"[\d.,]*\d", "#", note), {})[row["name"]] = note
    return [f"{some_of(list(files), NAMED)}: {next(iter(files.values()))}" for files in kinds.values()]


def _predict(arguments: argparse.Namespace, model: Any, settings: PredictSettings) -> dict[str, Any]:
    from napari_medseg.batch.predict import predict_files
    from napari_medseg.batch.settings import BatchSettings
    from napari_medseg.cluster.settings import ClusterSettings

    options = settings_of(arguments, BatchSettings)
    what = (model, arguments.inputs, arguments.output, settings)
    resume = not arguments.redo
    if not (arguments.scheduler or arguments.workers):
        return drain(predict_files(*what, resume=resume, options=options), arguments.json)
    from napari_medseg.cluster import connect, predict_on_cluster

    trusted = settings_of(arguments, ClusterSettings, ClusterSettings.of_environment())
    with connect(arguments.scheduler, arguments.workers, trusted) as client:
        return drain(predict_on_cluster(client, *what, resume=resume, options=options), arguments.json)
