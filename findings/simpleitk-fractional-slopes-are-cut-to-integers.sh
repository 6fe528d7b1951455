#!/usr/bin/env bash
# SimpleITK cuts the values of a DICOM series to integers when the first slice alone has a whole rescale slope.
#
# PET and some MR scanners scale every slice by its own slope. The type of the whole volume is taken from the first
# slice: 7 counts with slopes 1, 0.5 and 0.25 are 7, 3.5 and 1.75, each slice alone is read so, and together they are 7,
# 3 and 1, without a word; in the reverse order all values are right. Asking for sitk.sitkFloat32 keeps them.
# Seen with SimpleITK 2.5.7, files written by pydicom 3.0.2, numpy 2.2.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "SimpleITK==2.5.7" "pydicom==3.0.2" "numpy==2.2.6"
"$work/venv/bin/python" - "$work" <<'PY'
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

study, series, frame = generate_uid(), generate_uid(), generate_uid()
paths = []
for k, slope in enumerate((1, 0.5, 0.25)):
    slice_ = Dataset()
    slice_.file_meta = FileMetaDataset()
    slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    slice_.SOPClassUID = PositronEmissionTomographyImageStorage
    slice_.SOPInstanceUID = generate_uid()
    slice_.StudyInstanceUID, slice_.SeriesInstanceUID, slice_.FrameOfReferenceUID = study, series, frame
    slice_.Modality, slice_.InstanceNumber = "PT", k + 1
    slice_.ImagePositionPatient, slice_.ImageOrientationPatient = [0, 0, 3 * k], [1, 0, 0, 0, 1, 0]
    slice_.PixelSpacing, slice_.SliceThickness = [2, 2], 3
    slice_.Rows, slice_.Columns, slice_.SamplesPerPixel = 4, 5, 1
    slice_.PhotometricInterpretation, slice_.PixelRepresentation = "MONOCHROME2", 0
    slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit = 16, 16, 15
    slice_.RescaleSlope, slice_.RescaleIntercept = slope, 0
    slice_.PixelData = np.full((4, 5), 7, np.uint16).tobytes()
    paths.append(str(Path(sys.argv[1], f"{k}.dcm")))
    slice_.save_as(paths[-1], enforce_file_format=True)


def first_values(image):
    return [float(plane[0, 0]) for plane in sitk.GetArrayFromImage(image)]


alone = [first_values(sitk.ReadImage(path))[0] for path in paths]
together = first_values(sitk.ReadImage(paths))
print("SimpleITK", sitk.Version.VersionString(), "reads", alone, "slice by slice and", together, "as one series")
print("in reverse:", first_values(sitk.ReadImage(paths[::-1])))
assert alone == [7, 3.5, 1.75] == first_values(sitk.ReadImage(paths, sitk.sitkFloat32)), f"this has changed: {alone}"
assert together == [7, 3, 1], f"this has changed: {together}"
assert first_values(sitk.ReadImage(paths[::-1])) == [1.75, 3.5, 7], "this has changed: reversed"
PY
