"""Frames to volumes: sort along the normal, tell volumes at one place apart, check, and give the affine.

Every check is a small function on a list of `Frame` and needs no pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.io.volumes.dicom.frames import Frame
from napari_medseg.io.volumes.space import MAX_CHANNELS, array_affine

SAME_PLACE = 0.01  # mm: rounding of the decimal texts of positions
GAP_TOLERANCE = 0.1  # of the usual step
SIDEWAYS = 0.25  # of a pixel
ORIENTATION_TOLERANCE = 1e-3
TILTED = 0.5  # degrees
EXACT = (
    "time point", "time", "TE", "b", "trigger time", "acquisition", "flip angle", "TI", "kind", "stack",
    "energy window", "detector", "time slot", "phase", "RR interval", "time slice",
)  # fmt: skip
RANKED = ("moment", "trigger time", "content", "number")
OF_TIME = {
    "time point", "time", "trigger time", "acquisition", "moment", "content", "number", "time slot", "phase",
    "time slice",
}  # fmt: skip
UNITS = {"TE": "ms", "TI": "ms", "b": "s/mm2", "flip angle": "degrees"}


@dataclass(frozen=True)
class Stack:
    """Frames (volumes, slices) of one regular grid.

    `axis` is ``""`` for one volume, else ``"T"`` or ``"C"``; `names` are those of channels, `step` the seconds between
    time points (0: not known).
    """

    frames: list[list[Frame]]
    affine: np.ndarray
    axis: str = ""
    names: tuple[str, ...] = ()
    step: float = 0.0
    notes: tuple[str, ...] = ()


def stacked(frames: Sequence[Frame], what: str, height: float) -> Stack:
    """Return frames that have a place as one regular stack of volumes.

    Parameters
    ----------
    frames
        All frames of one series with one orientation.
    what
        The series in a message.
    height
        Height in mm of a single slice; 0 if nothing states it.

    Raises
    ------
    ReadError
        If slices are missing, doubled or unlike: each is named.
    """
    _check_alike(frames, what)
    places = _by_place(frames)
    counts = {len(place) for place in places}
    if len(counts) > 1:
        _refuse(what, _uneven(places))
    first = [place[0] for place in places]
    problems = _steps(first)
    if problems:
        _refuse(what, problems)
    affine, notes = _affine(first, what, height)
    n = counts.pop()
    if n == 1:
        return Stack([first], affine, notes=notes)
    key, order, names = _told_apart(places, what)
    axis = "T" if key in OF_TIME or n > MAX_CHANNELS else "C"
    volumes = [[place[order[k][v]] for k, place in enumerate(places)] for v in range(n)]
    return Stack(volumes, affine, axis, names if axis == "C" else (), _time_step(volumes), notes)


def by_orientation(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Group frames by the direction of their planes, in the order in which they come."""
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            if np.allclose(group[0].orientation, frame.orientation, atol=ORIENTATION_TOLERANCE):  # type: ignore[arg-type]
                group.append(frame)
                break
        else:
            groups.append([frame])
    return groups


def _check_alike(frames: Sequence[Frame], what: str) -> None:
    """Refuse frames whose sizes differ, naming each."""
    first = frames[0]
    problems = [
        f"{f.called} is {_said(f)}, {first.called} is {_said(first)}"
        for f in frames[1:]
        if f.size != first.size or (f.pixel is None) != (first.pixel is None)
        or (f.pixel and first.pixel and not np.allclose(f.pixel, first.pixel, rtol=1e-3))
    ]  # fmt: skip
    if problems:
        _refuse(what, problems)


