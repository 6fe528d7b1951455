"""``medseg report``: a case on one page, HTML or PDF."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from napari_medseg.cli.output import keep_apart, say, warn
from napari_medseg.errors import SettingsError
from napari_medseg.measure import KINDS


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments; `words` are those of the command line after the command."""
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.add_argument("labels", type=Path, metavar="LABELS")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.{html,pdf}")
    parser.add_argument("--kind", choices=KINDS, metavar="KIND", help=f"{', '.join(KINDS)}; default: the method's")
    parser.add_argument("--pixel-size", type=float, metavar="UM", help="micrometres per pixel, whatever the files say")
    parser.set_defaults(call=_call)


def _call(arguments: argparse.Namespace) -> None:
    from napari_medseg.measure import assumed, measure, summarise
    from napari_medseg.measure.files import notes_of, read_case
    from napari_medseg.report import check_report, report

    keep_apart(arguments.output, arguments.image, arguments.labels)
    check_report(arguments.output)
    labels, image = read_case("", arguments.labels, arguments.image, arguments.pixel_size)
    assert image is not None  # one was given
    for note in notes_of(labels, image):
        warn(str(note))
    kept = labels.metadata.get("medseg", {})
    kept = kept if isinstance(kept, Mapping) else {}
    kind = arguments.kind or _kind(str(kept.get("method", "")), arguments.labels)
    for note in assumed(kind, image):
        warn(note)
    table, summary = measure(kind, labels, image), summarise(kind, labels, image)
    facts = {"image": str(arguments.image), "labels": str(arguments.labels), "measured as": kind, **kept}
    say(str(report(arguments.output, image, labels, table, facts, summary=summary)))


def _kind(method: str, path: Path) -> str:
    """Return the measurement that fits the method the labels were made with."""
    from napari_medseg.methods import get_method, known_methods

    kind = get_method(method).measure if method in known_methods() else ""
    if not kind:
        raise SettingsError(f"{path.name} does not say what it shows. Give --kind, one of: {', '.join(KINDS)}.")
    return kind
