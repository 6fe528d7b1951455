"""A report as one HTML file, to be read or printed in any browser."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np

from napari_medseg.report.case import WARNING, Case, Cell, Section

STYLE = """
@page { size: A4; margin: 12mm }
body { font: 10pt/1.35 system-ui, sans-serif; color: #111; background: #fff; max-width: 186mm; margin: 6mm auto }
h1 { font-size: 15pt; margin: 0 } h2 { font-size: 11pt; margin: 4mm 0 1mm }
p { margin: 1mm 0 } .warning { font-weight: bold; color: #a00000 }
figure { display: inline-block; width: 49%; margin: 2mm 0; vertical-align: top }
img { width: 100%; max-height: 85mm; object-fit: contain; background: #000 } figcaption { font-size: 8pt }
table { border-collapse: collapse; font-size: 8pt; width: 100% } .short { columns: 2 }
th, td { text-align: left; padding: 0.3mm 1.5mm; border-bottom: 1px solid #ddd; overflow-wrap: anywhere }
.number { text-align: right; font-variant-numeric: tabular-nums }
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(case: Case) -> str:
    """Return the text of the file."""
    parts = [
        f"<h1>{escape(case.name)}</h1>",
        f'<p class="warning">{WARNING}</p>',
        f"<p>{escape(case.about)}</p>",
        *(_figure(*picture) for picture in case.pictures),
        *map(_section, case.sections),
    ]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{escape(case.name)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _figure(picture: np.ndarray, caption: str) -> str:
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(picture).save(buffer, format="PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    text = escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'


def _section(section: Section) -> str:
    note = f"<p>{escape(section.note)}</p>" if section.note else ""
    return f"<h2>{escape(section.title)}</h2>\n{_table(section) if section.rows else ''}{note}"


def _table(section: Section) -> str:
    if section.head is None:
        rows = "".join(f"<tr><th>{escape(name.text)}</th>{_cell(value)}</tr>" for name, value in section.rows)
        return f'<div class="short"><table>{rows}</table></div>'
    head = "".join(_cell(column, "th") for column in section.head)
    return f"<table><tr>{head}</tr>{''.join(map(_row, section.rows))}</table>"


def _row(cells: Sequence[Cell]) -> str:
    return f"<tr>{''.join(map(_cell, cells))}</tr>"


def _cell(cell: Cell, tag: str = "td") -> str:
    start = f'<{tag} class="number">' if cell.number else f"<{tag}>"
    return f"{start}{escape(cell.text)}</{tag}>"
