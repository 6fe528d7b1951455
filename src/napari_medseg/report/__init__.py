"""A case on one page: picture, measurements, settings, versions; as HTML or PDF."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from napari_medseg.errors import WriteError
from napari_medseg.image import Image
from napari_medseg.io.files import replacing, write_text
from napari_medseg.report.case import WARNING, case_of
from napari_medseg.report.html import page

__all__ = ["WARNING", "report"]


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
        If a PDF is asked for and reportlab is not installed.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".html", ".htm", ".pdf"):
        raise WriteError(f"{path}: a report is a page in HTML or PDF. Give a name ending in .html or .pdf.")
    case = case_of(image, labels, table, metadata, summary)
    if kind != ".pdf":
        return write_text(path, page(case))
    from napari_medseg.report.pdf import draw

    with replacing(path) as part:
        draw(case, part)
    return path
