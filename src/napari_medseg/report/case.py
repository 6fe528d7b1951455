"""What a report says, whatever it is written as: texts, pictures, rows of cells, and a paragraph for a paper."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import numpy as np
import pandas as pd

from napari_medseg import __version__
from napari_medseg.errors import MedSegError
from napari_medseg.image import Image
from napari_medseg.methods import get_method, known_methods
from napari_medseg.report.overlay import overlay
from napari_medseg.settings import PredictSettings

ROWS, COLUMNS = 12, 9
PACKAGES = ("numpy", "scipy", "scikit-image", "torch")
LIBRARIES = ("torch", "numpy", "scipy", "scikit-image", "napari")
SCRIBBLES = "strokes that a geodesic minimum cut answers (engine geodesic)"
HELPED = ", with the bundled network for strokes"
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
    overall = pd.DataFrame() if summary is None else summary
    settings = metadata.get("settings", {})
    facts = {key: value for key, value in metadata.items() if key != "settings"}
    sections = [
        _table("Measurements", overall, "frames") if len(overall) > 1 else _pairs("Measurements", _only(overall)),
        _table("Objects", table, "objects"),
        _pairs("How it was made", facts),
        _pairs("Settings", settings if isinstance(settings, Mapping) else {"settings": settings}),
        _pairs("Versions", {"napari-medseg": __version__, **_versions(PACKAGES)}),
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


def _only(summary: pd.DataFrame) -> dict[Any, Any]:
    return dict(summary.iloc[0]) if len(summary) else {}


def _table(title: str, table: pd.DataFrame, rows_are: str) -> Section:
    if not len(table):
        return Section(title, [], note=f"No {rows_are}.")
    shown = table.iloc[:ROWS, :COLUMNS]
    rows = [[_cell(value) for value in row] for row in shown.itertuples(index=False, name=None)]
    rest = ", ".join(_left_out(table, shown, rows_are))
    head = [Cell(_text(column), below.number) for column, below in zip(shown.columns, rows[0], strict=True)]
    return Section(title, rows, head, f"Not shown: {rest}." if rest else "")


def _left_out(table: pd.DataFrame, shown: pd.DataFrame, rows_are: str) -> Iterator[str]:
    if len(table) > len(shown):
        yield f"{len(table) - len(shown)} of {len(table)} {rows_are}"
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


def _versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    found = {}
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def methods_paragraph(
    labels: Image, facts: Mapping[str, Any], *, measured_as: str = "", objects: int | None = None
) -> str:
    """Return the paragraph on one result.

    Parameters
    ----------
    labels
        The result; its voxel size is stated.
    facts
        How the labels came about: what ``labels.metadata["medseg"]`` holds.
    measured_as, objects
        Kind of measurement and number of its rows, where the result was measured.
    """
    versions = {"Python": platform.python_version(), **_versions(LIBRARIES)}
    with_ = ", ".join(f"{name} {version}" for name, version in versions.items())
    version = facts.get("version") or __version__
    sentences = [f"Images were segmented with napari-medseg {version} ({with_}) by {_method(facts)}."]
    if facts.get("checkpoint"):
        sha = str(facts.get("checkpoint_sha256", ""))[:12]
        name = str(facts["checkpoint"]).replace("\\", "/").rpartition("/")[2]
        sentences.append(f"The model was {name}{f' (SHA-256 {sha}...)' if sha else ''}.")
    changed = _changed(facts)
    sentences.append(f"Settings other than the defaults: {changed}." if changed else "All settings were the defaults.")
    if facts.get("device"):
        sentences.append(f"It was computed on {facts['device']}.")
    sentences.append(f"The result is {labels.describe()}.")
    if measured_as:
        count = f"; {objects:,} rows" if objects is not None else ""
        sentences.append(f"Objects were measured as {measured_as}{count}.")
    return " ".join(sentences) + "\n"


def _method(facts: Mapping[str, Any]) -> str:
    name = str(facts.get("method", ""))
    if name not in known_methods():
        helped = HELPED if dict(facts.get("settings") or {}).get("network") else ""
        return (
            SCRIBBLES + helped
            if name == "geodesic"
            else (name or "hand or another program (no record of how was kept)")
        )
    try:
        method = get_method(name)
    except MedSegError:
        return name
    return f"{method.title}{f' (doi:{method.doi})' if method.doi else ''}"


def _changed(facts: Mapping[str, Any]) -> str:
    """Return the settings that are not the method's defaults."""
    settings, name = dict(facts.get("settings") or {}), str(facts.get("method", ""))
    if name in known_methods():
        default = PredictSettings().model_dump(mode="json")
        with suppress(MedSegError):
            default |= get_method(name).Settings().model_dump(mode="json")
        settings = {k: v for k, v in settings.items() if k not in default or default[k] != v}
    return ", ".join(f"{key} = {value}" for key, value in settings.items() if value not in ("", None))
