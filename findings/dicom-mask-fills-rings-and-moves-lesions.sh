#!/usr/bin/env bash
# dicom-mask makes 441 pixels of a ring of 300 in an RTSTRUCT, and moves a lesion by a pixel or makes it a pixel wider.
#
# It looks up each corner of a contour as the first pixel whose middle lies beyond it, to the right and below, and paints
# the polygon between these. Corners on the borders of pixels, as programs write them that outline masks, become the
# middles of the next pixels: a lesion of 10 x 10 pixels, 10 mm wide, gets 11 x 11. Contours through the middles of the
# outermost pixels, as rt-utils writes them, keep their size and lie one pixel too far right and down. A hole, which
# DICOM states as a contour inside another, is painted as well: a wall becomes a disc. Each of the slices is there, in
# the order from head to feet, so that a look at the mask alone shows nothing. Nothing is said.
# Seen with dicom-mask 0.0.30, dicompyler-core 0.5.6, pydicom 2.4.4, scikit-image 0.26.0 and numpy 1.26.4 (the numpy
# 1.21.0 and scikit-image 0.18.2 that it asks for have no wheels for this Python), Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "dicompyler-core==0.5.6" "pydicom==2.4.4" \
    "scikit-image==0.26.0" "numpy==1.26.4"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-deps "dicom-mask==0.0.30"
cd "$work"
mkdir series
venv/bin/python -W ignore - <<'PY'
import os
from importlib.metadata import version

import numpy as np
from dicom_mask.convert import struct_to_mask
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

FRAME, SERIES = generate_uid(), generate_uid()
CT_IMAGE, STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.481.3"
ROWS, COLUMNS, SLICES, LESION = 30, 40, 5, 2  # pixels of 1 mm, the middle of the first one at 0, and slices of 3 mm


def item(**attributes):
    made = Dataset()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def save(path, sop_class, **attributes):
    made = item(SOPClassUID=sop_class, SOPInstanceUID=generate_uid(), FrameOfReferenceUID=FRAME, **attributes)
    made.PatientID = made.PatientName = made.PatientBirthDate = made.PatientSex = ""
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.is_little_endian, made.is_implicit_VR = True, False
    made.save_as(path, write_like_original=False)


def save_series():
    image = {"Modality": "CT", "SeriesInstanceUID": SERIES, "PatientPosition": "HFS", "Rows": ROWS, "Columns": COLUMNS}
    image |= {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [1, 1], "SliceThickness": 3}
    image |= {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "PixelRepresentation": 1}
    image |= {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "RescaleSlope": 1, "RescaleIntercept": 0}
    image |= {"WindowCenter": 40, "WindowWidth": 400, "PixelData": bytes(2 * ROWS * COLUMNS)}
    for k in range(SLICES):
        save(f"series/{k}.dcm", CT_IMAGE, InstanceNumber=k + 1, ImagePositionPatient=[0, 0, 3 * k], **image)


def save_structure(*squares):
    """Write one contour for each (left, right, top, bottom) in mm."""
    contours = []
    for left, right, top, bottom in squares:
        corners = (left, top), (right, top), (right, bottom), (left, bottom)
        points = [value for x, y in corners for value in (x, y, 3 * LESION)]
        contours.append(item(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=4, ContourData=points))
    save(
        "series/structure.dcm",
        STRUCTURE_SET,
        Modality="RTSTRUCT",
        StructureSetROISequence=[item(ROINumber=1, ROIName="lesion", ReferencedFrameOfReferenceUID=FRAME)],
        RTROIObservationsSequence=[item(ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="GTV")],
        ROIContourSequence=[item(ReferencedROINumber=1, ContourSequence=contours)],
    )


def extent(mask):
    rows, columns = np.nonzero(mask)
    return int(mask.sum()), tuple(int(edge) for edge in (columns.min(), columns.max(), rows.min(), rows.max()))


def by_hand(*squares):
    """Pixels whose middles lie within one contour, or on it, and not within the second."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    inside = [(left <= x) & (x <= right) & (top <= y) & (y <= bottom) for left, right, top, bottom in squares]
    return extent(np.logical_xor.reduce(inside))


CASES = {
    "borders of pixels": [(9.5, 19.5, 4.5, 14.5)],
    "middles of pixels": [(10, 19, 5, 14)],
    "ring": [(4.5, 24.5, 4.5, 24.5), (9.5, 19.5, 9.5, 19.5)],
}
save_series()
found, right = {}, {}
for name, squares in CASES.items():
    save_structure(*squares)
    mask = struct_to_mask("series", os.listdir("series"), "lesion")
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [LESION], "this has changed: the slice"
    found[name], right[name] = extent(mask[LESION]), by_hand(*squares)
print("dicom-mask", version("dicom-mask"), "pixels, and columns and rows from - to:", found)
print("  by hand:", right)
assert right["borders of pixels"] == right["middles of pixels"] == (100, (10, 19, 5, 14)), f"this has changed: {right}"
assert found["borders of pixels"] == (121, (10, 20, 5, 15)), f"this has changed: {found}"
assert found["middles of pixels"] == (100, (11, 20, 6, 15)), f"this has changed: {found}"
assert right["ring"] == (300, (5, 24, 5, 24)) and found["ring"] == (441, (5, 25, 5, 25)), f"this has changed: {found}"
PY
