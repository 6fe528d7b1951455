"""``medseg measure``: measure label images."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_medseg.cli.output import drain, show, table
from napari_medseg.errors import SettingsError
from napari_medseg.measure import KINDS

EYE_COLUMNS = ("subject", "eye", "images used", "CNFL", "CNFD", "CNBD", "overlap warning")


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments; `words` are those of the command line after the command."""
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("labels", type=Path, metavar="LABELS", help="label image, or folder of them")
    parser.add_argument("image", type=Path, nargs="?", metavar="IMAGE", help="image (folder) of the labels")
    parser.add_argument("--also", type=Path, nargs="+", default=[], metavar="LABELS", help="more images or folders")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="TABLE.csv")
    parser.add_argument("--pixel-size", type=float, metavar="UM", help="micrometres per pixel, where no file says it")
    parser.add_argument(
        "--channel", default="", metavar="NAME", help="channel of a scan to measure (default: its height)"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON only")

    def call(arguments: argparse.Namespace) -> None:
        many = arguments.labels.is_dir() or arguments.also
        (_measure_many if many else _measure_one)(arguments)

    parser.set_defaults(call=call)


def with_geometry(image: Any, other: Any, pixel_size: float | None) -> Any:
    """Give an uncalibrated image the stated pixel size, or that of `other`."""
    from napari_medseg.measure import files

    return files.with_geometry(image, other, checked(pixel_size))


def checked(pixel_size: float | None) -> float | None:
    """Return the pixel size, or raise `SettingsError` if it is none."""
    if pixel_size is not None and not 0 < pixel_size < math.inf:
        raise SettingsError(f"--pixel-size must be positive, got {pixel_size}.")
    return pixel_size


def _measure_one(arguments: argparse.Namespace) -> None:
    from napari_medseg.io import read_labels, write_table
    from napari_medseg.measure import measure, summarise
    from napari_medseg.measure.files import read_image

    image = read_image(arguments.kind, arguments.image, arguments.channel) if arguments.image else None
    for note in image.metadata.get("notes", ()) if image is not None else ():
        print(f"medseg: {note}", file=sys.stderr)
    labels = with_geometry(read_labels(arguments.labels, image), image, arguments.pixel_size)
    image = with_geometry(image, labels, None) if image is not None else None
    write_table(arguments.output, measure(arguments.kind, labels, image))
    summary: Any = summarise(arguments.kind, labels, image).to_dict("records")
    show(summary, arguments.json, lambda: "\n".join(f"{k}: {_short(v)}" for k, v in (summary or [{}])[0].items()))


def _measure_many(arguments: argparse.Namespace) -> None:
    """Write the table of objects, and beside it ``_images`` and for nerves ``_eyes``."""
    from napari_medseg.io import write_table
    from napari_medseg.measure.files import measure_files

    labels = [arguments.labels, *arguments.also]
    job = measure_files(arguments.kind, labels, arguments.image, checked(arguments.pixel_size), arguments.channel)
    found = drain(job, arguments.json)
    for problem in found.problems:
        print(f"medseg: not measured: {problem}", file=sys.stderr)
    for note in found.notes:
        print(f"medseg: {note}", file=sys.stderr)
    out = arguments.output
    write_table(out, found.objects)
    write_table(out.with_name(f"{out.stem}_images.csv"), found.images)
    value: dict[str, Any] = {"images": found.images.to_dict("records")}
    rows = value["images"]
    if found.eyes is not None:
        write_table(out.with_name(f"{out.stem}_eyes.csv"), found.eyes)
        value["eyes"] = found.eyes.to_dict("records")
        rows = [{k: v for k, v in eye.items() if k.startswith(EYE_COLUMNS)} for eye in value["eyes"]]
    show(value, arguments.json, lambda: table(rows))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
