"""DICOM: the one series of a folder, or the series that a file belongs to, as volumes at their true place.

Headers (`headers`) say what every frame is, `stack` makes volumes of them and checks them, `pixels` reads the values.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError, counted
from napari_medseg.image import PIXEL, Image
from napari_medseg.io.volumes.dicom import directory, segmentation
from napari_medseg.io.volumes.dicom.headers import (
    SEGMENTATIONS,
    Frame,
    Header,
    describe,
    holds_dicom,
    is_dicom,
    kind_of,
    may_be_dicom,
)
from napari_medseg.io.volumes.dicom.pixels import values_of
from napari_medseg.io.volumes.dicom.stack import Stack, by_orientation, described, stacked
from napari_medseg.io.volumes.space import MILLIMETER, placed, timed, with_note, without_size

__all__ = ["holds_dicom", "is_dicom", "read_series", "series_of"]

SLICED = {"MR", "CT", "PT", "NM"}  # modalities whose pictures of one series are slices of one thing
COLOURS = ("red", "green", "blue")


def read_series(path: Path) -> list[Image]:
    """Read the one series of a folder, or the series that a file belongs to: ``ZYX``, several volumes ``T`` or ``C``.

    Pictures without a place in the patient are ``YX``, films of them ``TYX``; a segmentation is a label map, or one for
    each segment if they overlap.

    Raises
    ------
    ReadError
        If the folder holds several series (listed), or the series has missing, doubled or unlike slices (listed).
    """
    if path.name.upper() == "DICOMDIR":
        headers, left_out = _headers(directory.files_of(path))
    else:
        folder = path if path.is_dir() else path.parent
        files = [p for p in sorted(folder.iterdir()) if not p.is_dir() and not p.name.startswith(".")]
        headers, left_out = _headers([p for p in files if p.name.upper() != "DICOMDIR"])
    chosen, notes = _choose(headers, path)
    images = _images(chosen, path)
    return [with_note(image, *_said(left_out), *notes) for image in images]


def series_of(path: Path) -> str:
    """Return the UID of the series that a DICOM file stands for as a whole, empty if it stands for itself.

    It stands for itself if it is no picture, or a picture without a position in the patient (a radiograph).
    """
    found = describe(path) if path.is_file() and is_dicom(path) else None
    if found is None:
        return ""
    placed_all = all(f.position is not None for f in found.frames)
    return found.series if placed_all or found.modality in SLICED else ""


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
    if damaged := [h for h in (*series, *(unknown if alone and not chosen else ())) if h.fault]:
        raise ReadError(damaged[0].fault)
    note = (
        f"Left out, its series cannot be read; a slice may be missing: {', '.join(h.path.name for h in unknown[:5])}."
    )
    return _without_copies(series), [note] if unknown and alone else []


def _without_copies(series: Sequence[Header]) -> list[Header]:
    """Keep one file of each picture: copies have its instance UID, its size and its place."""
    seen: dict[Any, Header] = {}
    for header in series:
        places = [(f.size, None if f.position is None else tuple(f.position)) for f in header.frames]
        seen.setdefault((header.uid or header.path, str(places)), header)
    return list(seen.values())


def _images(series: list[Header], path: Path) -> list[Image]:
    first = series[0]
    wanted = next((h for h in series if h.path == path), first)
    name = first.description or first.path.stem
    folder = first.path.parent
    metadata: dict[str, Any] = {"source_file": str(folder if len(series) > 1 else first.path), "series": first.series}
    if notes := list(dict.fromkeys(note for header in series for note in header.notes)):
        metadata["notes"] = notes
    if wanted.sop in SEGMENTATIONS:
        metadata["source_file"] = str(wanted.path)
        return segmentation.read(wanted, name, **metadata)
    what = described(first.description, folder)
    frames = [frame for header in series for frame in header.frames]
    without = [f for f in frames if f.position is None or f.orientation is None]
    if not without:
        return [_placed(series, wanted, frames, what, name, metadata, path)]
    if len(without) < len(frames):
        raise ReadError(
            f"{what} has pictures with and without a position: {without[0].called} has none. Move those files away."
        )
    return [_unplaced(series, wanted, what, name, metadata, path)]


def _placed(
    series: Sequence[Header], wanted: Header, frames: Sequence[Frame], what: str, name: str, metadata: dict[str, Any],
    path: Path,
) -> Image:  # fmt: skip
    """Return the volumes of frames that have a place."""
    groups = by_orientation(frames)
    notes: tuple[str, ...] = ()
    if len(groups) > 1:
        mine = [g for g in groups if path.is_file() and {f.path for f in g} >= {wanted.path}]
        if len(mine) != 1:
            raise ReadError(
                f"{what} holds slices of {len(groups)} orientations (as planning scans do): "
                f"{'; '.join(f'{g[0].called} and {len(g) - 1} more' for g in groups[:5])} are tilted against each "
                "other. Open one file of the wanted orientation."
            )
        frames = mine[0]
        notes = (f"The series has {len(groups)} orientations; these are the slices along that of {path.name}.",)
    heights = wanted.heights
    stack = stacked(frames, what, heights[0] or heights[1])
    values = values_of([frame for volume in stack.frames for frame in volume])
    notes = (*notes, *stack.notes)
    image = _shaped(stack, values, name, {**metadata, "notes": [*metadata.get("notes", []), *notes]}, wanted)
    if len(stack.frames[0]) > 1:
        return image
    if not any(heights):
        return _flat(image, f"{wanted.path.name} does not state the height of its slice; it is read as a picture.")
    stated = "SpacingBetweenSlices" if heights[0] else "SliceThickness"
    return with_note(image, f"The height of the single slice, {image.scale[-3]:g} mm, is that of its {stated}.")


def _shaped(stack: Stack, values: np.ndarray, name: str, metadata: dict[str, Any], header: Header) -> Image:
    colour = values.ndim > 3
    data = values.reshape(len(stack.frames), len(stack.frames[0]), *values.shape[1:])
    axes = stack.axis + "ZYX" + "C" * colour
    if not stack.axis:
        data = data[0]
    elif stack.axis == "C" and colour:
        axes = "TZYXC"
    metadata = {k: v for k, v in metadata.items() if k != "notes" or v}
    image = placed(
        data, axes, stack.affine, (), MILLIMETER, name=name, metadata=metadata, value_unit=header.value_unit,
        channels=COLOURS if colour else stack.names,
    )  # fmt: skip
    image = timed(image, stack.step) if "T" in axes else image
    if stack.frames[0][0].pixel is None:
        image = without_size(
            image, f"{header.path.name} does not state its pixel size; sizes and volumes are in voxels."
        )
    return image


def _flat(image: Image, note: str) -> Image:
    """Return the only slice of a volume as a picture with its pixel size, without a place."""
    axis = image.axes.index("Z")
    keep = [i for i, a in enumerate(image.spatial_axes) if a != "Z"]
    flat = image.replace(
        data=image.data.take(0, axis), axes=image.axes.replace("Z", ""), affine=None,
        scale=tuple(image.scale[i] for i in keep), units=tuple(image.units[i] for i in keep),
    )  # fmt: skip
    return with_note(flat, note)


def _unplaced(
    series: list[Header], wanted: Header, what: str, name: str, metadata: dict[str, Any], path: Path
) -> Image:
    """Return a picture or a film without a place; slices of a scanner that lost it, in the order of their numbers."""
    notes = []
    if len(series) > 1 and wanted.modality not in SLICED:
        if path.is_dir():
            raise ReadError(
                f"{what} holds {counted(len(series), 'picture')} without a position in the patient "
                "(ImagePositionPatient), which make no volume. Open them one by one."
            )
        notes.append(f"{len(series) - 1} more pictures of this series are not read: they have no position either.")
        series, metadata = [wanted], {**metadata, "source_file": str(wanted.path)}
    frames = sorted((f for header in series for f in header.frames), key=lambda f: (f.number, f.path.name))
    if any(f.size != frames[0].size for f in frames):
        raise ReadError(f"{what} holds pictures of several sizes without a position. Open them one by one.")
    values = values_of(frames)
    colour = values.ndim > 3
    axes = "YX" if len(frames) == 1 else ("ZYX" if len(series) > 1 else "TYX")
    pixel = frames[0].pixel
    steps = pixel or (1.0, 1.0)
    image = placed(
        values if len(axes) > 2 else values[0], axes + "C" * colour, None,
        (1.0,) * (len(axes) - 2 - ("T" in axes)) + steps, MILLIMETER, name=name, metadata=metadata,
        channels=COLOURS if colour else (), value_unit=wanted.value_unit,
    )  # fmt: skip
    if axes == "TYX":
        image = timed(image, wanted.frame_time)
    if axes == "ZYX":
        notes.append("The slices state no position in the patient; they are in the order of their numbers.")
        return with_note(without_size(image, "The distance of the slices is not stated; sizes are in voxels."), *notes)
    if pixel is None:
        n = image.spatial_axes
        unknown = image.replace(
            scale=image.scale, units=tuple(u if a == "T" else PIXEL for a, u in zip(n, image.units, strict=True))
        )
        return with_note(unknown, f"{wanted.path.name} does not state its pixel size; sizes are in pixels.", *notes)
    return with_note(image, *notes)


def _said(left_out: Sequence[str]) -> list[str]:
    if not left_out:
        return []
    listed = f"{', '.join(left_out[:5])}{f' and {len(left_out) - 5} more' if len(left_out) > 5 else ''}"
    return [f"DICOM files without a readable picture were left out: {listed}."]
