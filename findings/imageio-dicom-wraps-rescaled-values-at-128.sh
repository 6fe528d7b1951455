#!/usr/bin/env bash
# imageio reads the value 200 of a DICOM slice as -56 where the file states a rescale slope of 1, and 1000 as -24.
#
# Slope 1 and intercept 0 change nothing, and many scanners write them. imageio then looks for the smallest integers that
# hold the slice and takes signed ones for unsigned: up to 255 goes into 8 signed bits, up to 65535 into 16. A series gets
# the type of its first slice: where that is dark, as the first slice of a head is, each later slice is cut to -128 to
# 127. Without slope and intercept the same pixels are right. Thresholds and means of such volumes mean nothing.
# Seen with imageio 2.38.1, pydicom 3.0.2 (writing, and as the other reader), numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "imageio==2.38.1" "pydicom==3.0.2" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_rescale

LEVELS = 2, 1000, 200, 40000  # of four even slices


def write_series(folder, rescaled):
    study, series, frame = uid.generate_uid(), uid.generate_uid(), uid.generate_uid()
    Path(folder).mkdir()
    for k, level in enumerate(LEVELS):
        mr = Dataset()
        mr.file_meta = FileMetaDataset()
        mr.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        mr.SOPClassUID, mr.SOPInstanceUID = uid.MRImageStorage, uid.generate_uid()
        mr.StudyInstanceUID, mr.SeriesInstanceUID, mr.FrameOfReferenceUID = study, series, frame
        mr.Modality, mr.InstanceNumber = "MR", k + 1
        mr.ImagePositionPatient, mr.ImageOrientationPatient = [0, 0, 3 * k], [1, 0, 0, 0, 1, 0]
        mr.PixelSpacing, mr.SliceThickness = [1, 1], 3
        mr.Rows, mr.Columns, mr.SamplesPerPixel, mr.PhotometricInterpretation = 8, 8, 1, "MONOCHROME2"
        mr.PixelRepresentation, mr.BitsAllocated, mr.BitsStored, mr.HighBit = 0, 16, 16, 15
        if rescaled:
            mr.RescaleSlope, mr.RescaleIntercept = 1, 0
        mr.PixelData = np.full((8, 8), level, np.uint16).tobytes()
        mr.save_as(f"{folder}/{k}.dcm", enforce_file_format=True)


def levels(volume):
    values = [np.unique(plane) for plane in volume]
    assert all(len(value) == 1 for value in values)
    return [int(value[0]) for value in values]


for folder, rescaled in (("plain", False), ("rescaled", True)):
    write_series(folder, rescaled)
    files = sorted(Path(folder).iterdir())
    series = imageio.volread(folder, "DICOM")
    single = levels([imageio.imread(file, "DICOM") for file in files])
    other = levels([apply_rescale(ds.pixel_array, ds) for ds in map(pydicom.dcmread, files)])
    found = str(series.dtype), levels(series), single
    print("\nimageio", version("imageio"), folder, "slices of", LEVELS, "series", *found[:2], "one by one", single)
    assert other == list(LEVELS), f"pydicom: {other}"
    expected = ("int8", [2, -24, -56, 64], [2, 1000, -56, -25536]) if rescaled else ("uint16", other, other)
    assert found == expected, f"this has changed: {found}"
PY
