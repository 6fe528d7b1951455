"""DICOM segmentations (SEG): each segment a mask on the grid of its frames; frames without a voxel may be left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.image import Image
from napari_medseg.io.volumes.dicom.files import quiet
from napari_medseg.io.volumes.dicom.headers import Frame, Header
from napari_medseg.io.volumes.dicom.pixels import values_of
from napari_medseg.io.volumes.segments import Segment, labels_of
from napari_medseg.io.volumes.space import MILLIMETER, array_affine, placed, with_note

OFF_GRID = 0.1  # of a slice step
HALF = 0.5
MOST_SLICES = 20_000


def read(header: Header, name: str, **metadata: Any) -> list[Image]:
    """Read a segmentation as one label map, or as one for each segment if they overlap.

    Segments of fractions (probability or occupancy) are the voxels of at least one half, which a note says.

    Raises
    ------
    ReadError
        If its frames do not lie on one regular grid.
    """
    kind, top, names = _about(header.path)
    frames = _placed_frames(header)
    slices, affine = _grid(header, frames)
    values = values_of(frames)
    shape = int(slices.max()) + 1, *frames[0].size
    grid = placed(np.zeros(shape, np.uint8), "ZYX", affine, (), MILLIMETER, name=name, metadata=metadata, kind="labels")
    fractional = kind == "FRACTIONAL"
    if kind == "LABELMAP":
        labels = np.zeros(shape, values.dtype)
        labels[slices] = values
        return [grid.labels_like(labels, segments={str(k): v for k, v in names.items() if k})]
    found = []
    for number in sorted({f.segment for f in frames}):
        mask = np.zeros(shape, bool)
        for place, frame in enumerate(frames):
            if frame.segment == number:
                mask[slices[place]] |= values[place] >= (HALF * top if fractional else 1)
        found.append(Segment(max(number, 1), names.get(number, str(number)), mask))
    images = labels_of(grid, found)
    if not fractional:
        return images
    note = "The segments are stored as fractions; voxels of at least one half belong to them."
    return [with_note(image, note) for image in images]


def _about(path: Path) -> tuple[str, float, dict[int, str]]:
    """Return the kind of a segmentation, the value of a whole fraction, and the names of the segments."""
    import pydicom

    with quiet():
        data = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        names = {
            int(s.SegmentNumber): str(s.get("SegmentLabel", s.SegmentNumber)) for s in data.get("SegmentSequence", [])
        }
        top = float(data.get("MaximumFractionalValue", 255) or 255)
        return str(data.get("SegmentationType", "BINARY")), top, names


def _placed_frames(header: Header) -> Sequence[Frame]:
    frames = header.frames
    if any(f.position is None or f.orientation is None or f.pixel is None for f in frames):
        raise ReadError(
            f"{header.path.name} is a DICOM segmentation (SEG) whose frames have no place in the patient. "
            "Open it in the program that made it and export it as NIfTI or NRRD."
        )
    return frames


def _grid(header: Header, frames: Sequence[Frame]) -> tuple[np.ndarray, np.ndarray]:
    """Return the slice number of every frame and the affine of the whole grid."""
    first = frames[0]
    assert first.orientation is not None
    assert first.pixel is not None
    depths = np.array([f.position @ first.normal for f in frames])  # type: ignore[operator]
    places = np.unique(np.round(depths, 3))
    gaps = np.diff(places)
    between = header.heights[0] or (float(gaps.min()) if gaps.size else 0.0) or header.heights[1] or 1.0
    if gaps.size and np.abs(gaps.min() / between - round(gaps.min() / between)) > OFF_GRID:
        between = float(gaps.min())
    slices = (depths - places[0]) / between
    straight = all(np.allclose(f.orientation, first.orientation, atol=1e-3) and f.size == first.size for f in frames)  # type: ignore[arg-type]
    if not straight or np.abs(slices - np.round(slices)).max() > OFF_GRID or slices.max() > MOST_SLICES:
        raise ReadError(
            f"{header.path.name} is a DICOM segmentation (SEG) whose frames do not lie on one regular grid. "
            "Export it as NIfTI or NRRD."
        )
    lowest = frames[int(depths.argmin())]
    rows, columns = first.pixel
    matrix = np.stack([first.orientation[:3] * columns, first.orientation[3:] * rows, first.normal * between], axis=1)
    return np.round(slices).astype(int), array_affine(matrix, lowest.position)
