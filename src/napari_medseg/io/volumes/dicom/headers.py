"""DICOM files by their headers: which series, and of each frame its place, its size, its scaling and what it is one of.

A file of one picture has one frame; a multi-frame file has what its functional groups say of each; a Siemens mosaic has
one for each tile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError, one_line
from napari_medseg.io.volumes.dicom import mosaic
from napari_medseg.io.volumes.dicom.files import cut_short, quiet

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
SEGMENTATIONS = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"}
ULTRASOUND_VOLUME = "1.2.840.10008.5.1.4.1.1.6.2"
CENTIMETRES = 3  # of an ultrasound region's physical units
UNEVEN_TIME = 2.0  # ms between the longest and the shortest step of a movie
OTHER_SIZE = 0.01  # relative difference of two stated pixel sizes that is said
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


@dataclass(frozen=True)
class Header:
    """A DICOM file without its pixels. `fault` says what is wrong with it, if it cannot be used."""

    path: Path
    series: str = ""
    description: str = ""
    modality: str = ""
    sop: str = ""
    uid: str = ""
    fault: str = ""
    frames: tuple[Frame, ...] = ()
    heights: tuple[float, float] = (0.0, 0.0)  # SpacingBetweenSlices, SliceThickness in mm; 0: not stated
    frame_time: float = 0.0  # seconds
    notes: tuple[str, ...] = ()
    value_unit: str = ""
    window: tuple[float, float] | None = None  # values shown as black and white


def describe(path: Path) -> Header | None:
    """Read the header of a DICOM file; ``None`` if it holds no picture (a report, a plan, a directory).

    A file that is cut or damaged comes with its `fault`, and with its series if that can still be read.
    """
    import pydicom

    series = ""
    try:
        with quiet():
            data = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            series = str(data.get("SeriesInstanceUID", ""))
            if "Rows" not in data or "Columns" not in data:
                cut = cut_short(path)
                return Header(path, series, fault=cut) if cut else None
            found = _described(path, data)
    except MemoryError:
        raise
    except ReadError as error:
        return Header(path, series, fault=str(error))
    except Exception as error:  # whatever the library says of a damaged header
        return Header(
            path, series, fault=f"{path.name} has a damaged DICOM header ({one_line(error, 80)}). Copy it again."
        )
    cut = cut_short(path)
    return replace(found, fault=cut, frames=()) if cut else found


def kind_of(path: Path) -> str:
    """Say what a DICOM file without a picture is."""
    import pydicom

    with quiet():
        modality = str(pydicom.dcmread(path, stop_before_pixels=True, force=True).get("Modality", ""))
    known = {"RTSTRUCT": "outlines of structures, RTSTRUCT", "RTPLAN": "a plan", "SR": "a report", "PR": "a view"}
    return known.get(modality, modality or "a report or a plan")


def _described(path: Path, data: Any) -> Header:
    sop, modality = str(data.get("SOPClassUID", "")), str(data.get("Modality", ""))
    notes = []
    if data.get("PhotometricInterpretation", "") == "MONOCHROME1":
        notes.append("Large numbers are dark in this picture (MONOCHROME1); the numbers are kept as stored.")
    if "PixelPaddingValue" in data:
        notes.append(
            f"Voxels of the value {data.PixelPaddingValue} (as stored) are padding: nothing was measured there."
        )
    if sop == ULTRASOUND_VOLUME:
        notes.append("The volume's place is that of its probe, not of the patient; it is not kept.")
    pixel, said = _pixel_size(data)
    said += _uneven_times(data)
    return Header(
        path,
        str(data.get("SeriesInstanceUID", "")),
        str(data.get("SeriesDescription", "") or modality),
        modality,
        sop,
        str(data.get("SOPInstanceUID", "")),
        "" if sop != WHOLE_SLIDE else _slide(path),
        () if sop == WHOLE_SLIDE else tuple(_frames(path, data, pixel)),
        _heights(data),
        _frame_time(data),
        (*notes, *said),
        _value_unit(data, modality),
        _window(data),
    )


def _value_unit(data: Any, modality: str) -> str:
    """Return the unit of the scaled values; those of CT are HU unless the file names another type (PS3.3 C.8.2.1)."""
    if str(data.get("DoseUnits", "")) == "GY":
        return "Gy"
    each = data.get("PerFrameFunctionalGroupsSequence") or ()
    groups = [each[0] if each else None, _item(data, "SharedFunctionalGroupsSequence"), data]
    kind = _first([g for g in groups if g is not None], "PixelValueTransformationSequence", "RescaleType")
    if str(kind or "") == "HU" or (modality == "CT" and not kind):
        return "HU"
    return {"BQML": "Bq/mL"}.get(str(data.get("Units", "")), "")


def _window(data: Any) -> tuple[float, float] | None:
    """Return the values between which the first window of a file shows shades of grey."""
    with suppress(TypeError, ValueError, IndexError):
        centre, width = (float(np.ravel(data.get(name))[0]) for name in ("WindowCenter", "WindowWidth"))
        if width > 1 and np.isfinite(centre):
            return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    return None


def _slide(path: Path) -> str:
    return (
        f"{path.name} is a whole slide, not a volume. Open it with the slide reader: pip install napari-medseg[slide]."
    )


def _frames(path: Path, data: Any, pixel: tuple[float, float] | None) -> Iterator[Frame]:
    """Describe every frame of a file."""
    count = frame_count(data)
    size = int(data.Rows), int(data.Columns)
    shared = _item(data, "SharedFunctionalGroupsSequence")
    each = data.get("PerFrameFunctionalGroupsSequence") or ()
    common = {"frames": count, **_tells(data)}
    if "MOSAIC" in [str(word) for word in data.get("ImageType", [])]:
        yield from _tiles(path, data, pixel, common)
        return
    if each and len(each) != count:
        raise ReadError(f"{path.name} describes {len(each)} of its {count} frames. It is damaged; copy it again.")
    places = _places(data, count) if not each else [None] * count
    vectors = _vectors(data, count)
    orientation = _numbers(data.get("ImageOrientationPatient"), 6)
    if orientation is None and (detector := _item(data, "DetectorInformationSequence")) is not None:
        orientation = _numbers(detector.get("ImageOrientationPatient"), 6)
    for index in range(count):
        groups = [g for g in (each[index] if each else None, shared, data) if g is not None]
        position = _numbers(_of_plane(groups, "Position"), 3) if each else places[index]
        turned = _numbers(_of_plane(groups, "Orientation"), 6)
        spacing = _numbers(_first(groups, "PixelMeasuresSequence", "PixelSpacing"), 2)
        slope = _float(_first(groups, "PixelValueTransformationSequence", "RescaleSlope"), 1.0)
        intercept = _float(_first(groups, "PixelValueTransformationSequence", "RescaleIntercept"), 0.0)
        segment = _first(groups, "SegmentIdentificationSequence", "ReferencedSegmentNumber")
        yield Frame(
            path,
            index,
            size,
            position,
            orientation if turned is None else turned,
            pixel if spacing is None or not (spacing > 0).all() else (float(spacing[0]), float(spacing[1])),
            (slope * _float(data.get("DoseGridScaling"), 1.0), intercept),
            {**common, **(_frame_tells(groups) if each else vectors[index])},
            _float(data.get("InstanceNumber"), 0.0) + index / max(count, 1),
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
    rescale = _float(data.get("RescaleSlope"), 1.0), _float(data.get("RescaleIntercept"), 0.0)
    number = _float(data.get("InstanceNumber"), 0.0)
    for index, position in enumerate(sheet.positions):
        tells = {**common, "frames": len(sheet.positions)}
        yield Frame(path, index, sheet.size, position, sheet.orientation, pixel, rescale, tells, number)


def _places(data: Any, count: int) -> list[np.ndarray | None]:
    """Return the positions of frames that have no groups: one, or one and the offsets along the normal."""
    source = data
    if "ImagePositionPatient" not in data and (detector := _item(data, "DetectorInformationSequence")) is not None:
        source = detector
    first, turned = (
        _numbers(source.get(f"Image{word}Patient"), n) for word, n in (("Position", 3), ("Orientation", 6))
    )
    if count == 1 or first is None or turned is None:
        return [first if count == 1 else None] * count
    offsets = _numbers(data.get("GridFrameOffsetVector"), count)
    if offsets is None and _is_reconstructed(data) and _float(data.get("SpacingBetweenSlices"), 0.0):
        slices = _numbers(data.get("SliceVector"), count)
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
    known = {name: _numbers(data.get(vector), count) for vector, name in VECTORS.items()}
    return [{name: float(v[k]) for name, v in known.items() if v is not None} for k in range(count)]


def _of_plane(groups: list[Any], what: str) -> Any:
    """Return position or orientation of a frame, in the patient, or of an ultrasound volume in that of its probe."""
    found = _first(groups, f"Plane{what}Sequence", f"Image{what}Patient")
    return _first(groups, f"Plane{what}VolumeSequence", f"Image{what}Volume") if found is None else found


def _tells(data: Any) -> dict[str, Any]:
    """Return what tells a whole file apart from others at its place."""
    moment = f"{data.get('AcquisitionDate', '') or ''}{data.get('AcquisitionTime', '') or ''}"
    return {
        "time point": _float(data.get("TemporalPositionIdentifier")),
        "TE": _float(data.get("EchoTime")),
        "b": _float(data.get("DiffusionBValue", _raw_number(data, (0x0019, 0x100C)))),
        "trigger time": _float(data.get("TriggerTime")),
        "acquisition": _float(data.get("AcquisitionNumber")),
        "flip angle": _float(data.get("FlipAngle")),
        "TI": _float(data.get("InversionTime")),
        "kind": "/".join(str(word) for word in (data.get("ImageType") or [])[2:]),
        "moment": seconds_of(str(data.get("AcquisitionDateTime", "") or moment)),
        "content": seconds_of(str(data.get("ContentTime", "") or "")),
        "resolution": _float(data.get("TemporalResolution")),
    }


def _frame_tells(groups: list[Any]) -> dict[str, Any]:
    """Return what tells a frame apart from the others at its place."""
    kind = _first(groups, "MRImageFrameTypeSequence", "FrameType") or _first(
        groups, "CTImageFrameTypeSequence", "FrameType"
    )
    found = {
        "time point": _float(_first(groups, "FrameContentSequence", "TemporalPositionIndex")),
        "TE": _float(_first(groups, "MREchoSequence", "EffectiveEchoTime")),
        "b": _float(_first(groups, "MRDiffusionSequence", "DiffusionBValue")),
        "trigger time": _float(_first(groups, "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime")),
        "acquisition": _float(_first(groups, "FrameContentSequence", "FrameAcquisitionNumber")),
        "kind": "/".join(str(word) for word in (kind or [])[2:])
        or str(_first(groups, "ImageDataTypeSequence", "DataType") or ""),
        "stack": str(_first(groups, "FrameContentSequence", "StackID") or ""),
        "moment": seconds_of(str(_first(groups, "FrameContentSequence", "FrameAcquisitionDateTime") or "")),
        "time": _float(_first(groups, "TemporalPositionSequence", "TemporalPositionTimeOffset")),
    }
    return {key: value for key, value in found.items() if value not in (None, "")}


def seconds_of(stamp: str) -> float | None:
    """Return a DICOM date and time (``YYYYMMDDHHMMSS.ffffff`` or ``HHMMSS.ffffff``) as seconds of days."""
    match = re.fullmatch(r"(\d{8})?(\d\d)(\d\d)(\d\d(?:\.\d*)?)(?:[+-]\d{4})?", stamp.strip())
    if match is None:
        return None
    day = np.datetime64(f"{match[1][:4]}-{match[1][4:6]}-{match[1][6:]}").astype(int) if match[1] else 0
    return float(int(day) * 86400 + int(match[2]) * 3600 + int(match[3]) * 60 + float(match[4]))


def _pixel_size(data: Any) -> tuple[tuple[float, float] | None, list[str]]:
    """Return (row step, column step) in mm that a file states outside its frames, and what is to be said of it."""
    stated = _numbers(data.get("PixelSpacing"), 2)
    imager = _numbers(data.get("ImagerPixelSpacing"), 2)
    if imager is None:
        imager = _numbers(data.get("NominalScannedPixelSpacing"), 2)
    if stated is not None and (stated > 0).all():
        projection = str(data.get("Modality", "")) in ("CR", "DX", "MG", "XA", "RF", "PX", "IO")
        said = ["The pixel size of a projection holds in one plane only: that of the calibration or of the detector."]
        said = said if projection else []
        region = _region(data)
        if region is not None and not np.allclose(stated, region, rtol=OTHER_SIZE):
            said.append(
                f"The file states two pixel sizes: {stated[0]:g} x {stated[1]:g} mm (PixelSpacing), which is used, and "
                f"{region[0]:g} x {region[1]:g} mm (ultrasound region)."
            )
        return (float(stated[0]), float(stated[1])), said
    if (region := _region(data)) is not None:
        return region, []
    aspect = _numbers(data.get("PixelAspectRatio"), 2)
    if aspect is not None and aspect[0] != aspect[1]:
        return None, [
            f"The pixels are not square ({aspect[0]:g} high to {aspect[1]:g} wide), and their size is not stated."
        ]
    if imager is not None:
        return None, [
            f"The file states the pixel size at the detector only ({imager[0]:g} x {imager[1]:g} mm, "
            "ImagerPixelSpacing), which is magnified by the distance; sizes are in pixels."
        ]
    return None, []


def _region(data: Any) -> tuple[float, float] | None:
    """Return the pixel size in mm of an ultrasound picture, if all its regions of tissue have one."""
    sizes = set()
    for region in data.get("SequenceOfUltrasoundRegions") or ():
        if int(region.get("RegionSpatialFormat", 0)) != 1:  # 2D
            continue
        if {region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")} != {CENTIMETRES}:
            return None
        sizes.add((10 * abs(float(region.PhysicalDeltaY)), 10 * abs(float(region.PhysicalDeltaX))))
    found = sizes.pop() if len(sizes) == 1 else None
    return found if found and min(found) > 0 else None


def _heights(data: Any) -> tuple[float, float]:
    """Return SpacingBetweenSlices and SliceThickness in mm, 0 where they are not stated."""
    shared = _item(data, "SharedFunctionalGroupsSequence")
    each = data.get("PerFrameFunctionalGroupsSequence") or ()
    groups = [g for g in (each[0] if each else None, shared, data) if g is not None]
    between = _float(_first(groups, "PixelMeasuresSequence", "SpacingBetweenSlices"), 0.0)
    thickness = _float(_first(groups, "PixelMeasuresSequence", "SliceThickness"), 0.0)
    return abs(between or 0.0), abs(thickness or 0.0)


def _frame_time(data: Any) -> float:
    """Return the seconds between frames of a movie, 0 if not stated."""
    if time := _float(data.get("FrameTime"), 0.0):
        return float(time) / 1000
    times = _numbers(data.get("FrameTimeVector"), frame_count(data))
    if times is not None and len(times) > 1:  # the first is 0
        return float(np.median(times[1:])) / 1000
    rate = _float(data.get("CineRate"), 0.0) or _float(data.get("RecommendedDisplayFrameRate"), 0.0)
    return 1 / float(rate) if rate else 0.0


def _uneven_times(data: Any) -> list[str]:
    """Say that the frames of a movie are not evenly spaced in time."""
    times = _numbers(data.get("FrameTimeVector"), frame_count(data))
    if _float(data.get("FrameTime"), 0.0) or times is None or len(times) < 3 or np.ptp(times[1:]) <= UNEVEN_TIME:
        return []
    return [
        f"The frames are {times[1:].min():g} to {times[1:].max():g} ms apart (FrameTimeVector); their times count "
        "with the median."
    ]


def _item(data: Any, name: str) -> Any:
    sequence = data.get(name)
    return sequence[0] if sequence else None


def _first(groups: list[Any], sequence: str, name: str) -> Any:
    """Return an attribute of the first of a frame's groups that has it; of the file itself without its sequence."""
    for group in groups[:-1]:
        if (item := _item(group, sequence)) is not None and item.get(name) is not None:
            return item.get(name)
    return groups[-1].get(name)


def _numbers(value: Any, n: int) -> np.ndarray | None:
    try:
        found = np.array([float(v) for v in value])
    except (TypeError, ValueError):
        return None
    return found if found.shape == (n,) and np.isfinite(found).all() else None


def _float(value: Any, default: Any = None) -> Any:
    try:
        return float(value[0] if isinstance(value, list | tuple) else value)
    except (TypeError, ValueError, IndexError):
        return default


def _raw_number(data: Any, tag: tuple[int, int]) -> Any:
    if tag not in data:
        return None
    value = data[tag].value
    return value.decode("ascii", "ignore").strip() if isinstance(value, bytes) else value
