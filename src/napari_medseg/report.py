"""A case on one page: picture, measurements, settings, versions; one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from html import escape
from importlib import metadata as installed
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_medseg import __version__
from napari_medseg.errors import WriteError
from napari_medseg.image import Image
from napari_medseg.io.write import write_text
from napari_medseg.overlay import overlay

ROWS, COLUMNS = 12, 9
PACKAGES = ("numpy", "scipy", "scikit-image", "torch")
WARNING = "Not for diagnosis."
STYLE = """
@page { size: A4; margin: 12mm }
body { font: 10pt/1.35 system-ui, sans-serif; color: #111; background: #fff; max-width: 186mm; margin: 6mm auto }
h1 { font-size: 15pt; margin: 0 } h2 { font-size: 11pt; margin: 4mm 0 1mm }
p { margin: 1mm 0 } .warning { font-weight: bold; color: #a00000 }
figure { display: inline-block; width: 49%; margin: 2mm 0; vertical-align: top }
img { width: 100%; max-height: 85mm; object-fit: contain; background: #000 } figcaption { font-size: 8pt }
table { border-collapse: collapse; font-size: 8pt; width: 100% } .short { columns: 2 }
th, td { text-align: left; padding: 0.3mm 1.5mm; border-bottom: 1px solid #ddd; overflow-wrap: anywhere }
td.number { text-align: right; font-variant-numeric: tabular-nums }
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def report(
    path: str | Path,
    image: Image,
    labels: Image,
    table: pd.DataFrame,
    metadata: Mapping[str, Any],
    *,
    summary: pd.DataFrame | None = None,
) -> Path:
    """Write the report of a case as one HTML file, to be read or printed in any browser.

    Parameters
    ----------
    path
        The ``.html`` file.
    image, labels
        What was segmented and the result, on the same grid.
    table
        One row per object, units in the headers; its first rows and columns are shown.
    metadata
        How the labels came about: what ``labels.metadata["medseg"]`` holds.
    summary
        One row for the whole image.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    WriteError
        If the name does not end in ``.html``, or the place is not writable.
    """
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise WriteError(
            f"{path}: a report is one HTML page. Give a name ending in .html; for a PDF print that page from a browser."
        )
    name = image.name or labels.name or "case"
    overall = {} if summary is None or not len(summary) else dict(summary.iloc[0])
    settings = metadata.get("settings", {})
    facts = {key: value for key, value in metadata.items() if key != "settings"}
    parts = [
        f"<h1>{escape(name)}</h1>",
        f'<p class="warning">{WARNING}</p>',
        f"<p>{escape(image.describe())}. Report of {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.</p>",
        _figure(overlay(image, labels.replace(data=np.zeros_like(labels.data))), "Image"),
        _figure(overlay(image, labels), f"Result; labelled {np.count_nonzero(labels.data) / labels.data.size:.1%}"),
        _section("Measurements", _pairs(overall)),
        _section("Objects", _objects(table)),
        _section("How it was made", _pairs(facts)),
        _section("Settings", _pairs(settings if isinstance(settings, Mapping) else {"settings": settings})),
        _section("Versions", _pairs(_versions())),
    ]
    return write_text(path, _page(name, "\n".join(part for part in parts if part)))


def _page(name: str, body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{escape(name)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _figure(picture: np.ndarray, caption: str) -> str:
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(picture).save(buffer, format="PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    text = escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{content}" if content else ""


def _pairs(values: Mapping[str, Any]) -> str:
    rows = [f"<tr><th>{escape(str(key))}</th>{_cell(value)}</tr>" for key, value in values.items() if _says(value)]
    return f'<div class="short"><table>{"".join(rows)}</table></div>' if rows else ""


def _objects(table: pd.DataFrame) -> str:
    if not len(table):
        return "<p>No objects.</p>"
    shown = table.iloc[:ROWS, :COLUMNS]
    head = "".join(f"<th>{escape(str(column))}</th>" for column in shown.columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in shown.itertuples(index=False, name=None))
    rest = ", ".join(_left_out(table, shown))
    return f"<table><tr>{head}</tr>{body}</table>" + (f"<p>Not shown: {escape(rest)}.</p>" if rest else "")


def _left_out(table: pd.DataFrame, shown: pd.DataFrame) -> Iterator[str]:
    if len(table) > len(shown):
        yield f"{len(table) - len(shown)} of {len(table)} objects"
    if len(table.columns) > len(shown.columns):
        yield f"columns {', '.join(map(str, table.columns[len(shown.columns) :]))}"


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f'<td class="number">{value:.4g}</td>' if np.isfinite(value) else "<td></td>"
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return f'<td class="number">{value}</td>'
    return f"<td>{escape(str(value))}</td>"


def _says(value: Any) -> bool:
    return value is not None and str(value) not in ("", "nan")


def _versions() -> dict[str, str]:
    found = {"napari-medseg": __version__}
    for name in PACKAGES:
        try:
            found[name] = installed.version(name)
        except installed.PackageNotFoundError:
            continue
    return found
