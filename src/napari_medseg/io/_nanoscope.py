"""Nanoscope images (Bruker, Digital Instruments): a text header, then little-endian integers.

A value is ``raw * h / 2**(8 * bytes_per_pixel) * s`` with ``h`` the hard value in volts of ``@2:Z scale`` and ``s`` the
sensitivity it names, both from the header; rows are stored bottom first.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.io._scan import Channel, split_quantity

MAGIC = (b"\\*File list", b"\\*Force file list", b"?*File list")
SCALE = re.compile(r"V\s+(?:\[(?P<soft>[^\]]*)\])?\s*(?:\([^)]*\))?\s*(?P<hard>[-+\d.eE]+)\s*(?P<unit>\S*)")
IMAGE_NAME = re.compile(r'\[(?P<internal>[^\]]*)\](?:\s*"(?P<shown>[^"]*)")?')
Section = dict[str, str]


def is_nanoscope(path: Path) -> bool:
    """Whether the file begins like a Nanoscope header."""
    with path.open("rb") as file:
        return file.read(20).startswith(MAGIC)


def read_channels(path: Path) -> list[Channel]:
    """Read every image of a Nanoscope file of version 4 or later.

    Raises
    ------
    ReadError
        If it is no Nanoscope image, older than version 4, or cut short.
    """
    content = path.read_bytes()
    sections = _sections(path, content)
    sensitivities: Section = {}
    for name, entries in sections:
        if "image list" not in name:
            sensitivities.update({key: value for key, value in entries.items() if key.startswith("Sens.")})
    images = [entries for name, entries in sections if name == "Ciao image list"]
    if not images:
        raise ReadError(
            f"{path.name} holds no Nanoscope image (sections: {', '.join(name for name, _ in sections[:6])}). "
            "Force curves and versions before 4 are not read; save it as an image or as .gwy first."
        )
    return [_channel(path, content, entries, sensitivities) for entries in images]


def _sections(path: Path, content: bytes) -> list[tuple[str, Section]]:
    end = content.find(b"\\*File list end")
    if not content.startswith(MAGIC) or end < 0:
        raise ReadError(f"{path.name} is no complete Nanoscope file: its header is missing or cut short.")
    sections: list[tuple[str, Section]] = []
    for line in content[:end].decode("latin-1").splitlines():
        text = line.lstrip("\\?")
        if text.startswith("*"):
            sections.append((text[1:].strip(), {}))
        elif sections and ":" in text:
            key, value = re.sub(r"^@(\d+:)?", "", text).split(":", 1)
            sections[-1][1].setdefault(key.strip(), value.strip())
    return sections


def _channel(path: Path, content: bytes, entries: Section, sensitivities: Section) -> Channel:
    try:
        offset, length = int(entries["Data offset"]), int(entries["Data length"])
        rows, columns = int(entries["Number of lines"]), int(entries["Samps/line"].split()[0])
        item = length // (rows * columns)
        data = np.frombuffer(content, f"<i{item}", rows * columns, offset).reshape(rows, columns)[::-1]
    except (KeyError, ValueError, TypeError, ZeroDivisionError) as error:
        raise ReadError(f"{path.name} is cut short or damaged: {error}. Copy it again.") from error
    factor, unit = _value_scale(path, entries, sensitivities, int(entries.get("Bytes/pixel", item)))
    sizes, size_unit = split_quantity(entries.get("Scan Size", entries.get("Scan size", "")))
    step = (sizes[-1] / rows, sizes[0] / columns) if sizes else (0.0, 0.0)
    return Channel(_name(entries), data * factor, unit, step, size_unit)


def _value_scale(path: Path, entries: Section, sensitivities: Section, n_bytes: int) -> tuple[float, str]:
    """Return (unit per raw step, unit)."""
    match = SCALE.match(entries.get("Z scale", ""))
    if match is None:
        raise ReadError(f"{path.name} gives no readable Z scale ({entries.get('Z scale', 'missing')!r}).")
    factor, unit = float(match["hard"]) / 2.0 ** (8 * n_bytes), match["unit"]
    soft = match["soft"]
    if not soft:
        return factor, unit
    numbers, quotient = split_quantity(sensitivities.get(soft, "").removeprefix("V").strip())
    if not numbers:
        return factor, unit
    return factor * numbers[0] * (1e-3 if unit == "mV" else 1.0), quotient.split("/")[0] or unit


def _name(entries: Section) -> str:
    match = IMAGE_NAME.search(entries.get("Image Data", ""))
    name = (match["shown"] or match["internal"]) if match else "unnamed"
    return f"{name}_retrace" if entries.get("Line Direction", "").lower() == "retrace" else name
