"""Nerve tracings in SWC and NeuronJ (.ndf) text, in and out, as paths of (y, x) points."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from napari_medseg.errors import ReadError, WriteError
from napari_medseg.io.files import decoded, write_text

PIXEL, MICROMETER = "pixel", "micrometer"
SUFFIXES = (".swc", ".ndf")
Paths = list[np.ndarray]
OWN_SWC = "# id type x y z radius parent"
SWC_TYPES = {"nerve": 0, "main": 2, "branch": 7}
NDF_TYPES = {"nerve": 0, "main": 3, "branch": 4}  # Default, Primary, Secondary
NDF_WORDS = {"main": "primary|main|trunk", "branch": "secondary|tertiary|branch"}
NDF_HEADER = "// NeuronJ Data File - DO NOT CHANGE"
NDF_VERSION = "1.4.3"
NDF_PARAMETERS = ("1", "1.0", "0.7", "2", "1100", "3", "5", "1")
NDF_COLOURS = {"Default": 4, "Axon": 7, "Dendrite": 1, "Primary": 7, "Secondary": 1, "Tertiary": 8} | {
    f"Type {i:02}": 4 for i in range(6, 11)
}
MAX_SIZE = 65_536
MAX_PIXELS = 2**28  # a larger extent is a wrong coordinate


@dataclass(frozen=True)
class Tracing:
    """What a tracing holds.

    Parameters
    ----------
    paths
        Arrays (N, 2) of (y, x). A branch begins with the point it leaves its parent at.
    classes
        ``"main"``, ``"branch"`` or ``"nerve"`` for each path.
    unit
        Of the coordinates: ``"pixel"``, ``"micrometer"``, or empty where the file does not say.
    step
        Size (y, x) of a pixel in micrometres, where the file states it.
    said
        What the file states beside that, which is not applied.
    """

    paths: Paths
    classes: list[str]
    unit: str = ""
    step: tuple[float, float] | None = None
    said: tuple[str, ...] = ()

    def in_pixels(self, step: Sequence[float]) -> Tracing:
        """Return the paths in pixels of (y, x) `step` micrometres."""
        return replace(self, paths=[path / np.asarray(step, float) for path in self.paths], unit=PIXEL)


def read_tracing(path: str | Path) -> Tracing:
    """Read a tracing in the coordinates of the file.

    NeuronJ counts pixels. SWC is in micrometres by its definition; its comments may say so, or say that positions are
    pixels, and SNT states the size of a pixel (``Voxel separation``).

    Raises
    ------
    ReadError
        If the text is no tracing.
    """
    path = Path(path)
    parsers: dict[str, Callable[[str], tuple[Paths, list[str]]]] = {".swc": _parse_swc, ".ndf": _parse_ndf}
    parser = parsers.get(path.suffix.lower())
    if parser is None:
        raise ReadError(f"{path.name} is no tracing; expected a name ending in .swc or .ndf.")
    try:
        text = decoded(path.read_bytes())
        paths, classes = parser(text)
        unit, step, factor = _stated(text) if parser is _parse_swc else (PIXEL, None, 1.0)
        paths = [path * factor for path in paths]
    except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise ReadError(f"{path.name} is not a valid {path.suffix} tracing: {error}. Export it again.") from error
    if any(not np.isfinite(p).all() or np.abs(p).max(initial=0) > MAX_SIZE for p in paths):
        raise ReadError(f"{path.name} holds impossible coordinates (above {MAX_SIZE}). Export it again.")
    return Tracing(paths, classes, unit, step, _not_applied(path.name, text) if parser is _parse_swc else ())


def _not_applied(name: str, text: str) -> tuple[str, ...]:
    """Say which SCALE and OFFSET an SWC file states: programs differ in what they make of them."""
    stated = {}
    for key, nothing in (("SCALE", 1.0), ("OFFSET", 0.0)):
        found = re.search(rf"^#\s*{key}:?\s+([-\d.eE+]+)[\s,]+([-\d.eE+]+)", text, re.MULTILINE | re.IGNORECASE)
        if found and {float(found[1]), float(found[2])} != {nothing}:
            stated[key] = f"{key} {found[1]} {found[2]}"
    if not stated:
        return ()
    return (f"{name} states {' and '.join(stated.values())}, which is not applied: positions are taken as they are.",)


LENGTHS = {  # how comments of SWC files call the unit of positions, and its micrometres
    r"nanomet(er|re)s?|nm": 1e-3, r"micromet(er|re)s?|microns?|um|\u00b5m|\u03bcm": 1.0, r"millimet(er|re)s?|mm": 1e3,
}  # fmt: skip


def _stated(text: str) -> tuple[str, tuple[float, float] | None, float]:
    """Return what the comments of an SWC file state: unit of coordinates, size of a pixel, micrometres of that unit."""
    comments = " ".join(line for line in text.splitlines() if line.lstrip().startswith("#"))
    separation = re.search(r"voxel separation \(x,\s*y,\s*z\):\s*([\d.eE+-]+),\s*([\d.eE+-]+)", comments, re.IGNORECASE)
    step = (float(separation[2]), float(separation[1])) if separation else None
    step = step if step is not None and min(step) > 0 else None
    if re.search(r"\b(in|unit:?|units:?)\s+pixels?\b", comments, re.IGNORECASE):
        return PIXEL, step, 1.0
    said = [factor for names, factor in LENGTHS.items()
            if re.search(rf"\b(in|unit:?|units:?)\s+({names})(?!\w)", comments, re.IGNORECASE)]  # fmt: skip
    factor = said[0] if len(said) == 1 else 1.0
    named = re.search(rf"(?<!\w)({'|'.join(LENGTHS)})(?!\w)", comments, re.IGNORECASE)
    unit = MICROMETER if step is not None or named else ""
    return unit, None if step is None else (step[0] * factor, step[1] * factor), factor


def write_tracings(
    path: str | Path, paths: Sequence[np.ndarray], classes: Sequence[str] = (), scale: Sequence[float] | None = None
) -> None:
    """Write paths (N, 2) of (y, x) pixels: NeuronJ whole pixels, SWC micrometres or pixels, as its first lines say.

    Parameters
    ----------
    scale
        (y, x) size of a pixel in micrometres; ``None`` where it is not known.

    Raises
    ------
    WriteError
        If the suffix is unknown or the place is not writable.
    """
    path = Path(path)
    names = list(classes) or ["nerve"] * len(paths)
    writers: dict[str, Callable[[Sequence[np.ndarray], Sequence[str]], list[str]]] = {
        ".swc": partial(_swc_lines, scale=scale),
        ".ndf": _ndf_lines,
    }
    writer = writers.get(path.suffix.lower())
    if writer is None or len(names) != len(paths):
        raise WriteError(f"{path.name}: expected a name ending in .swc or .ndf and one class for each path.")
    if not path.parent.is_dir():
        raise WriteError(f"{path} could not be written: its folder does not exist. Make it, or choose another.")
    points = [np.asarray(p, float)[:, -2:] for p in paths]
    write_text(path, "\n".join(writer(points, names)) + "\n")


def draw(paths: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Draw paths 1 pixel wide into a uint8 mask of `shape`; what lies outside is left out.

    Raises
    ------
    ReadError
        If the mask would have more than 2^28 pixels.
    """
    from skimage.draw import line

    if math.prod(shape) > MAX_PIXELS:
        raise ReadError(f"A tracing of {'x'.join(map(str, shape))} pixels is too large; check its coordinates.")

    mask = np.zeros(shape, np.uint8)
    for path in paths:
        points = np.rint(path).astype(int)
        for a, b in pairwise(points):
            rows, columns = line(*a, *b)
            inside = (rows >= 0) & (columns >= 0) & (rows < shape[0]) & (columns < shape[1])
            mask[rows[inside], columns[inside]] = 1
    return mask


