"""Which subject, eye and site an image is of: by the pattern of its name, or by a table made by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from napari_medseg.errors import ReadError, SettingsError
from napari_medseg.io.pairs import case_stem
from napari_medseg.io.spreadsheets import rows_of
from napari_medseg.io.write import from_text

FIELDS = ("subject", "eye", "site")
EYES = {"od": "OD", "os": "OS"}
Known = Mapping[str, str]


def assignment(stated: str) -> Callable[[str], Known | None]:
    """Return what maps the name of an image to its subject, eye and site, ``None`` for a name that says nothing.

    Parameters
    ----------
    stated
        A pattern of names, such as ``"{subject}_{eye}_{site}_{frame}"``, where ``*`` stands for anything; or the path
        of a ``.csv`` table with the column ``image`` (a file's name or stem) and at least one of ``subject``, ``eye``,
        ``site``; commas, semicolons or tabs part its columns.

    Raises
    ------
    SettingsError
        If the pattern names no subject and no eye.
    ReadError
        If the table cannot be read, lacks a column or says two things of one image.
    """
    return _by_table(Path(stated)) if stated.lower().endswith(".csv") else _by_pattern(stated)


def _by_pattern(pattern: str) -> Callable[[str], Known | None]:
    """Return a function from a file's name to what a pattern such as ``{subject}_{eye}_{frame}`` finds in it."""
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
    """Return a function from a file's name to what a table says of it: by the name, else by its stem."""
    found = rows_of(path)
    header = [name.strip().lower() for name in found[0]] if found else []
    rows = [dict(zip(header, (cell.strip() for cell in row), strict=False)) for row in found[1:]]
    if not rows or "image" not in header or not set(FIELDS) & set(header):
        columns = ", ".join(header) if rows else "no rows"
        raise ReadError(f"{path.name} needs the column image, and subject, eye or site. It has: {columns}.")
    table: dict[str, Known] = {}
    stems: dict[str, list[Known]] = {}
    for row in rows:
        name, known = from_text(row["image"]), {key: row.get(key, "") for key in FIELDS if key in header}
        known |= {"eye": EYES.get(known["eye"].lower(), known["eye"])} if "eye" in known else {}
        if table.setdefault(name, known) != known:
            raise ReadError(
                f"{path.name} says two things of {name}: {_said(table[name])} and {_said(known)}. Keep one."
            )
        stems.setdefault(case_stem(Path(name)), []).append(known)
    alike = {stem: each[0] for stem, each in stems.items() if all(one == each[0] for one in each)}
    return lambda name: table.get(name, alike.get(case_stem(Path(name))))


def _said(known: Known) -> str:
    return " ".join(value or "-" for value in known.values())
