"""Nanoscope images (Bruker, Digital Instruments): a text header, then little-endian integers.

A value is ``raw * h / 2**(8 * bytes_per_pixel) * s`` with ``h`` the hard value of ``@2:Z scale`` and ``s`` the
sensitivity it names, both from the header; rows are stored bottom first. A channel whose scale cannot be understood is
left out with a note; what the header promises and the file does not hold is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.io.afm.scan import Channel, header_text, nm_per, split_quantity, stated_place

MAGIC = (b"\\*File list", b"\\*Force file list", b"?*File list")
SOFT = re.compile(r"[A-Z]\s+(?:\[(?P<soft>[^\]]*)\])?\s*(?P<rest>.*)")
STEP = re.compile(r"\([^/]*/\s*LSB\)")  # (0.0061 log(Arb)/LSB): the unit may hold brackets of its own
IMAGE_NAME = re.compile(r'\[(?P<internal>[^\]]*)\](?:\s*"(?P<shown>[^"]*)")?')
RATIO = re.compile(r"\s*(\d+\.?\d*)\s*:\s*(\d+\.?\d*)\s*")
PREFIXES = {"": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "k": 1e3}
ITEM_SIZES = (2, 4)
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
        If it is no Nanoscope image, older than version 4, or cut short, or no channel's scale can be understood.
    """
    content = path.read_bytes()
    sections = _sections(path, content)
    sensitivities: Section = {}
    scan: Section = {}
    for name, entries in sections:
        if "image list" not in name:
            sensitivities.update({key: value for key, value in entries.items() if key.startswith("sens.")})
        if name == "Ciao scan list":
            scan = entries
    images = [entries for name, entries in sections if name == "Ciao image list"]
    if not images or scan.get("operating mode", "").lower() == "force":
        raise ReadError(
            f"{path.name} holds no Nanoscope image but force curves or a version before 4 "
            f"(sections: {', '.join(name for name, _ in sections[:6])}). Save the scan as an image or as .gwy."
        )
    return _readable(path, content, images, scan, sensitivities)


def _readable(
    path: Path, content: bytes, images: Sequence[Section], scan: Section, sensitivities: Section
) -> list[Channel]:
    """Return the channels whose values can be understood, each with a note that names the others."""
    found: list[tuple[Section, np.ndarray, tuple[float, str]]] = []
    problems = []
    for entries in images:
        data = _pixels(path, content, entries)
        scale = _value_scale(entries, sensitivities, int(entries.get("bytes/pixel", data.dtype.itemsize)))
        if scale is None:
            problems.append(f"{_name(entries)} has no readable Z scale ({entries.get('z scale', 'missing')!r})")
        else:
            found.append((entries, data, scale))
    if not found:
        raise ReadError(f"{path.name}: {'; '.join(problems)}. Export the channel from the instrument's program.")
    notes = tuple(f"Channel left out: {problem}." for problem in problems)
    channels = []
    for entries, data, (factor, unit) in found:
        step, step_unit = _step(entries, scan, data.shape)
        place, said = _place(scan, step, step_unit, data.shape)
        said = (*notes, *said)
        channels.append(Channel(_name(entries), data * factor, unit, step, step_unit, notes=said, place=place))
    return channels


def _sections(path: Path, content: bytes) -> list[tuple[str, Section]]:
    """Return the header's sections; keys are in lower case, for versions write *Scan size* and *Scan Size*."""
    end = content.find(b"\\*File list end")
    if not content.startswith(MAGIC) or end < 0:
        raise ReadError(f"{path.name} is no complete Nanoscope file: its header is missing or cut short.")
    sections: list[tuple[str, Section]] = []
    for line in header_text(content[:end]).splitlines():
        text = line.lstrip("\\?")
        if text.startswith("*"):
            sections.append((text[1:].strip(), {}))
        elif sections and ":" in text:
            key, value = re.sub(r"^@(\d+:)?", "", text).split(":", 1)
            sections[-1][1].setdefault(key.strip().lower(), value.strip())
    return sections


def _pixels(path: Path, content: bytes, entries: Section) -> np.ndarray:
    """Return the stored numbers (Y, X), top row first.

    A scan that was stopped states fewer valid lines than lines: only these are stored, or the rest is constant.
    """
    try:
        offset, length = int(entries["data offset"]), int(entries["data length"])
        lines, columns = int(entries["number of lines"]), int(entries["samps/line"].split()[0])
        valid = int(entries.get("valid data len y", lines))
        valid = valid if 0 < valid <= lines else lines
        rows, item = _layout(length, columns, (lines, valid))
        data = np.frombuffer(content, f"<i{item}", rows * columns, offset).reshape(rows, columns)
    except (KeyError, ValueError, TypeError, ZeroDivisionError) as error:
        raise ReadError(f"{path.name} is cut short or damaged: {error}. Copy it again.") from error
    return _without_unscanned(data, valid)[::-1]


