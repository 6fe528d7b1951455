"""The tables of a batch: objects in ``measurements.csv``, files in ``summary.csv``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from napari_medseg.batch.decisions import Said, read_review, said_of
from napari_medseg.io import write_table
from napari_medseg.io.places import inside
from napari_medseg.io.write import from_text

SAID = {"decision": "decision", "reason": "decision reason", "corrected": "corrected"}
Rows = Mapping[str, Mapping[str, Any]]


def write_summary(out: Path, rows: Rows) -> None:
    """Write ``summary.csv``: one row per file with status, seconds, uncertainty and decision."""
    review = read_review(out)
    table = [{**_state(key, row), **_said(review, key), **row.get("summary", {})} for key, row in rows.items()]
    write_table(out / "summary.csv", pd.DataFrame(table))


def write_measurements(out: Path, rows: Rows) -> None:
    """Write ``measurements.csv``: the tables of all files below each other."""
    review = read_review(out)
    tables = [table for key, row in rows.items() if (table := _objects(out, key, row, review)) is not None]
    write_table(out / "measurements.csv", pd.concat(tables, ignore_index=True) if tables else pd.DataFrame())


def update_measurements(out: Path, key: str, row: Mapping[str, Any]) -> None:
    """Replace the rows of one file in ``measurements.csv``, if there is one, where they were."""
    path = out / "measurements.csv"
    fresh = _objects(out, key, row, read_review(out))
    if fresh is None or not path.is_file() or path.stat().st_size < 2:
        return
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    own = table["image"].map(from_text) == image_name(key, row)
    first = int(own.to_numpy().argmax()) if own.any() else len(table)
    parts = [table[:first][~own[:first]], fresh, table[first:][~own[first:]]]
    whole = pd.concat([part for part in parts if len(part)] or [fresh], ignore_index=True)
    ahead = [name for name in ("image", *SAID.values()) if name in whole.columns]
    write_table(path, whole[[*ahead, *(name for name in whole.columns if name not in ahead)]].fillna(""))


def image_name(key: str, row: Mapping[str, Any]) -> str:
    """Return what tables call a file: its name below the folders that its results lie in."""
    return (Path(row["name"]).parent / Path(key).name).as_posix()


def _objects(out: Path, key: str, row: Mapping[str, Any], review: Mapping[str, Said]) -> pd.DataFrame | None:
    path = inside(out, row["measurements"]) if row.get("measurements") else None
    if path is None or not path.is_file() or path.stat().st_size < 2:
        return None
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for place, (name, value) in enumerate(({"image": image_name(key, row)} | _said(review, key)).items()):
        table.insert(place, name, value, allow_duplicates=True)
    return table.loc[:, ~table.columns.duplicated()]


def _said(review: Mapping[str, Said], key: str) -> dict[str, str]:
    """Return the columns of the review; none where nothing was reviewed yet."""
    return {title: said_of(review, key).get(name, "") for name, title in SAID.items()} if review else {}


def _state(key: str, row: Mapping[str, Any]) -> dict[str, Any]:
    state = {"image": image_name(key, row), "status": row["status"], "reason": row.get("reason", "")}
    return {**state, "seconds": row.get("seconds"), "uncertainty": row.get("uncertainty")}