def _parse_swc(text: str) -> tuple[Paths, list[str]]:
    """Follow the first child of each node; every further child begins a path at its parent's point."""
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if any(len(row) < 7 for row in rows):
        raise ValueError("a line has fewer than 7 numbers (id type x y z radius parent)")
    points = {int(r[0]): np.array([float(r[3]), float(r[2])]) for r in rows}
    kinds, parents = {int(r[0]): int(float(r[1])) for r in rows}, {int(r[0]): int(float(r[6])) for r in rows}
    children: dict[int, list[int]] = {node: [] for node in points}
    for node, parent in parents.items():
        if parent >= 0:
            children[parent].append(node)
    stated = OWN_SWC in text or set(SWC_TYPES.values()) - {0} <= set(kinds.values())  # elsewhere 2 is an axon
    names = {number: name for name, number in SWC_TYPES.items()} if stated else {}
    paths, classes = [], []
    for node in points:
        parent = parents[node]
        if parent >= 0 and children[parent][0] == node:
            continue
        chain = [parent] if parent >= 0 else []
        paths.append(np.array([points[n] for n in [*chain, *_first_children(node, children)]]))
        classes.append(names.get(kinds[node], "nerve"))
    if points and not paths:
        raise ValueError("no root (a node with parent -1)")
    return paths, classes


