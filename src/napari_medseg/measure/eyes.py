"""Which subject, eye and site an image is of: by the pattern of its name, or by a table made by hand."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from napari_medseg.errors import ReadError, SettingsError
from napari_medseg.io.pairs import case_stem

FIELDS = ("subject", "eye", "site")
Known = Mapping[str, str]


def assignment(stated: str) -> Callable[[str], Known | None]:
    """Return what maps the name of an image to its subject, eye and site, ``None`` for a name that says nothing.

    Parameters
    ----------
    stated
        A pattern of names, such as ``"{subject}_{eye}_{site}_{frame}"``, where ``*`` stands for anything; or the path
        of a ``.csv`` table with the column ``image`` (a file's name or stem) and at least one of ``subject``, ``eye``,
        ``site``.

    Raises
    ------
    SettingsError
        If the pattern names no subject and no eye.
    ReadError
        If the table cannot be read or lacks a column.
    """
    return _by_table(Path(stated)) if stated.lower().endswith(".csv") else _by_pattern(stated)


def _by_pattern(pattern: str) -> Callable[[str], Known | None]:
    names = re.findall(r"\{(\w+)\}", pattern)
    if not {"subject", "eye"} & set(names) or len(set(names)) < len(names):
        raise SettingsError(
            f"The pattern {pattern!r} names no subject or eye, or one twice. Give one such as "
            "'{subject}_{eye}_{frame}', or a .csv table with the columns image, subject, eye, site."
        )
    parts = re.split(r"(\{\w+\}|\*)", pattern)
    regex = "".join(
        f"(?P<{part[1:-1]}>.+?)" if part.startswith("{") else ".*?" if part == "*" else re.escape(part)
        for part in parts
    )

    def known(name: str) -> Known | None:
        found = re.fullmatch(regex, case_stem(Path(name)), re.IGNORECASE)
        return None if found is None else {key: found[key] for key in FIELDS if key in names}

    return known


def _by_table(path: Path) -> Callable[[str], Known | None]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReadError(f"{path} cannot be read as a table: {error}. Give a CSV file in UTF-8.") from error
    if not rows or "image" not in rows[0] or not set(FIELDS) & set(rows[0]):
        columns = ", ".join(rows[0]) if rows else "no rows"
        raise ReadError(f"{path.name} needs the column image, and subject, eye or site. It has: {columns}.")
    table = {row["image"]: {key: (row.get(key) or "").strip() for key in FIELDS if key in row} for row in rows}
    stems = {case_stem(Path(name)): known for name, known in table.items()}
    return lambda name: table.get(name, stems.get(case_stem(Path(name))))
