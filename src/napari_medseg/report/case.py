"""What a report says, whatever it is written as: texts, pictures, and rows of cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata as installed
from typing import Any

import numpy as np
import pandas as pd

from napari_medseg import __version__
from napari_medseg.image import Image
from napari_medseg.report.overlay import overlay

ROWS, COLUMNS = 12, 9
PACKAGES = ("numpy", "scipy", "scikit-image", "torch")
WARNING = "Not for diagnosis."


@dataclass(frozen=True)
class Cell:
    """Text of a table's cell; numbers, and the heads above them, stand on the right."""

    text: str
    number: bool = False


@dataclass(frozen=True)
class Section:
    """A table with a title: pairs of name and value, or with `head` one row per object; `note` below it."""

    title: str
    rows: list[list[Cell]]
    head: list[Cell] | None = None
    note: str = ""


@dataclass(frozen=True)
class Case:
    """All that a report says; pictures are RGB uint8 (Y, X, 3) with their captions."""

    name: str
    about: str
    pictures: list[tuple[np.ndarray, str]]
    sections: list[Section]


def case_of(
    image: Image, labels: Image, table: pd.DataFrame, metadata: Mapping[str, Any], summary: pd.DataFrame | None
) -> Case:
    """Return what the report of a case says (parameters as for `report`)."""
    overall = {} if summary is None or not len(summary) else dict(summary.iloc[0])
    settings = metadata.get("settings", {})
    facts = {key: value for key, value in metadata.items() if key != "settings"}
    sections = [
        _pairs("Measurements", overall),
        _objects(table),
        _pairs("How it was made", facts),
        _pairs("Settings", settings if isinstance(settings, Mapping) else {"settings": settings}),
        _pairs("Versions", _versions()),
    ]
    share = np.count_nonzero(labels.data) / labels.data.size
    return Case(
        _text(image.name or labels.name or "case"),
        f"{image.describe()}. Report of {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
        [
            (overlay(image, labels, drawn=False), "Image"),
            (overlay(image, labels), f"Result; labelled {share:.1%}"),
        ],
        [section for section in sections if section.rows or section.note],
    )


def _pairs(title: str, values: Mapping[str, Any]) -> Section:
    return Section(title, [[Cell(_text(key)), _cell(value)] for key, value in values.items() if _says(value)])


def _objects(table: pd.DataFrame) -> Section:
    if not len(table):
        return Section("Objects", [], note="No objects.")
    shown = table.iloc[:ROWS, :COLUMNS]
    rows = [[_cell(value) for value in row] for row in shown.itertuples(index=False, name=None)]
    rest = ", ".join(_left_out(table, shown))
    head = [Cell(_text(column), below.number) for column, below in zip(shown.columns, rows[0], strict=True)]
    return Section("Objects", rows, head, f"Not shown: {rest}." if rest else "")


def _left_out(table: pd.DataFrame, shown: pd.DataFrame) -> Iterator[str]:
    if len(table) > len(shown):
        yield f"{len(table) - len(shown)} of {len(table)} objects"
    if len(table.columns) > len(shown.columns):
        yield f"columns {', '.join(map(_text, table.columns[len(shown.columns) :]))}"


def _cell(value: Any) -> Cell:
    if isinstance(value, float | np.floating):
        return Cell(f"{value:.4g}" if np.isfinite(value) else "", number=True)
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return Cell(str(value), number=True)
    return Cell(_text(value))


def _text(value: Any) -> str:
    """Return `value` as text any file takes: bytes of a file name that are no UTF-8 appear as escapes."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _says(value: Any) -> bool:
    return value is not None and str(value) not in ("", "nan")


def _versions() -> dict[str, str]:
    found = {"napari-medseg": __version__}
    for name in PACKAGES:
        try:
            found[name] = installed.version(name)
        except installed.PackageNotFoundError:
            continue
    return found
