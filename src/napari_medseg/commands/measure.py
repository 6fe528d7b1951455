"""``medseg measure``: measure a label image."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_medseg.commands import show
from napari_medseg.errors import SettingsError
from napari_medseg.measure import KINDS


def add(commands: Any, words: Sequence[str]) -> None:
    """Add the command; `words` are the command line's, to find the method."""
    parser = commands.add_parser("measure", help="measure a label image")
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("labels", type=Path, metavar="LABELS")
    parser.add_argument("image", type=Path, nargs="?", metavar="IMAGE", help="image of the labels, for intensities")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="TABLE.csv")
    parser.add_argument("--pixel-size", type=float, metavar="UM", help="micrometres per pixel, where no file says it")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON only")

    def call(arguments: argparse.Namespace) -> None:
        from napari_medseg.io import read_one, write_table
        from napari_medseg.measure import measure, summarise

        image = read_one(arguments.image) if arguments.image else None
        labels = with_geometry(read_one(arguments.labels, "labels"), image, arguments.pixel_size)
        image = with_geometry(image, labels, None) if image is not None else None
        write_table(arguments.output, measure(arguments.kind, labels, image))
        summary: Any = summarise(arguments.kind, labels, image).to_dict("records")
        show(summary, arguments.json, lambda: "\n".join(f"{k}: {v}" for k, v in (summary or [{}])[0].items()))

    parser.set_defaults(call=call)


def with_geometry(image: Any, other: Any, pixel_size: float | None) -> Any:
    """Give an uncalibrated image the stated pixel size, or that of `other`."""
    if pixel_size is not None:
        if not 0 < pixel_size < math.inf:
            raise SettingsError(f"--pixel-size must be positive, got {pixel_size}.")
        n = len(image.scale)
        return image.replace(scale=(pixel_size,) * n, units=("micrometer",) * n)
    if not image.calibrated and other is not None and other.spatial_shape == image.spatial_shape:
        return image.replace(scale=other.scale, units=other.units, affine=other.affine)
    return image
