"""``medseg measure``: measure label images."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_medseg.cli.flags import add_flags, given
from napari_medseg.cli.output import drain, keep_apart, show, table, warn
from napari_medseg.errors import SettingsError
from napari_medseg.measure import KINDS
from napari_medseg.measure.settings import SETTINGS, NerveSettings
from napari_medseg.settings import Settings

EYE_COLUMNS = ("subject", "eye", "images used", "CNFL", "CNFD", "CNBD", "overlap warning", "area warning")


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments; `words` are those of the command line after the command."""
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("labels", type=Path, metavar="LABELS", help="label image, or folder of them")
    parser.add_argument("image", type=Path, nargs="?", metavar="IMAGE", help="image (folder) of the labels")
    parser.add_argument("further", type=Path, nargs="*", help=argparse.SUPPRESS)  # what a shell makes of *_labels.tif
    parser.add_argument("--also", type=Path, nargs="+", default=[], metavar="LABELS", help="more images or folders")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="TABLE", help="table to write: .csv or .xlsx"
    )
    parser.add_argument("--pixel-size", type=float, metavar="UM", help="micrometres per pixel, whatever the files say")
    parser.add_argument(
        "--channel", default="", metavar="NAME", help="channel of a scan to measure (default: its height)"
    )
    parser.add_argument("--time", type=int, metavar="INT", help="time point of 4D files, counted from 0")
    parser.add_argument(
        "--eyes", default="", metavar="PATTERN|TABLE.csv",
        help="nerve: how names state subject and eye, such as '{subject}_{eye}_{frame}', or a table with the columns "
        "image, subject, eye, site",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the summary as JSON only")
    add_flags(parser, NerveSettings)

    def call(arguments: argparse.Namespace) -> None:
        from napari_medseg.io.pairs import is_one
        from napari_medseg.io.write import check_table

        if arguments.image is not None:
            _refuse_labels(arguments.labels, [arguments.image, *arguments.further])
        check_table(arguments.output)
        eyes = arguments.eyes if arguments.eyes.lower().endswith(".csv") else None
        many = arguments.also or (arguments.labels.is_dir() and not is_one(arguments.labels))
        for name in ("", "_images", "_eyes") if many else ("",):  # the tables of `write_tables`
            written = arguments.output.with_name(f"{arguments.output.stem}{name}{arguments.output.suffix}")
            keep_apart(written, arguments.labels, arguments.image, *arguments.also, eyes)
        (_measure_many if many else _measure_one)(arguments)

    parser.set_defaults(call=call)


def _refuse_labels(labels: Path, named: Sequence[Path]) -> None:
    """Raise `SettingsError` if what is named after the labels is more than one image, or further labels."""
    from napari_medseg.io.pairs import is_label

    if len(named) > 1 or (is_label(named[0]) and named[0].is_file()):
        raise SettingsError(
            f"After {labels.name} comes its image, if any; {', '.join(path.name for path in named[:3])} came. "
            "To measure several label images, give their folder, or the others after --also."
        )


def checked(pixel_size: float | None) -> float | None:
    """Return the pixel size, or raise `SettingsError` if it is none."""
    if pixel_size is not None and not 0 < pixel_size < math.inf:
        raise SettingsError(f"--pixel-size must be positive, got {pixel_size}.")
    return pixel_size


def _measure_one(arguments: argparse.Namespace) -> None:
    from napari_medseg.io.write import write_tables
    from napari_medseg.measure import assumed, measure, summarise
    from napari_medseg.measure.eyes import assignment
    from napari_medseg.measure.files import notes_of, read_case

    pixel_size = checked(arguments.pixel_size)
    labels, image = read_case(
        arguments.kind, arguments.labels, arguments.image, pixel_size, arguments.channel, arguments.time
    )
    for note in (*notes_of(labels, image), *assumed(arguments.kind, image)):
        warn(f"{note}")
    settings = _settings(arguments)
    write_tables(arguments.output, {"objects": measure(arguments.kind, labels, image, settings)})
    found = summarise(arguments.kind, labels, image, settings)
    if arguments.eyes:
        found = found.assign(**(assignment(arguments.eyes)(arguments.labels.name) or {}))
    summary: Any = found.to_dict("records")
    show(summary, arguments.json, "\n".join(f"{k}: {_short(v)}" for k, v in (summary or [{}])[0].items()))


def _measure_many(arguments: argparse.Namespace) -> None:
    """Write the table of objects, and beside it ``_images`` and for nerves ``_eyes``."""
    from napari_medseg.io.write import write_tables
    from napari_medseg.measure.files import measure_files

    labels = [arguments.labels, *arguments.also]
    job = measure_files(
        arguments.kind, labels, arguments.image, checked(arguments.pixel_size), arguments.channel,
        time=arguments.time, eyes=arguments.eyes, settings=_settings(arguments),
    )  # fmt: skip
    found = drain(job, arguments.json)
    for problem in found.problems:
        warn(f"not measured: {problem}")
    for note in found.notes:
        warn(f"{note}")
    tables = {"objects": found.objects, "images": found.images}
    value: dict[str, Any] = {"images": found.images.to_dict("records")}
    rows = value["images"]
    if found.eyes is not None:
        tables["eyes"] = found.eyes
        value["eyes"] = found.eyes.to_dict("records")
        rows = [{k: v for k, v in eye.items() if k.startswith(EYE_COLUMNS)} for eye in value["eyes"]]
    write_tables(arguments.output, tables)
    show(value, arguments.json, table(rows))


def _settings(arguments: argparse.Namespace) -> Settings | None:
    """Return the settings of the kind, and refuse those of another."""
    values, cls = given(arguments, NerveSettings), SETTINGS.get(arguments.kind)
    if (values and cls is None) or (arguments.eyes and arguments.kind != "nerve"):
        named = ", ".join(f"--{name.replace('_', '-')}" for name in values) or "--eyes"
        raise SettingsError(f"{named}: only nerves are measured with it, not {arguments.kind}. Leave it out.")
    return cls.parse(values) if cls is not None and values else None


def _short(value: Any) -> str:
    """Return a value as text: whole numbers in full, for counts are exact, others with four digits."""
    if not isinstance(value, float) or value.is_integer():
        return f"{value:.0f}" if isinstance(value, float) else str(value)
    return f"{value:.4g}"