def _by_place(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Group frames by their depth, sorted; each group in the order of its instance numbers."""
    ordered = sorted(frames, key=lambda f: f.depth)
    near = min([SAME_PLACE, *(SIDEWAYS * min(f.pixel) for f in frames[:1] if f.pixel)])  # microscopes have fine steps
    places: list[list[Frame]] = []
    for frame in ordered:
        if places and frame.depth - places[-1][0].depth <= near:
            places[-1].append(frame)
        else:
            places.append([frame])
    return [sorted(place, key=lambda f: (f.number, f.path.name, f.index)) for place in places]


def _uneven(places: Sequence[Sequence[Frame]]) -> list[str]:
    """List the places that have more or fewer frames than most: doubled slices, or slices missing from a volume."""
    counts = [len(place) for place in places]
    usual = max(set(counts), key=lambda n: (counts.count(n), n))
    found = []
    for place in places:
        if usual == 1 and len(place) > 1:
            names = " and ".join(f.called for f in place[:2])
            found.append(f"duplicate slice: {names} both at {place[0].depth:.2f} mm")
        elif len(place) != usual:
            found.append(f"{len(place)} of {usual} volumes have a slice at {place[0].depth:.2f} mm ({place[0].called})")
    return found


def _steps(slices: Sequence[Frame]) -> list[str]:
    """List missing slices of a sorted stack."""
    depths = np.array([s.depth for s in slices])
    gaps = np.diff(depths)
    step = float(np.median(gaps)) if gaps.size else 1.0
    found = []
    for gap, before, after in zip(gaps, slices, slices[1:], strict=False):
        if abs(gap - step) > GAP_TOLERANCE * step:
            n = max(round(gap / step) - 1, 0)
            what = f"{n} missing slice{'s' if n != 1 else ''}" if n else "uneven step"
            found.append(f"{what} between {before.called} and {after.called} ({gap:.2f} mm, usual {step:.2f} mm)")
    return found


def _affine(slices: Sequence[Frame], what: str, height: float) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the affine of sorted slices; the step between them is that of their positions, tilted or not."""
    first, last = slices[0], slices[-1]
    assert first.orientation is not None
    assert first.position is not None
    assert last.position is not None
    row, column = first.pixel or (1.0, 1.0)
    step = first.normal * (height or 1.0)
    notes: tuple[str, ...] = ()
    if len(slices) > 1:
        step = (last.position - first.position) / (len(slices) - 1)
        off = [np.abs((s.position - first.position - k * step) @ _plane(first)).max() for k, s in enumerate(slices)]
        if (worst := int(np.argmax(off))) and off[worst] > max(SIDEWAYS * min(row, column), SAME_PLACE):
            _refuse(what, [f"{slices[worst].called} lies {off[worst]:.2f} mm beside the line of the others"])
        angle = np.degrees(np.arccos(np.clip(step @ first.normal / np.linalg.norm(step), -1, 1)))
        if angle > TILTED:
            notes = (f"The slices are tilted by {angle:.1f} degrees against their direction (gantry tilt); each keeps "
                     "its own position.",)  # fmt: skip
    matrix = np.stack([first.orientation[:3] * column, first.orientation[3:] * row, step], axis=1)
    return array_affine(matrix, first.position), notes


def _plane(frame: Frame) -> np.ndarray:
    assert frame.orientation is not None
    return frame.orientation.reshape(2, 3).T


def _told_apart(places: Sequence[Sequence[Frame]], what: str) -> tuple[str, list[list[int]], tuple[str, ...]]:
    """Say what tells the volumes apart: its name, for each place the order of its frames, and the volumes' names."""
    n = len(places[0])
    for key in (*EXACT, "all"):
        values = [[_value(f, key) for f in place] for place in places]
        whole = values[0]
        if len(set(whole)) == n and None not in whole and all(set(v) == set(whole) for v in values):
            ordered = sorted(whole)
            first = [places[0][whole.index(value)] for value in ordered]
            return key, [[v.index(value) for value in ordered] for v in values], _names(first, key)
    for key in RANKED:
        values = [[_value(f, key) for f in place] for place in places]
        if all(len(set(v)) == n and None not in v for v in values):
            return key, [list(np.argsort(v, kind="stable")) for v in values], ()
    doubled = [f"{p[0].called} and {p[1].called} both at {p[0].depth:.2f} mm" for p in places]
    _refuse(what, [f"duplicate slice: {one}" for one in doubled])
    raise AssertionError


def _names(volumes: Sequence[Frame], key: str) -> tuple[str, ...]:
    """Name volumes, each given by one frame, by what tells them apart."""
    keys = [key] if key != "all" else [k for k in EXACT if len({str(f.tells.get(k)) for f in volumes}) > 1]
    return tuple(", ".join(_called(k, f.tells.get(k)) for k in keys) for f in volumes)


def _value(frame: Frame, key: str) -> Any:
    if key == "number":
        return frame.number
    if key == "all":
        return tuple(_sortable(frame.tells.get(k)) for k in EXACT)
    return frame.tells.get(key)


def _sortable(value: Any) -> tuple[int, float, str]:
    """Return what sorts numbers by size, in front of texts, in front of what is not stated."""
    if value is None or value == "":
        return 2, 0.0, ""
    return (0, value, "") if isinstance(value, float) else (1, 0.0, str(value))


def _called(key: str, value: Any) -> str:
    said = f"{value:g}" if isinstance(value, float) else str(value or "not stated")
    return f"{key} {said} {UNITS.get(key, '')}".strip()


def _time_step(volumes: Sequence[Sequence[Frame]]) -> float:
    """Return the seconds between volumes, if their moments are regular or the file states them; else 0."""
    for key, factor in (("time", 1.0), ("moment", 1.0), ("trigger time", 1e-3)):
        moments = [v[0].tells.get(key) for v in volumes]
        if None in moments:
            continue
        gaps = np.diff([float(m) for m in moments if m is not None]) * factor
        if gaps.size and gaps.min() > 0 and np.ptp(gaps) <= GAP_TOLERANCE * np.median(gaps):
            return float(np.median(gaps))
    return float(volumes[0][0].tells.get("resolution") or 0.0) * 1e-3


def _said(frame: Frame) -> str:
    pixels = f"{frame.pixel[0]:g} x {frame.pixel[1]:g} mm" if frame.pixel else "no stated size"
    return f"{frame.size[1]} x {frame.size[0]} with pixels of {pixels}"


def _refuse(what: str, problems: Sequence[str]) -> None:
    more = f" (and {len(problems) - 10} more)" if len(problems) > 10 else ""
    raise ReadError(
        f"{what} is not one regular stack: {'; '.join(problems[:10])}{more}. "
        "Copy the whole series again, or move the extra files away."
    )


def described(description: str, path: Path) -> str:
    """Return the name of a series for messages."""
    return f"The DICOM series {description!r} in {path}"
