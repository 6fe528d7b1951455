"""The tables of a batch: ``review.csv`` (what reviewers said), ``measurements.csv`` (objects), ``summary.csv`` (files).

What was said is kept in the side-car of the labels too, whatever a spreadsheet did to the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from napari_medseg.batch.inputs import digest
from napari_medseg.errors import DataError, ReadError, printable
from napari_medseg.io import write_table
from napari_medseg.io.files import inside, write_json
from napari_medseg.io.locks import WAIT, holding
from napari_medseg.io.sidecar import load, sidecar_path
from napari_medseg.io.spreadsheets import rows_of, table_of
from napari_medseg.io.write import from_text

NAME = "review.csv"
COLUMNS = ("image", "labels", "decision", "reason", "corrected")
MARK = "review"  # where the side-car keeps a decision
NO = ("", "no", "false", "0")
SAID = {"decision": "decision", "reason": "decision reason", "corrected": "corrected"}  # what other tables call it
Said = dict[str, str]
Rows = Mapping[str, Mapping[str, Any]]


def read_review(out: Path) -> dict[str, Said]:
    """Return the rows of ``review.csv`` by image path; nothing where nobody reviewed.

    Spreadsheets save it with a byte order mark, in UTF-16, with semicolons or tabs: all are read.

    Raises
    ------
    DataError
        If it is no such table any more.
    """
    path = out / NAME
    if not path.is_file():
        return {}
    try:
        rows = rows_of(path)
    except ReadError as error:
        raise _unreadable(path, str(error.__cause__)) from error
    names = [name.strip().lower() for name in rows[0]] if rows else []
    if not {"image", "decision", "corrected"} <= set(names):
        raise _unreadable(path, f"its columns are {printable(', '.join(names)) or 'none'}")
    found = [dict(zip(names, map(from_text, row), strict=False)) for row in rows[1:]]
    return {row.get("image", ""): _as_decided({name: row.get(name, "") for name in COLUMNS}) for row in found}


def _as_decided(row: Said) -> Said:
    """Return a row whose decision is written as the program writes it: people add blanks and capital letters."""
    return {**row, "decision": row["decision"].strip().lower()}


def is_corrected(said: Mapping[str, str]) -> bool:
    """Whether a row says that its labels were corrected."""
    return said.get("corrected", "").strip().lower() not in NO


def write_decision(out: Path, key: str, said: Said | None, order: Sequence[str] = ()) -> None:
    """Put the row of one image into ``review.csv``, or take it out; rows that others wrote meanwhile stay.

    The rows come in the `order` of these images.
    """
    with holding(out, "review", wait=WAIT):
        rows = read_review(out)
        name = printable(key)  # of a file whose name is no text
        rows.pop(key, None)
        rows.pop(name, None)
        if said is not None:
            rows[name] = {**said, "image": name}
        place = {printable(name): number for number, name in enumerate(order)}
        table = sorted(rows.values(), key=lambda row: place.get(printable(row["image"]), len(place)))
        write_table(out / NAME, pd.DataFrame(table, columns=list(COLUMNS)))


def said_of(review: Mapping[str, Said], key: str) -> Said:
    """Return the row of an image, empty where there is none."""
    return review.get(key) or review.get(printable(key)) or {}


def mark(labels: Path, said: Said) -> None:
    """Keep a decision in the side-car of the labels too."""
    content = load(labels)
    if content is None:
        return
    metadata = content.get("metadata") if isinstance(content.get("metadata"), dict) else {}
    kept = {name: said.get(name, "") for name in ("decision", "reason", "corrected")}
    write_json(sidecar_path(labels), {**content, "metadata": {**(metadata or {}), MARK: kept}})


def marked(labels: Path) -> Said:
    """Return the decision that the side-car of labels keeps, empty where there is none."""
    metadata = (load(labels) or {}).get("metadata")
    if not isinstance(metadata, dict):
        return {}
    kept = metadata.get(MARK)
    said = {str(k): str(v) for k, v in kept.items()} if isinstance(kept, dict) else {}
    medseg = metadata.get("medseg")
    if isinstance(medseg, dict) and medseg.get("corrected"):
        said["corrected"] = "yes"
    return said if said.get("decision") or is_corrected(said) else {}


def source_of(labels: Path) -> str:
    """Return the image that the side-car of labels says they were made of."""
    return str(_made_by(labels).get("source_file", ""))


def is_result(labels: Path) -> bool:
    """Whether the side-car of labels says that a model predicted them."""
    return "checkpoint_sha256" in _made_by(labels)


def _made_by(labels: Path) -> Mapping[str, Any]:
    metadata = (load(labels) or {}).get("metadata")
    medseg = metadata.get("medseg") if isinstance(metadata, dict) else None
    return medseg if isinstance(medseg, dict) else {}


def _unreadable(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is no review table any more ({reason}); expected the columns {', '.join(COLUMNS)}. Restore it, or "
        "move it away: what was corrected or accepted is kept in any case."
    )


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
    table = table_of(path, text=True)
    own = table["image"].map(from_text) == image_name(key, row)
    first = int(own.to_numpy().argmax()) if own.any() else len(table)
    parts = [table[:first][~own[:first]], fresh, table[first:][~own[first:]]]
    whole = pd.concat([part for part in parts if len(part)] or [fresh], ignore_index=True)
    ahead = [name for name in ("image", *SAID.values()) if name in whole.columns]
    write_table(path, whole[[*ahead, *(name for name in whole.columns if name not in ahead)]].fillna(""))


def image_name(key: str, row: Mapping[str, Any]) -> str:
    """Return what tables call a file: its name below the folders that its results lie in; no two have the same.

    Where its results have a name that only this file has, that with its suffix.
    """
    result, path = Path(row["name"]), Path(key)
    own = result.name.endswith(f"_{digest(path)}")
    return printable((result.parent / (f"{result.name}{path.suffix}" if own else path.name)).as_posix())


def _objects(out: Path, key: str, row: Mapping[str, Any], review: Mapping[str, Said]) -> pd.DataFrame | None:
    path = inside(out, row["measurements"]) if row.get("measurements") else None
    if path is None or not path.is_file() or path.stat().st_size < 2:
        return None
    table = table_of(path, text=True)
    for place, (name, value) in enumerate(({"image": image_name(key, row)} | _said(review, key)).items()):
        table.insert(place, name, value, allow_duplicates=True)
    return table.loc[:, ~table.columns.duplicated()]


def _said(review: Mapping[str, Said], key: str) -> dict[str, str]:
    """Return the columns of the review; none where nothing was reviewed yet."""
    return {title: said_of(review, key).get(name, "") for name, title in SAID.items()} if review else {}


def _state(key: str, row: Mapping[str, Any]) -> dict[str, Any]:
    state = {"image": image_name(key, row), "status": row["status"], "reason": row.get("reason", "")}
    return {**state, "seconds": row.get("seconds"), "uncertainty": row.get("uncertainty")}
