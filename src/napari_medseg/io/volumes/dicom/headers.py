"""DICOM files by their headers: which series they are of, and what they say of all their frames."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError, one_line
from napari_medseg.io.volumes.dicom.files import cut_short, quiet
from napari_medseg.io.volumes.dicom.frames import (
    Frame,
    first_of,
    frame_count,
    frames_of,
    item_of,
    number_of,
    numbers_of,
)

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
SEGMENTATIONS = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"}
ULTRASOUND_VOLUME = "1.2.840.10008.5.1.4.1.1.6.2"
UNITS = {"BQML": "Bq/mL", "GML": "g/mL", "CNTS": "counts", "OD": "OD", "MGML": "mg/mL", "PCT": "%", "HU_MOD": "HU"}
OVERLAYS, OVERLAY_ROWS = range(0x6000, 0x6020, 2), 0x0010
CENTIMETRES = 3  # of an ultrasound region's physical units
UNEVEN_TIME = 2.0  # ms between the longest and the shortest step of a movie
OTHER_SIZE = 0.01  # relative difference of two stated pixel sizes that is said


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
    padding: tuple[float, float] | None = None  # stored values that mean that nothing was measured
    reference: str = ""  # UID of the frame of reference: only within one do positions mean the same


def describe(path: Path) -> Header | None:
    """Read the header of a DICOM file; ``None`` if it holds no picture (a report, a plan, a directory).

    A file that is cut or damaged comes with its `fault`, and with its series if that can still be read.
    """
    import pydicom

    series = ""
    try:
        with quiet():
            data = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            series = _series(data)
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
    """Gather what a data set says of itself, without its pixels."""
    sop, modality = str(data.get("SOPClassUID", "")), str(data.get("Modality", ""))
    notes = []
    if data.get("PhotometricInterpretation", "") == "MONOCHROME1":
        notes.append("Large numbers are dark in this picture (MONOCHROME1); the numbers are kept as stored.")
    if "PixelPaddingValue" in data and sop not in SEGMENTATIONS:  # there it is the background
        notes.append(
            f"Voxels of the value {data.PixelPaddingValue} (as stored) are padding: nothing was measured there."
        )
    if any((group, OVERLAY_ROWS) in data for group in OVERLAYS):
        notes.append("The file holds drawings over its picture (overlays), which are left out.")
    if sop == ULTRASOUND_VOLUME:
        notes.append("The volume's place is that of its probe, not of the patient; it is not kept.")
    pixel, said = _pixel_size(data)
    said += [*_uneven_times(data), *_other_values(data)]
    return Header(
        path,
        _series(data),
        str(data.get("SeriesDescription", "") or modality),
        modality,
        sop,
        str(data.get("SOPInstanceUID", "")),
        "" if sop != WHOLE_SLIDE else _slide(path),
        () if sop == WHOLE_SLIDE else tuple(frames_of(path, data, pixel)),
        _heights(data),
        _frame_time(data),
        (*notes, *said),
        _value_unit(data, modality),
        _window(data),
        _padding(data),
        str(data.get("FrameOfReferenceUID", "") or ""),
    )


def _series(data: Any) -> str:
    """Return the UID of a series with a hash of patient and study: what hides names may give one UID to all."""
    uid = str(data.get("SeriesInstanceUID", ""))
    whose = [str(data.get(name) or "").strip() for name in ("PatientID", "StudyInstanceUID")]
    return f"{uid} {hashlib.sha256('/'.join(whose).encode()).hexdigest()[:8]}" if uid and any(whose) else uid


def _value_unit(data: Any, modality: str) -> str:
    """Return the unit of the scaled values; those of CT are HU unless the file names another type (PS3.3 C.8.2.1)."""
    if str(data.get("DoseUnits", "")) == "GY":
        return "Gy"
    each = data.get("PerFrameFunctionalGroupsSequence") or ()
    groups = [each[0] if each else None, item_of(data, "SharedFunctionalGroupsSequence"), data]
    kind = first_of([g for g in groups if g is not None], "PixelValueTransformationSequence", "RescaleType")
    if str(kind or "") == "HU" or (modality == "CT" and not kind):
        return "HU"
    return UNITS.get(str(data.get("Units", "") or kind or ""), "")


def _other_values(data: Any) -> list[str]:
    """Say that a file maps its stored numbers to other values than its rescale does (real world values)."""
    each = data.get("PerFrameFunctionalGroupsSequence") or ()
    groups = [each[0] if each else None, item_of(data, "SharedFunctionalGroupsSequence"), data]
    groups = [group for group in groups if group is not None]
    stated = next((one for g in groups if (one := item_of(g, "RealWorldValueMappingSequence")) is not None), None)
    if stated is None or (slope := number_of(stated.get("RealWorldValueSlope"))) is None:
        return []
    intercept = number_of(stated.get("RealWorldValueIntercept"), 0.0)
    scaled = (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    own = [number_of(first_of(groups, "PixelValueTransformationSequence", name), usual) for name, usual in scaled]
    if [slope, intercept] == own:
        return []
    unit = item_of(stated, "MeasurementUnitsCodeSequence")
    code = "" if unit is None else str(unit.get("CodeValue", ""))
    return [
        f"The file also maps its stored numbers to real world values{f' in {code}' if code not in ('', '1') else ''} "
        f"(slope {slope:g}, intercept {intercept:g}), which is not applied."
    ]


def _window(data: Any) -> tuple[float, float] | None:
    """Return the values between which the first window of a file shows shades of grey."""
    with suppress(TypeError, ValueError, IndexError):
        centre, width = (float(np.ravel(data.get(name))[0]) for name in ("WindowCenter", "WindowWidth"))
        if width > 1 and np.isfinite(centre):
            return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    return None


def _padding(data: Any) -> tuple[float, float] | None:
    """Return the least and the largest stored value of padding, as signed as the pixels are (PS3.3 C.7.5.1.1.2)."""
    ends = [data.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    numbers = [int(end) for end in ends if isinstance(end, int)]
    if not numbers:
        return None
    bits, signed = int(data.get("BitsAllocated", 16)), int(data.get("PixelRepresentation", 0) or 0)
    wrapped = [n % 2**bits for n in numbers]
    wrapped = [n - 2**bits if signed and n >= 2 ** (bits - 1) else n for n in wrapped]
    return float(min(wrapped)), float(max(wrapped))


def _slide(path: Path) -> str:
    return (
        f"{path.name} is a whole slide, not a volume. Open it with the slide reader: pip install napari-medseg[slide]."
    )


def _pixel_size(data: Any) -> tuple[tuple[float, float] | None, list[str]]:
    """Return (row step, column step) in mm that a file states outside its frames, and what is to be said of it."""
    stated = numbers_of(data.get("PixelSpacing"), 2)
    imager = numbers_of(data.get("ImagerPixelSpacing"), 2)
    if imager is None:
        imager = numbers_of(data.get("NominalScannedPixelSpacing"), 2)
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
    if len(sizes := _region_sizes(data)) > 1:
        several = ", ".join(f"{row:g} x {column:g} mm" for row, column in sorted(sizes))
        return None, [f"The regions of the picture have pixels of several sizes: {several}."]
    aspect = numbers_of(data.get("PixelAspectRatio"), 2)
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
    sizes = _region_sizes(data)
    found = sizes.pop() if len(sizes) == 1 else None
    return found if found and min(found) > 0 else None


def _region_sizes(data: Any) -> set[tuple[float, float]]:
    """Return the pixel sizes in mm of an ultrasound picture's regions of tissue; none if one is not in lengths."""
    sizes = set()
    for region in data.get("SequenceOfUltrasoundRegions") or ():
        if int(region.get("RegionSpatialFormat", 0)) != 1:  # 2D
            continue
        if {region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")} != {CENTIMETRES}:
            return set()
        sizes.add((10 * abs(float(region.PhysicalDeltaY)), 10 * abs(float(region.PhysicalDeltaX))))
    return sizes


def _heights(data: Any) -> tuple[float, float]:
    """Return SpacingBetweenSlices and SliceThickness in mm, 0 where they are not stated."""
    shared = item_of(data, "SharedFunctionalGroupsSequence")
    each = data.get("PerFrameFunctionalGroupsSequence") or ()
    groups = [g for g in (each[0] if each else None, shared, data) if g is not None]
    between = number_of(first_of(groups, "PixelMeasuresSequence", "SpacingBetweenSlices"), 0.0)
    thickness = number_of(first_of(groups, "PixelMeasuresSequence", "SliceThickness"), 0.0)
    return abs(between or 0.0), abs(thickness or 0.0)


def _frame_time(data: Any) -> float:
    """Return the seconds between frames of a movie, 0 if not stated."""
    if time := number_of(data.get("FrameTime"), 0.0):
        return float(time) / 1000
    times = numbers_of(data.get("FrameTimeVector"), frame_count(data))
    if times is not None and len(times) > 1:  # the first is 0
        return float(np.median(times[1:])) / 1000
    rate = number_of(data.get("CineRate"), 0.0) or number_of(data.get("RecommendedDisplayFrameRate"), 0.0)
    return 1 / float(rate) if rate else 0.0


def _uneven_times(data: Any) -> list[str]:
    """Say that the frames of a movie are not evenly spaced in time."""
    times = numbers_of(data.get("FrameTimeVector"), frame_count(data))
    if number_of(data.get("FrameTime"), 0.0) or times is None or len(times) < 3 or np.ptp(times[1:]) <= UNEVEN_TIME:
        return []
    return [
        f"The frames are {times[1:].min():g} to {times[1:].max():g} ms apart (FrameTimeVector); their times count "
        "with the median."
    ]
