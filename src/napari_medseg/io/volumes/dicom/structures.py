"""Outlines of structures (RTSTRUCT) as labels on the slices that they were drawn on.

A structure is a set of closed outlines in slices (PS3.3 C.8.8.6). An outline inside another one of its structure is a
hole, as planning systems draw them. Points and open lines have no area and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.image import REFERENCE, Image
from napari_medseg.io.outlines.polygons import fill
from napari_medseg.io.volumes.dicom.files import quiet
from napari_medseg.io.volumes.dicom.frames import number_of, numbers_of
from napari_medseg.io.volumes.segments import Segment, labels_of
from napari_medseg.io.volumes.space import with_note

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
ON_SLICE = 0.25  # of the distance of slices by which an outline may lie beside one without a word


@dataclass
class Structure:
    """A structure: its number, name and colour, its closed outlines (n, 3) in mm, and how many others it has."""

    number: int
    name: str
    colour: tuple[int, ...] = ()
    outlines: list[np.ndarray] = field(default_factory=list)
    others: int = 0


def series_drawn_on(path: Path) -> list[str] | None:
    """Return the UIDs of the series that the outlines of a file were drawn on; ``None`` if it holds no outlines."""
    import pydicom

    try:
        with quiet():
            data = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            if str(data.get("Modality", "")) != "RTSTRUCT":
                return None
    except Exception:  # whatever the library says of a damaged file, which is then read as pictures are
        return None
    found = []
    for frame in data.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            found += [str(s.get("SeriesInstanceUID", "")) for s in study.get("RTReferencedSeriesSequence") or ()]
    return [uid for uid in dict.fromkeys(found) if uid]


def read_structures(path: Path, grid: Image) -> list[Image]:
    """Read the outlines of a file as labels on `grid`, the volume they were drawn on; one image each if they overlap.

    Raises
    ------
    ReadError
        If none has an area, or all lie beside the volume.
    """
    import pydicom

    with quiet():
        data = pydicom.dcmread(path, force=True)
        structures = list(_structures(data))
    if grid.axes != "ZYX" or grid.affine is None:
        raise ReadError(
            f"{path.name} holds outlines of structures, and the images that they lie on ({grid.name}) are "
            f"{grid.axes}, not one volume. Keep the slices of one volume beside it."
        )
    name = str(data.get("StructureSetLabel", "") or path.stem)
    own = {key: grid.metadata[key] for key in (REFERENCE,) if key in grid.metadata}
    plain = grid.replace(name=name, channels=(), value_unit="", metadata={**own, "source_file": str(path)})
    notes: list[str] = []
    drawn = [(one, _drawn(one, plain, notes)) for one in structures if one.outlines]
    drawn = [(one, mask) for one, mask in drawn if mask.any()]
    if not drawn:
        raise ReadError(
            f"{path.name} holds no outline with an area on the slices of {grid.name}. It belongs to other images, or "
            "holds points only."
        )
    if left := sum(one.others for one in structures):
        notes.append(f"{left} points and open lines of the structures have no area and are left out.")
    numbers = [one.number for one, _ in drawn]
    distinct = min(numbers) > 0 and len(set(numbers)) == len(numbers)
    segments = [
        Segment(one.number if distinct else k, one.name, mask, one.colour) for k, (one, mask) in enumerate(drawn, 1)
    ]
    return [with_note(image, *notes) for image in labels_of(plain, segments)]


def _structures(data: Any) -> Iterator[Structure]:
    names: Mapping[int, str] = {
        int(s.ROINumber): str(s.get("ROIName", "") or s.ROINumber) for s in data.get("StructureSetROISequence") or ()
    }
    for roi in data.get("ROIContourSequence") or ():
        number = int(number_of(roi.get("ReferencedROINumber"), 0))
        colour = numbers_of(roi.get("ROIDisplayColor"), 3)
        one = Structure(number, names.get(number, str(number)), () if colour is None else tuple(map(int, colour)))
        for contour in roi.get("ContourSequence") or ():
            points = np.array([float(v) for v in contour.get("ContourData") or ()])
            closed = str(contour.get("ContourGeometricType", "")) in CLOSED and points.size >= 9 and not points.size % 3
            if closed and np.isfinite(points).all():
                offset = numbers_of(contour.get("ContourOffsetVector"), 3)
                one.outlines.append(points.reshape(-1, 3) + (0 if offset is None else offset))
            else:
                one.others += 1
        yield one


def _drawn(one: Structure, grid: Image, notes: list[str]) -> np.ndarray:
    """Draw a structure on a volume: bool (Z, Y, X), true where the centre of a voxel lies inside."""
    assert grid.affine is not None
    back = np.linalg.inv(np.asarray(grid.affine, float))
    depth, height, width = grid.spatial_shape
    mask = np.zeros(grid.spatial_shape, bool)
    beside, tilted, away = 0, 0, 0
    for outline in one.outlines:
        index = outline[:, ::-1] @ back[:3, :3].T + back[:3, 3]
        slice_ = int(np.rint(np.median(index[:, 0])))
        if not 0 <= slice_ < depth:
            away += 1
            continue
        tilted += bool(np.ptp(index[:, 0]) > 1)
        beside += bool(np.abs(index[:, 0] - slice_).max() > ON_SLICE)
        box, inside = fill((index[:, 1:],), (height, width))
        mask[slice_][box] ^= inside
    gaps = _between(mask)
    said = {
        f"{away} of its outlines lie above or below the images": away,
        f"{tilted} of its outlines are tilted against the slices; each is drawn on one": tilted,
        f"{beside - tilted} of its outlines lie between slices; the nearest is taken": beside - tilted,
        f"{gaps} slices between its first and its last have no outline and stay empty": gaps,
    }
    notes += [f"{one.name}: {sentence}." for sentence, count in said.items() if count > 0]
    return mask


def _between(mask: np.ndarray) -> int:
    """Return how many empty slices lie between the first and the last one that holds something."""
    there = np.flatnonzero(mask.any((1, 2)))
    return int(there[-1] - there[0] + 1 - len(there)) if there.size else 0
