"""DICOM: the one series of a folder, or the series that a file belongs to, as volumes at their true place.

`headers` says what a file is and `frames` what each of its frames is, `stack` makes volumes of them and checks them,
`pixels` reads the values, `images` puts them together; `structures` draws outlines on them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from napari_medseg.errors import ReadError, counted
from napari_medseg.image import Image
from napari_medseg.io.volumes.dicom.files import files_of, holds_dicom, is_dicom, may_be_dicom
from napari_medseg.io.volumes.dicom.headers import SEGMENTATIONS, Header, describe, kind_of
from napari_medseg.io.volumes.dicom.images import SLICED, images_of
from napari_medseg.io.volumes.dicom.structures import read_structures, series_drawn_on
from napari_medseg.io.volumes.space import with_note

__all__ = ["holds_dicom", "is_dicom", "files_of_series", "read_series", "series_of"]


def read_series(path: Path) -> list[Image]:
    """Read the one series of a folder, or the series that a file belongs to: ``ZYX``, several volumes ``T`` or ``C``.

    Pictures without a place in the patient are ``YX``, movies of them ``TYX``; a segmentation is a label map, or one
    for each segment if they overlap, and so are outlines of structures on the series that they were drawn on.

    Raises
    ------
    ReadError
        If the folder holds several series (listed), or the series has missing, doubled or unlike slices (listed).
    """
    if path.is_file() and (drawn_on := series_drawn_on(path)) is not None:
        return read_structures(path, read_series(_slice_of(drawn_on, path))[0])
    if path.name.upper() == "DICOMDIR":
        headers, left_out = _headers(files_of(path))
    else:
        folder = path if path.is_dir() else path.parent
        files = [p for p in sorted(folder.iterdir()) if not p.is_dir() and not p.name.startswith(".")]
        headers, left_out = _headers([p for p in files if p.name.upper() != "DICOMDIR"])
    chosen, notes = _choose(headers, path)
    images = images_of(chosen, path)
    return [with_note(image, *_said(left_out), *notes) for image in images]


def _slice_of(series: Sequence[str], path: Path) -> Path:
    """Return a slice of the series that outlines were drawn on: beside them, or in a folder beside theirs."""
    beside = sorted(folder for folder in path.parent.parent.iterdir() if folder.is_dir() and folder != path.parent)
    own = (file for file in sorted(path.parent.iterdir()) if file != path)
    first = (next((file for file in sorted(folder.iterdir()) if is_dicom(file)), None) for folder in beside)
    for file in chain(own, first):
        found = describe(file) if file is not None and file.is_file() and is_dicom(file) else None
        if file is not None and found is not None and found.series.split(" ")[0] in series:
            return file
    raise ReadError(
        f"{path.name} holds outlines of structures (RTSTRUCT), and the slices that they were drawn on (series "
        f"{', '.join(series) or 'not stated'}) are not beside it. Put it into the folder of these slices."
    )


def series_of(path: Path) -> str:
    """Return which series a DICOM file stands for as a whole (UID, hash of its patient), empty if it stands for itself.

    It stands for itself if it is no picture, or a picture without a position in the patient (a radiograph).
    """
    found = describe(path) if path.is_file() and is_dicom(path) else None
    if found is None:
        return ""
    placed_all = all(f.position is not None for f in found.frames)
    return found.series if placed_all or found.modality in SLICED else ""


def files_of_series(path: Path) -> list[Path]:
    """Return the files beside a DICOM file that are of the series for which it stands as a whole, itself among them."""
    series = series_of(path)
    beside = sorted(path.parent.iterdir()) if series else []
    return [one for one in beside if one == path or series_of(one) == series]


def _headers(files: Sequence[Path]) -> tuple[list[Header], list[str]]:
    """Describe the DICOM files among `files`; also name those that hold no picture."""
    headers, left_out = [], []
    for file in files:
        if not os.access(file, os.R_OK):  # a link to nothing, or another account's
            if may_be_dicom(file):
                headers.append(Header(file, fault=f"{file.name} cannot be opened. Copy it again, or ask for access."))
        elif not is_dicom(file):
            named = file.suffix and not file.suffix[1:].isdigit()
            if may_be_dicom(file) and (named or file.stat().st_size == 0):
                headers.append(Header(file, fault=f"{file.name} is named as DICOM and is none. Copy it again."))
        elif (found := describe(file)) is None:
            left_out.append(file.name)
        else:
            headers.append(found)
    return headers, left_out


def _choose(headers: Sequence[Header], path: Path) -> tuple[list[Header], list[str]]:
    """Return the files of the wanted series, and notes; a damaged file of it is refused, elsewhere it does not matter.

    A file so damaged that it does not say its series is refused where the only series of a folder is wanted, and noted
    where one file was chosen.
    """
    by_series: dict[str, list[Header]] = {}
    for header in headers:
        by_series.setdefault(header.series, []).append(header)
    nameless = by_series.pop("", [])
    unknown = [h for h in nameless if h.fault]
    if len(unknown) < len(nameless):
        by_series[""] = [h for h in nameless if not h.fault]
    chosen = path.is_file() and path.name.upper() != "DICOMDIR"
    beside = [s for s in by_series.values() if s[0].sop in SEGMENTATIONS]
    notes = []
    if not chosen and len(by_series) == len(beside) + 1 > 1:  # segmentations of the one series of pictures
        names = ", ".join(h.path.name for s in beside for h in s)
        notes = [f"Segmentations beside the slices are left out: {names}. Open them by themselves."]
        by_series = {uid: s for uid, s in by_series.items() if s not in beside}
    if chosen and any(h.path == path for h in unknown):
        raise ReadError(next(h.fault for h in unknown if h.path == path))
    if chosen:
        series = next((s for s in by_series.values() if any(h.path == path for h in s)), None)
        if not series:
            raise ReadError(f"{path.name} is DICOM without a picture ({kind_of(path)}). Open an image file.")
    elif len(by_series) > 1:
        listed = "; ".join(
            f"{s[0].description or 'no description'} ({counted(len(s), 'file')}, first {s[0].path.name})"
            for s in by_series.values()
        )
        raise ReadError(
            f"{path} mixes {len(by_series)} DICOM series: {listed}. "
            "Open one file of the wanted series (the whole series is read), or keep one series per folder."
        )
    elif not by_series:
        raise ReadError(
            unknown[0].fault if unknown else f"{path} holds no DICOM pictures. Choose the folder with the slices."
        )
    else:
        series = next(iter(by_series.values()))
    alone = len(by_series) == 1
    whole = {h.uid for h in series if not h.fault}
    damaged = [h for h in series if h.fault and (h.uid not in whole or h.path == path)]
    if damaged := [*damaged, *(unknown if alone and not chosen else ())]:
        raise ReadError(damaged[0].fault)
    if unknown and alone:
        notes.append(f"Left out as damaged; a slice may be missing: {', '.join(h.path.name for h in unknown[:5])}.")
    return _without_copies([h for h in series if not h.fault]), notes


def _without_copies(series: Sequence[Header]) -> list[Header]:
    """Keep one file of each picture: copies have its instance UID, its size and its place."""
    seen: dict[Any, Header] = {}
    for header in series:
        places = [(f.size, None if f.position is None else tuple(f.position)) for f in header.frames]
        seen.setdefault((header.uid or header.path, str(places)), header)
    return list(seen.values())


def _said(left_out: Sequence[str]) -> list[str]:
    if not left_out:
        return []
    listed = f"{', '.join(left_out[:5])}{f' and {len(left_out) - 5} more' if len(left_out) > 5 else ''}"
    return [f"DICOM files without a readable picture were left out: {listed}."]
