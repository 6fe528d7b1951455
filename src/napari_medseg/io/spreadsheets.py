"""CSV tables as spreadsheets save them: any usual encoding, separator and decimal point."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medseg.errors import ReadError, one_line
from napari_medseg.io.files import decoded
from napari_medseg.io.write import AS_WRITTEN

if TYPE_CHECKING:
    from pandas import DataFrame

DECIMAL = re.compile(r"([+-]?\d+),(\d+(?:[eE][+-]?\d+)?)")


def rows_of(path: Path) -> list[list[str]]:
    """Return the cells of a table, heading first; commas, semicolons or tabs part them.

    Raises
    ------
    ReadError
        If it cannot be read as a table.
    """
    lines, separator = _lines(path)
    try:
        return [row for row in csv.reader(lines, delimiter=separator, strict=True) if any(row)]
    except csv.Error as error:
        raise _refusal(path, error) from error


def table_of(path: Path, *, words: Sequence[str] = (), text: bool = False) -> DataFrame:
    """Return a table; decimal commas, of tables that no commas part, are points.

    The columns `words`, or with `text` all, are text whatever they hold.

    Raises
    ------
    ReadError
        If it cannot be read as a table.
    """
    import pandas as pd

    lines, separator = _lines(path)
    options = {"keep_default_na": False} if text else AS_WRITTEN
    kinds = str if text else dict.fromkeys(words, str)
    try:
        frame: DataFrame = pd.read_csv(io.StringIO("".join(lines)), sep=separator, dtype=kinds, **options)
    except ValueError as error:
        raise _refusal(path, error) from error
    if separator == ",":
        return frame
    for name, column in frame.items():
        found = [isinstance(cell, str) and DECIMAL.fullmatch(cell.strip()) for cell in column]
        if name in words or not any(found):
            continue
        pointed = column.mask(pd.Series(map(bool, found), column.index), column.str.replace(",", "."))
        numbers = None if text else pd.to_numeric(pointed, errors="coerce")
        frame[name] = pointed if numbers is None or (numbers.isna() & pointed.notna()).any() else numbers
    return frame


def _lines(path: Path) -> tuple[list[str], str]:
    """Return the lines of a table, and what parts its cells."""
    try:
        lines = list(io.StringIO(decoded(path.read_bytes()), newline=""))  # not `splitlines`, which parts cells too
    except OSError as error:
        raise _refusal(path, error) from error
    if lines and lines[0].lower().startswith("sep="):  # Excel's
        lines = lines[1:]
    return lines, max(",;\t", key=(lines or [""])[0].count)


def _refusal(path: Path, error: Exception) -> ReadError:
    return ReadError(f"{path} cannot be read as a table: {one_line(error)}. Save it as CSV.")
