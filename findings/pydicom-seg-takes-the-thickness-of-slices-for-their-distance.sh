#!/usr/bin/env bash
# pydicom-seg reads a lesion of 800 mm3 that highdicom wrote as stripes of 320 mm3, where slices have gaps between them,
# and one of 400 mm3 as 600 mm3 with a slice missing, where they overlap.
#
# A DICOM segmentation states the position of each of its frames and the thickness of a slice; the distance between
# slices is optional, and where the series does not state it, as few CT series do, highdicom does not either.
# pydicom-seg then takes the thickness for the distance. Slices of 2 mm that are 5 mm apart are set into a volume of
# slices of 2 mm with empty ones between them; of slices of 5 mm every 2.5 mm, as CTs are often reconstructed, two fall
# into the same place, and the second overwrites what was drawn on the first. Only where slices touch is it right.
# SimpleITK takes the distance from the positions. Nothing is said.
# Seen with pydicom-seg 0.4.1, highdicom 0.22.0, pydicom 2.4.4, SimpleITK 2.5.7 (the other reader), numpy 1.26.4, Python
# 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "pydicom-seg==0.4.1" "highdicom==0.22.0" \
    "pydicom==2.4.4" "SimpleITK==2.5.7" "numpy==1.26.4"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import highdicom as hd
import numpy as np
import pydicom
import pydicom_seg
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

study, series, frame = generate_uid(), generate_uid(), generate_uid()


def ct_slice(k, thickness, distance):
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.is_little_endian, made.is_implicit_VR = True, False
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, generate_uid()
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = study, series, frame
    made.PatientID = made.PatientName = made.PatientBirthDate = made.PatientSex = made.ReferringPhysicianName = ""
    made.StudyID = made.StudyDate = made.StudyTime = made.AccessionNumber = made.PositionReferenceIndicator = ""
    made.Modality, made.SeriesNumber, made.InstanceNumber = "CT", 1, k + 1
    made.ImagePositionPatient, made.ImageOrientationPatient = [0, 0, distance * k], [1, 0, 0, 0, 1, 0]
    made.PixelSpacing, made.SliceThickness = [0.5, 0.8], thickness
    made.Rows, made.Columns, made.SamplesPerPixel, made.PhotometricInterpretation = 20, 30, 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
    made.PixelData = bytes(2 * 20 * 30)
    return made


def segmented(thickness, distance):
    """Segment slices 3 to 6 of 10, and read that by two readers: slices with something in them, and volume in mm3."""
    lesion = np.zeros((10, 20, 30), np.uint8)
    lesion[3:7, 5:15, 5:15] = 1
    kind = hd.seg.SegmentAlgorithmTypeValues.MANUAL
    segment = hd.seg.SegmentDescription(1, "lesion", codes.SCT.Tissue, codes.SCT.Tissue, kind)
    slices = [ct_slice(k, thickness, distance) for k in range(10)]
    uids = generate_uid(), generate_uid()
    written = hd.seg.Segmentation(slices, lesion, "BINARY", [segment], uids[0], 2, uids[1], 1, "m", "m", "1", "s")
    written.save_as("lesion.dcm")
    read = pydicom_seg.SegmentReader().read(pydicom.dcmread("lesion.dcm"))
    found = []
    for image in (read.segment_image(1), sitk.ReadImage("lesion.dcm")):
        voxels = sitk.GetArrayFromImage(image) > 0
        volume = round(float(voxels.sum() * np.prod(image.GetSpacing())), 1)
        found.append((np.flatnonzero(voxels.any(axis=(1, 2))).tolist(), volume))
    return *found, round(4 * 100 * 0.5 * 0.8 * distance, 1)


print("pydicom-seg", version("pydicom-seg"), "on a file by highdicom", version("highdicom"), "slices and mm3:")
results = {}
for thickness, distance in ((5, 5), (2, 5), (5, 2.5)):
    results[thickness, distance] = by_pydicom_seg, by_simpleitk, true = segmented(thickness, distance)
    print(f"  {thickness} mm every {distance} mm:", *by_pydicom_seg, "SimpleITK", *by_simpleitk, "by hand", true)
right = [result[1:] for result in results.values()]
assert right == [(([0, 1, 2, 3], volume), volume) for volume in (800, 800, 400)], f"this has changed: {right}"
found = [result[0] for result in results.values()]
assert found == [([0, 1, 2, 3], 800), ([0, 3, 5, 8], 320), ([0, 1, 2], 600)], f"this has changed: {found}"
PY
