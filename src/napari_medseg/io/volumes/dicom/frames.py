"""What a DICOM file says of each of its frames: place, size, scaling and what tells it apart from others at its place.

A file of one picture has one frame; a multi-frame file has what its functional groups say of each; a Siemens mosaic has
one for each tile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.io.volumes.dicom import mosaic

VECTORS = {  # what the frames of nuclear medicine differ in besides their slice (PS3.3 C.8.4.8)
    "EnergyWindowVector": "energy window", "DetectorVector": "detector", "PhaseVector": "phase",
    "RRIntervalVector": "RR interval", "TimeSlotVector": "time slot", "TimeSliceVector": "time slice",
}  # fmt: skip


@dataclass(frozen=True)
class Frame:
    """One picture (2D) of a file: frame `index` of `path`.

    `position` (3,) mm and `orientation` (6,) row and column cosines are ``None`` where the file states none, as is
    `pixel` (row step, column step) in mm. `rescale` is (slope, intercept). `tells` is what may tell volumes at one
    place apart (echo time, b-value, time ...); `segment` is a segmentation's.
    """

    path: Path
    index: int
    size: tuple[int, int]
    position: np.ndarray | None
    orientation: np.ndarray | None
    pixel: tuple[float, float] | None
    rescale: tuple[float, float] = (1.0, 0.0)
    tells: Mapping[str, Any] = field(default_factory=dict)
    number: float = 0.0
    segment: int = 0

    @property
    def normal(self) -> np.ndarray:
        """Unit normal (3,) of the plane."""
        assert self.orientation is not None
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        return np.asarray(normal / np.linalg.norm(normal))

    @property
    def depth(self) -> float:
        """Position along the normal in mm."""
        assert self.position is not None
        return float(self.position @ self.normal)

    @property
    def called(self) -> str:
        """Name for messages: the file, and the frame of a file of several."""
        return f"{self.path.name}, frame {self.index + 1}" if self.tells.get("frames", 1) > 1 else self.path.name


def frames_of(path: Path, data: Any, pixel: tuple[float, float] | None) -> Iterator[Frame]:
    """Describe every frame of a file."""
    count = frame_count(data)
    size = int(data.Rows), int(data.Columns)
    shared = item_of(data, "SharedFunctionalGroupsSequence")
    each = data.get("PerFrameFunctionalGroupsSequence") or ()
    common = {"frames": count, **_tells(data)}
    if "MOSAIC" in [str(word) for word in data.get("ImageType", [])]:
        yield from _tiles(path, data, pixel, common)
        return
    mosaic.refuse_grid(path, data)
    if each and len(each) != count:
        raise ReadError(f"{path.name} describes {len(each)} of its {count} frames. It is damaged; copy it again.")
    places = _places(data, count) if not each else [None] * count
    vectors = _vectors(data, count)
    orientation = numbers_of(data.get("ImageOrientationPatient"), 6)
    if orientation is None and (detector := item_of(data, "DetectorInformationSequence")) is not None:
        orientation = numbers_of(detector.get("ImageOrientationPatient"), 6)
    for index in range(count):
        groups = [g for g in (each[index] if each else None, shared, data) if g is not None]
        position = numbers_of(_of_plane(groups, "Position"), 3) if each else places[index]
        turned = numbers_of(_of_plane(groups, "Orientation"), 6)
        spacing = numbers_of(first_of(groups, "PixelMeasuresSequence", "PixelSpacing"), 2)
        slope = number_of(first_of(groups, "PixelValueTransformationSequence", "RescaleSlope"), 1.0)
        intercept = number_of(first_of(groups, "PixelValueTransformationSequence", "RescaleIntercept"), 0.0)
        segment = first_of(groups, "SegmentIdentificationSequence", "ReferencedSegmentNumber")
        yield Frame(
            path,
            index,
            size,
            position,
            orientation if turned is None else turned,
            pixel if spacing is None or not (spacing > 0).all() else (float(spacing[0]), float(spacing[1])),
            (slope * number_of(data.get("DoseGridScaling"), 1.0), intercept),
            {**common, **(_frame_tells(groups) if each else vectors[index])},
            number_of(data.get("InstanceNumber"), 0.0) + index / max(count, 1),
            int(segment or 0),
        )


def frame_count(data: Any) -> int:
    """Return how many frames a file says it has; a text that is no number counts as one."""
    try:
        return max(int(data.get("NumberOfFrames", 1) or 1), 1)
    except ValueError:
        return 1


def _tiles(path: Path, data: Any, pixel: tuple[float, float] | None, common: dict[str, Any]) -> Iterator[Frame]:
    sheet = mosaic.layout(path, data)
    rescale = number_of(data.get("RescaleSlope"), 1.0), number_of(data.get("RescaleIntercept"), 0.0)
    number = number_of(data.get("InstanceNumber"), 0.0)
    for index, position in enumerate(sheet.positions):
        tells = {**common, "frames": len(sheet.positions)}
        yield Frame(path, index, sheet.size, position, sheet.orientation, pixel, rescale, tells, number)


def _places(data: Any, count: int) -> list[np.ndarray | None]:
    """Return the positions of frames that have no groups: one, or one and the offsets along the normal."""
    source = data
    if "ImagePositionPatient" not in data and (detector := item_of(data, "DetectorInformationSequence")) is not None:
        source = detector
    first, turned = (
        numbers_of(source.get(f"Image{word}Patient"), n) for word, n in (("Position", 3), ("Orientation", 6))
    )
    if count == 1 or first is None or turned is None:
        return [first if count == 1 else None] * count
    offsets = numbers_of(data.get("GridFrameOffsetVector"), count)
    if offsets is None and _is_reconstructed(data) and number_of(data.get("SpacingBetweenSlices"), 0.0):
        slices = numbers_of(data.get("SliceVector"), count)
        offsets = (np.arange(count) if slices is None else slices) * float(data.SpacingBetweenSlices)
    if offsets is None:
        return [None] * count
    normal = np.cross(turned[:3], turned[3:])
    return [first + (offset - offsets[0]) * normal for offset in offsets]


def _is_reconstructed(data: Any) -> bool:
    """Whether the frames of a file of nuclear medicine are slices, not projections (PS3.3 C.8.4.9.1.1)."""
    words = [str(word) for word in data.get("ImageType") or []]
    kind = words[2] if len(words) > 2 else "RECON"
    return str(data.get("Modality", "")) == "NM" and kind.startswith("RECON") and "AngularViewVector" not in data


def _vectors(data: Any, count: int) -> list[dict[str, float]]:
    """Return what the vectors of nuclear medicine say of each frame."""
    known = {name: numbers_of(data.get(vector), count) for vector, name in VECTORS.items()}
    return [{name: float(v[k]) for name, v in known.items() if v is not None} for k in range(count)]


def _of_plane(groups: list[Any], what: str) -> Any:
    """Return position or orientation of a frame, in the patient, or of an ultrasound volume in that of its probe."""
    found = first_of(groups, f"Plane{what}Sequence", f"Image{what}Patient")
    return first_of(groups, f"Plane{what}VolumeSequence", f"Image{what}Volume") if found is None else found


def _tells(data: Any) -> dict[str, Any]:
    """Return what tells a whole file apart from others at its place."""
    moment = f"{data.get('AcquisitionDate', '') or ''}{data.get('AcquisitionTime', '') or ''}"
    return {
        "time point": number_of(data.get("TemporalPositionIdentifier")),
        "TE": number_of(data.get("EchoTime")),
        "b": number_of(data.get("DiffusionBValue", _raw_number(data, (0x0019, 0x100C)))),
        "trigger time": number_of(data.get("TriggerTime")),
        "acquisition": number_of(data.get("AcquisitionNumber")),
        "flip angle": number_of(data.get("FlipAngle")),
        "TI": number_of(data.get("InversionTime")),
        "kind": "/".join(str(word) for word in (data.get("ImageType") or [])[2:]),
        "moment": seconds_of(str(data.get("AcquisitionDateTime", "") or moment)),
        "content": seconds_of(str(data.get("ContentTime", "") or "")),
        "resolution": number_of(data.get("TemporalResolution")),
    }


def _frame_tells(groups: list[Any]) -> dict[str, Any]:
    """Return what tells a frame apart from the others at its place."""
    kind = first_of(groups, "MRImageFrameTypeSequence", "FrameType") or first_of(
        groups, "CTImageFrameTypeSequence", "FrameType"
    )
    found = {
        "time point": number_of(first_of(groups, "FrameContentSequence", "TemporalPositionIndex")),
        "TE": number_of(first_of(groups, "MREchoSequence", "EffectiveEchoTime")),
        "b": number_of(first_of(groups, "MRDiffusionSequence", "DiffusionBValue")),
        "trigger time": number_of(first_of(groups, "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime")),
        "acquisition": number_of(first_of(groups, "FrameContentSequence", "FrameAcquisitionNumber")),
        "kind": "/".join(str(word) for word in (kind or [])[2:])
        or str(first_of(groups, "ImageDataTypeSequence", "DataType") or ""),
        "stack": str(first_of(groups, "FrameContentSequence", "StackID") or ""),
        "moment": seconds_of(str(first_of(groups, "FrameContentSequence", "FrameAcquisitionDateTime") or "")),
        "time": number_of(first_of(groups, "TemporalPositionSequence", "TemporalPositionTimeOffset")),
    }
    return {key: value for key, value in found.items() if value not in (None, "")}


def seconds_of(stamp: str) -> float | None:
    """Return a DICOM date and time (``YYYYMMDDHHMMSS.ffffff`` or ``HHMMSS.ffffff``) as seconds of days."""
    match = re.fullmatch(r"(\d{8})?(\d\d)(\d\d)(\d\d(?:\.\d*)?)(?:[+-]\d{4})?", stamp.strip())
    if match is None:
        return None
    day = np.datetime64(f"{match[1][:4]}-{match[1][4:6]}-{match[1][6:]}").astype(int) if match[1] else 0
    return float(int(day) * 86400 + int(match[2]) * 3600 + int(match[3]) * 60 + float(match[4]))


def item_of(data: Any, name: str) -> Any:
    """Return the first item of a sequence, ``None`` without one."""
    sequence = data.get(name)
    return sequence[0] if sequence else None


def first_of(groups: list[Any], sequence: str, name: str) -> Any:
    """Return an attribute of the first of a frame's groups that has it; of the file itself without its sequence."""
    for group in groups[:-1]:
        if (item := item_of(group, sequence)) is not None and item.get(name) is not None:
            return item.get(name)
    return groups[-1].get(name)


def numbers_of(value: Any, n: int) -> np.ndarray | None:
    """Return an element's `n` finite numbers, ``None`` if it holds others."""
    try:
        found = np.array([float(v) for v in value])
    except (TypeError, ValueError):
        return None
    return found if found.shape == (n,) and np.isfinite(found).all() else None


def number_of(value: Any, default: Any = None) -> Any:
    """Return an element's number, the first of several, or `default`."""
    try:
        return float(value[0] if isinstance(value, list | tuple) else value)
    except (TypeError, ValueError, IndexError):
        return default


def _raw_number(data: Any, tag: tuple[int, int]) -> Any:
    if tag not in data:
        return None
    value = data[tag].value
    return value.decode("ascii", "ignore").strip() if isinstance(value, bytes) else value
