"""A report as one page of A4, laid out by reportlab; a page that would be too full is drawn smaller."""

from __future__ import annotations

from html import escape
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import require
from napari_medseg.report.case import WARNING, Case, Cell, Section

MARGIN, GAP = 40.0, 8.0  # points
PICTURE_HEIGHT = 241.0
STEP = 1.04  # a page that does not fit is tried this much smaller
NAME, RED, GREY = "DejaVuSans", "#a00000", "#cccccc"
SMALL, TEXT, TITLE, HEAD = 6.5, 8.5, 9.5, 14.0


def draw(case: Case, path: Path) -> None:
    """Write `case` to the PDF file `path`.

    Raises
    ------
    MissingDependencyError
        If reportlab, or matplotlib whose font is used, is not installed.
    """
    _register_font()
    for step in count():
        sheet, rest = _sheet(case, path, STEP**step)
        if not rest:
            sheet.save()
            return


def _sheet(case: Case, path: Path, zoom: float) -> tuple[Any, list[Any]]:
    """Return the page with all of `case` drawn 1 / `zoom` of its size, and what found no room."""
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfgen.canvas import Canvas
    from reportlab.platypus import Frame

    sheet = Canvas(str(path), pagesize=A4)
    sheet.setTitle(case.name)
    sheet.setAuthor("napari-medseg")
    sheet.translate(MARGIN, MARGIN)
    sheet.scale(1 / zoom, 1 / zoom)
    width, height = ((edge - 2 * MARGIN) * zoom for edge in A4)
    parts = _parts(case, width)
    Frame(0, 0, width, height, 0, 0, 0, 0).addFromList(parts, sheet)
    return sheet, parts


def _parts(case: Case, width: float) -> list[Any]:
    parts = [_text(case.name, HEAD), _text(WARNING, TEXT, RED), _text(case.about, TEXT), _pictures(case, width)]
    for section in case.sections:
        parts += _section(section, width)
    return parts


def _register_font() -> None:
    """Make matplotlib's DejaVu Sans known, which has Latin, Greek and Cyrillic letters and the signs of units."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    folder = Path(require("matplotlib", "figure", "A report as PDF").get_data_path()) / "fonts/ttf"
    if NAME not in pdfmetrics.getRegisteredFontNames():
        pdfmetrics.registerFont(TTFont(NAME, folder / f"{NAME}.ttf"))


def _text(text: str, size: float, colour: str = "#111111", *, right: bool = False, before: float = 0.0) -> Any:
    from reportlab.lib.enums import TA_LEFT, TA_RIGHT
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph

    style = ParagraphStyle(
        NAME, fontName=NAME, fontSize=size, leading=1.25 * size, textColor=colour, splitLongWords=1,
        alignment=TA_RIGHT if right else TA_LEFT, spaceBefore=before, spaceAfter=0.3 * size,
    )  # fmt: skip
    return Paragraph(escape(_readable(text), quote=False), style)


def _readable(text: str) -> str:
    """Return `text` with Python's escape for each letter the font lacks, which would else be an empty box."""
    from reportlab.pdfbase import pdfmetrics

    known = pdfmetrics.getFont(NAME).face.charToGlyph
    return "".join(
        letter if letter.isspace() or ord(letter) in known else letter.encode("ascii", "backslashreplace").decode()
        for letter in text
    )


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
    parts = [_text(section.title, TITLE, before=GAP)]
    if section.rows:
        parts.append(_pairs(section, width) if section.head is None else _objects([section.head, *section.rows], width))
    return parts + ([_text(section.note, SMALL)] if section.note else [])


def _pairs(section: Section, width: float) -> Any:
    """Return names and values in two columns, the second half beside the first."""
    half = -(-len(section.rows) // 2)
    empty = [Cell(""), Cell("")]
    rows = [[*left, *right] for left, right in zip(section.rows[:half], [*section.rows[half:], empty], strict=False)]
    return _grid([[_text(c.text, SMALL) for c in row] for row in rows], [0.17 * width, 0.33 * width] * 2)


def _objects(rows: list[list[Cell]], width: float) -> Any:
    texts = [[_text(cell.text, SMALL, right=cell.number) for cell in row] for row in rows]
    return _grid(texts, [width / len(rows[0])] * len(rows[0]))


def _grid(rows: list[list[Any]], widths: list[float], lines: bool = True) -> Any:
    from reportlab.lib.colors import HexColor
    from reportlab.platypus import Table, TableStyle

    style: list[Any] = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("TOPPADDING", (0, 0), (-1, -1), 1.0)]
    style += [("BOTTOMPADDING", (0, 0), (-1, -1), 1.0), ("LEFTPADDING", (0, 0), (-1, -1), 0.0)]
    style += [("LINEBELOW", (0, 0), (-1, -1), 0.4, HexColor(GREY))] if lines else []
    return Table(rows, colWidths=widths, style=TableStyle(style), hAlign="LEFT", spaceAfter=GAP / 2)
