"""A case on one page: picture, measurements, settings, versions; as HTML or PDF."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from napari_medseg.errors import WriteError, require
from napari_medseg.image import Image
from napari_medseg.io.files import replacing, write_text
from napari_medseg.report.case import WARNING, case_of
from napari_medseg.report.html import page

__all__ = ["WARNING", "check_report", "report"]


def report(
    path: str | Path,
    image: Image,
    labels: Image,
    table: pd.DataFrame,
    metadata: Mapping[str, Any],
    *,
    summary: pd.DataFrame | None = None,
) -> Path:
    """Write the report of a case as one file that needs nothing else.

    Parameters
    ----------
    path
        The file: ``.html``, or ``.pdf`` (one page of A4).
    image, labels
        What was segmented and the result, on the same grid.
    table
        One row per object, units in the headers; its first rows and columns are shown.
    metadata
        How the labels came about: what ``labels.metadata["medseg"]`` holds.
    summary
        One row for the whole image, or one for each frame.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    WriteError
        If the name ends otherwise, or the place is not writable.
    MissingDependencyError
        If a PDF is asked for and what draws it is not installed.
    """
    path = Path(path)
    kind = path.suffix.lower()
    check_report(path)
    case = case_of(image, labels, table, metadata, summary)
    if kind != ".pdf":
        return write_text(path, page(case))
    from napari_medseg.report.pdf import draw

    with replacing(path) as part:
        draw(case, part)
    return path


def check_report(path: Path) -> None:
    """Refuse a name that no report can be written under; to be asked before the work that it shows.

    Raises
    ------
    WriteError
        If the name ends otherwise than in ``.html``, ``.htm`` or ``.pdf``.
    MissingDependencyError
        If a PDF is asked for and reportlab, or matplotlib whose font is used, is not installed.
    """
    if path.suffix.lower() not in (".html", ".htm", ".pdf"):
        raise WriteError(f"{path}: a report is a page in HTML or PDF. Give a name ending in .html or .pdf.")
    for module in ("reportlab", "matplotlib") if path.suffix.lower() == ".pdf" else ():
        require(module, "figure", "A report as PDF")