def _first_children(node: int, children: dict[int, list[int]]) -> Iterator[int]:
    left = len(children)
    while left:
        yield node
        if not children[node]:
            return
        node, left = children[node][0], left - 1
    raise ValueError("its nodes form a circle")


def _swc_lines(paths: Sequence[np.ndarray], classes: Sequence[str], scale: Sequence[float] | None = None) -> list[str]:
    """Number the points; a path that begins on an inner point of an earlier one becomes its child."""
    head = ["# All positions and radii in pixels"]
    if scale is not None:
        y, x = scale
        head = ["# All positions and radii in micrometers", f"# Voxel separation (x,y,z): {x:.10g}, {y:.10g}, 1"]
        paths = [path * np.asarray(scale, float) for path in paths]
    lines = [OWN_SWC]
    inner: dict[tuple[float, ...], int] = {}
    for path, name in zip(paths, classes, strict=True):
        points = [tuple(np.round(p, 4).tolist()) for p in path]
        parent = inner.get(points[0], -1) if len(points) > 1 else -1
        for y, x in points[1:] if parent >= 0 else points:
            lines.append(f"{len(lines)} {SWC_TYPES.get(name, 0)} {x:.10g} {y:.10g} 0 1 {parent}")
            parent = len(lines) - 1
            inner.setdefault((y, x), parent)
        if points and inner.get(points[-1]) == parent:
            del inner[points[-1]]
    return [*head, *lines]


def _parse_ndf(text: str) -> tuple[Paths, list[str]]:
    """Join the segments of each tracing; numbers come one a line, x before y."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or not lines[0].startswith("// NeuronJ Data File"):
        raise ValueError("the first line is not that of a NeuronJ data file")
    if not lines[-1].lower().startswith("// end of neuronj"):
        raise ValueError("its last line is missing: it was cut short")
    blocks: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith("//"):
            blocks.append((line[2:].strip(), []))
        else:
            blocks[-1][1].append(line)
    names = next((body[::2] for title, body in blocks if title.startswith("Type names")), [])
    paths, classes = [], []
    for title, body in blocks:
        if title.startswith("Tracing"):
            paths.append(np.zeros((0, 2)))
            classes.append(_class_of(int(body[1]), names))
        elif title.startswith("Segment"):
            points = np.array(body, float).reshape(-1, 2)[:, ::-1]
            repeated = len(paths[-1]) and len(points) and np.array_equal(paths[-1][-1], points[0])
            paths[-1] = np.vstack([paths[-1], points[1:] if repeated else points])
    kept = [i for i, p in enumerate(paths) if len(p)]
    return [paths[i] for i in kept], [classes[i] for i in kept]


def _class_of(number: int, names: Sequence[str]) -> str:
    """Return the class of a NeuronJ type by its name, which a person may have changed."""
    name = names[number] if 0 <= number < len(names) else list(NDF_COLOURS)[number]
    return next((kind for kind, words in NDF_WORDS.items() if re.search(words, name, re.IGNORECASE)), "nerve")


def _ndf_lines(paths: Sequence[np.ndarray], classes: Sequence[str]) -> list[str]:
    lines = [NDF_HEADER, NDF_VERSION, "// Parameters", *NDF_PARAMETERS, "// Type names and colors"]
    for name, colour in NDF_COLOURS.items():
        lines += [name, str(colour)]
    lines += ["// Cluster names", "Default", *(f"Cluster {i:02}" for i in range(1, 11))]
    for number, (path, name) in enumerate(zip(paths, classes, strict=True), 1):
        lines += [f"// Tracing N{number}", str(number), str(NDF_TYPES.get(name, 0)), "0", name]
        lines.append(f"// Segment 1 of Tracing N{number}")
        lines += [str(round(value)) for y, x in path for value in (x, y)]
    return [*lines, "// End of NeuronJ Data File"]