def _layout(length: int, columns: int, heights: Sequence[int]) -> tuple[int, int]:
    """Return (rows, bytes of a number) that `length` bytes hold, of the possible `heights`."""
    for rows in heights:
        if length // (rows * columns) in ITEM_SIZES:
            return rows, length // (rows * columns)
    raise ValueError(f"{length} bytes are no image of {heights[0]} lines of {columns} numbers")


def _without_unscanned(data: np.ndarray, valid: int) -> np.ndarray:
    """Return the `valid` rows where the others, all at one end, hold one constant number."""
    if valid >= len(data):
        return data
    for kept, rest in ((data[:valid], data[valid:]), (data[-valid:], data[:-valid])):
        if rest.min() == rest.max():
            return kept
    return data


def _step(entries: Section, scan: Section, shape: tuple[int, ...]) -> tuple[tuple[float, float], str]:
    """Return the pixel size (y, x) and its unit.

    The scan size states the fast axis; the slow one follows from the aspect ratio and the lines of the whole frame, of
    which a scan that was stopped or captured as a strip holds fewer.
    """
    sizes, unit = _sizes(entries.get("scan size", "") or scan.get("scan size", ""))
    if not sizes:
        return (0.0, 0.0), unit
    rows, columns = shape
    width, height = sizes[0], sizes[-1]
    if len(sizes) == 1 or np.isclose(width, height, rtol=1e-3):
        height = width / _aspect(scan.get("aspect ratio", ""), _aspect(entries.get("aspect ratio", ""), 1.0))
    lines = scan.get("lines", "").split()
    frame = int(lines[0]) if lines and lines[0].isdigit() else rows
    return (height / max(frame, rows), width / columns), unit


def _sizes(text: str) -> tuple[tuple[float, ...], str]:
    """Return the sizes of a scan, ``"10 5 ~m"`` or ``"10000 nm 5 ~m"``, and their unit, that of the first."""
    numbers, unit = split_quantity(text)
    first, _, rest = unit.partition(" ")
    more, other = split_quantity(rest)
    sizes = nm_per(first), nm_per(other)
    if not more or sizes[0] is None or sizes[1] is None:
        return numbers, unit
    return (*numbers, *(size * sizes[1] / sizes[0] for size in more)), first


def _place(
    scan: Section, step: tuple[float, float], unit: str, shape: tuple[int, ...]
) -> tuple[tuple[float, float], tuple[str, ...]]:
    """Return `stated_place` of the scan list; none of a scan that was stopped."""
    lines = scan.get("lines", "").split()
    if lines and lines[0] != str(shape[0]):
        return (0.0, 0.0), ()
    turn, _ = split_quantity(scan.get("rotate ang.", ""))  # in radians
    offsets = [scan.get(f"{axis} offset", "") for axis in "yx"]
    return stated_place(offsets, step, unit, shape, math.degrees(turn[0]) if turn else 0.0)


def _aspect(text: str, default: float) -> float:
    match = RATIO.fullmatch(text)
    width, height = (float(match[1]), float(match[2])) if match else (0.0, 0.0)
    return width / height if width > 0 and height > 0 else default


def _value_scale(entries: Section, sensitivities: Section, n_bytes: int) -> tuple[float, str] | None:
    """Return (unit per raw step, unit), or ``None`` where the scale cannot be understood."""
    match = SOFT.match(entries.get("z scale", ""))
    if match is None:
        return None
    numbers, unit = split_quantity(STEP.sub("", match["rest"]))
    if len(numbers) != 1 or not np.isfinite(numbers[0]) or numbers[0] == 0:
        return None
    factor = numbers[0] / 2.0 ** (8 * n_bytes)
    soft = sensitivities.get((match["soft"] or "").lower(), "")
    sensitivity, quotient = split_quantity(re.sub(r"^[A-Z]\s", "", soft.strip() + " ").strip())
    if not sensitivity:
        return factor, unit
    value_unit, _, per = quotient.partition("/")
    if not per:  # a pure number: the unit stays
        return factor * sensitivity[0], unit
    return factor * sensitivity[0] * _ratio(unit, per), value_unit


def _ratio(unit: str, other: str) -> float:
    """Return how many `other` one `unit` is, where they differ by a prefix (mV and V); otherwise 1."""
    unit, other = unit.replace("~", "u").replace("µ", "u"), other.replace("~", "u").replace("µ", "u")
    for base in (other, other[1:]):
        mine, theirs = unit.removesuffix(base), other.removesuffix(base)
        if base and unit.endswith(base) and mine in PREFIXES and theirs in PREFIXES:
            return PREFIXES[mine] / PREFIXES[theirs]
    return 1.0


def _name(entries: Section) -> str:
    match = IMAGE_NAME.search(entries.get("image data", ""))
    name = (match["shown"] or match["internal"]) if match else "unnamed"
    return f"{name}_retrace" if entries.get("line direction", "").lower() == "retrace" else name
