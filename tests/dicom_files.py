"""Small DICOM files for the tests, written by pydicom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR, CT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_MR, SEG = "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.66.4"
RADIOGRAPH, ULTRASOUND = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.6.1"
AXIAL = (1, 0, 0, 0, 1, 0)


def dataset(pixels: np.ndarray, sop: str = MR, series: str = "1.2.3", modality: str = "MR", **tags: Any) -> Dataset:
    """Return a dataset of `pixels` (rows, columns), or (frames, rows, columns) with `NumberOfFrames` in `tags`."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = sop, generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality = "1.2", series, modality
    data.SeriesDescription, data.ImageType = "test", ["ORIGINAL", "PRIMARY"]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape[-2:]
    data.BitsAllocated = data.BitsStored = 8 * pixels.dtype.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(pixels.dtype.kind == "i")
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    data["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 else "OB"
    return data


def save(path: Path, data: Dataset, syntax: str = ExplicitVRLittleEndian, preamble: bool = True) -> Path:
    """Write a dataset as a file; without the preamble as old files are (implicit)."""
    if preamble:
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = syntax
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.save_as(path, enforce_file_format=True)
    else:
        pydicom.dcmwrite(path, data, implicit_vr=True, little_endian=True, enforce_file_format=False)
    return path


def one(path: Path, pixels: np.ndarray, position: Any = None, orientation: Any = AXIAL, **tags: Any) -> Path:
    """Write one slice with 0.5 x 0.8 mm pixels (rows x columns) at `position`; ``PixelSpacing=None`` states none."""
    tags = {"PixelSpacing": [0.5, 0.8], **tags}
    if position is not None:
        tags |= {"ImagePositionPatient": list(map(float, position)), "ImageOrientationPatient": list(orientation)}
    return save(path, dataset(pixels, **{k: v for k, v in tags.items() if v is not None}))


def series(folder: Path, volume: np.ndarray, step: float = 2.0, prefix: str = "s", **tags: Any) -> list[Path]:
    """Write the slices of a volume (Z, Y, X), `step` mm apart; a list among `tags` gives one value a slice."""
    folder.mkdir(exist_ok=True)
    paths = []
    for k, pixels in enumerate(volume):
        own = {name: value[k] if isinstance(value, list) else value for name, value in tags.items()}
        own.setdefault("InstanceNumber", k + 1)
        paths.append(one(folder / f"{prefix}{k}.dcm", pixels, own.pop("position", (0, 0, step * k)), **own))
    return paths


def item(**tags: Any) -> Dataset:
    """Return the item of a sequence."""
    data = Dataset()
    for name, value in tags.items():
        setattr(data, name, value)
    return data


def enhanced(
    path: Path, frames: np.ndarray, positions: Sequence[Any], orientations: Sequence[Any] = (),
    slopes: Sequence[float] = (), sop: str = ENHANCED_MR, own: Sequence[dict[str, Any]] = (), **tags: Any,
) -> Path:  # fmt: skip
    """Write a multi-frame file: `own` adds functional groups to the frames; pixels are 0.5 x 0.8 mm."""
    shared = item(PixelMeasuresSequence=Items([item(PixelSpacing=[0.5, 0.8], SliceThickness=2.0)]))
    if not orientations:
        shared.PlaneOrientationSequence = Items([item(ImageOrientationPatient=list(AXIAL))])
    each = []
    for k, position in enumerate(positions):
        groups = {"PlanePositionSequence": Items([item(ImagePositionPatient=list(map(float, position)))])}
        if orientations:
            groups["PlaneOrientationSequence"] = Items([item(ImageOrientationPatient=list(orientations[k]))])
        if slopes:
            scaling = item(RescaleSlope=slopes[k], RescaleIntercept=0.0, RescaleType="US")
            groups["PixelValueTransformationSequence"] = Items([scaling])
        each.append(item(**groups, **(own[k] if own else {})))
    data = dataset(
        frames, sop, NumberOfFrames=len(positions), SharedFunctionalGroupsSequence=Items([shared]),
        PerFrameFunctionalGroupsSequence=Items(each), **tags,
    )  # fmt: skip
    return save(path, data)


def implicit(path: Path) -> Path:
    """Write the file again without preamble and meta group, in implicit VR."""
    data = Dataset()
    data.update(pydicom.dcmread(path))
    return save(path, data, preamble=False)
