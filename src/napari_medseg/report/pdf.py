"""A report as one page of A4, laid out by reportlab; a page that would be too full is drawn smaller."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import require
from napari_medseg.report.case import WARNING, Case, Cell, Section

MARGIN, GAP = 34.0, 8.0  # points
PICTURE_HEIGHT = 230.0
NAME, RED, GREY = "DejaVuSans", "#a00000", "#cccccc"
SMALL, TEXT, TITLE, HEAD = 6.5, 8.5, 9.5, 14.0


def draw(case: Case, path: Path) -> None:
    """Write `case` to the PDF file `path`.

    Raises
    ------
    MissingDependencyError
        If reportlab, or matplotlib whose font is used, is not installed.
    """
    require("reportlab", "figure", "A report as PDF")
    from reportlab.lib.pagesizes import A4
    from reportlab.platypus import KeepInFrame, SimpleDocTemplate

    _register_font()
    width, height = A4[0] - 2 * MARGIN, A4[1] - 2 * MARGIN
    parts = [_text(case.name, HEAD), _text(WARNING, TEXT, RED), _text(case.about, TEXT), _pictures(case, width)]
    for section in case.sections:
        parts += _section(section, width)
    document = SimpleDocTemplate(
        str(path), pagesize=A4, title=case.name, author="napari-medseg", invariant=1,
        leftMargin=MARGIN, rightMargin=MARGIN, topMargin=MARGIN, bottomMargin=MARGIN,
    )  # fmt: skip
    document.build([KeepInFrame(width - 12, height - 12, parts, mode="shrink")])


def _register_font() -> None:
    """Make matplotlib's DejaVu Sans known, which has Latin, Greek and Cyrillic letters and the signs of units."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    folder = Path(require("matplotlib", "figure", "A report as PDF").get_data_path()) / "fonts/ttf"
    if NAME not in pdfmetrics.getRegisteredFontNames():
        pdfmetrics.registerFont(TTFont(NAME, folder / f"{NAME}.ttf"))


def _text(text: str, size: float, colour: str = "#111111", right: bool = False) -> Any:
    from reportlab.lib.enums import TA_LEFT, TA_RIGHT
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph

    style = ParagraphStyle(
        NAME, fontName=NAME, fontSize=size, leading=1.25 * size, textColor=colour, splitLongWords=1,
        alignment=TA_RIGHT if right else TA_LEFT, spaceAfter=0.3 * size,
    )  # fmt: skip
    return Paragraph(escape(text, quote=False), style)


def _pictures(case: Case, width: float) -> Any:
    share = (width - GAP) / len(case.pictures)
    row = [[_picture(array, share - GAP), _text(caption, SMALL)] for array, caption in case.pictures]
    return _grid([row], [share] * len(row), lines=False)


def _picture(array: np.ndarray, width: float) -> Any:
    from io import BytesIO

    from PIL import Image as Pillow
    from reportlab.platypus import Image

    buffer = BytesIO()
    Pillow.fromarray(array).save(buffer, format="PNG")
    buffer.seek(0)
    scale = min(width / array.shape[1], PICTURE_HEIGHT / array.shape[0])
    return Image(buffer, scale * array.shape[1], scale * array.shape[0], hAlign="LEFT")


def _section(section: Section, width: float) -> list[Any]:
    parts = [_text(section.title, TITLE)]
    if section.rows:
        parts.append(_pairs(section, width) if section.head is None else _objects(section, section.head, width))
    return parts + ([_text(section.note, SMALL)] if section.note else [])


def _pairs(section: Section, width: float) -> Any:
    """Return names and values in two columns, the second half beside the first."""
    half = -(-len(section.rows) // 2)
    empty = [Cell(""), Cell("")]
    rows = [[*left, *right] for left, right in zip(section.rows[:half], [*section.rows[half:], empty], strict=False)]
    return _grid([[_text(c.text, SMALL) for c in row] for row in rows], [0.17 * width, 0.32 * width] * 2)


def _objects(section: Section, head: list[str], width: float) -> Any:
    rows = [[_text(column, SMALL) for column in head]]
    rows += [[_text(cell.text, SMALL, right=cell.number) for cell in row] for row in section.rows]
    return _grid(rows, [0.98 * width / len(head)] * len(head))


def _grid(rows: list[list[Any]], widths: list[float], lines: bool = True) -> Any:
    from reportlab.lib.colors import HexColor
    from reportlab.platypus import Table, TableStyle

    style: list[Any] = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("TOPPADDING", (0, 0), (-1, -1), 1.0)]
    style += [("BOTTOMPADDING", (0, 0), (-1, -1), 1.0), ("LEFTPADDING", (0, 0), (-1, -1), 2.0)]
    style += [("LINEBELOW", (0, 0), (-1, -1), 0.4, HexColor(GREY))] if lines else []
    return Table(rows, colWidths=widths, style=TableStyle(style), hAlign="LEFT", spaceAfter=GAP / 2)
