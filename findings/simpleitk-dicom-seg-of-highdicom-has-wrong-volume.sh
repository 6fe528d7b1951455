#!/usr/bin/env bash
# SimpleITK reads DICOM segmentations with wrong voxel sizes where highdicom left empty frames out, as it does by default.
#
# A segmentation of slices 2 and 5 of a series (3 mm apart) has two frames, 9 mm apart: the voxels become 9 mm thick and
# the volume of the lesion three times as large, though the file states 3 mm. Slices 2, 3 and 6 are unevenly spaced, and
# every voxel becomes 1 x 1 x 1 mm, also in the plane, where pixels measure 0.5 mm. omit_empty_frames=False is read right.
# Seen with SimpleITK 2.5.7, highdicom 0.28.2, pydicom 3.0.2, numpy 2.2.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "SimpleITK==2.5.7" "highdicom==0.28.2" "pydicom==3.0.2" "numpy==2.2.6"
"$work/venv/bin/python" -W ignore - "$work/lesion.dcm" <<'PY'
import sys

import highdicom as hd
import numpy as np
import SimpleITK as sitk
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

study, series, frame = uid.generate_uid(), uid.generate_uid(), uid.generate_uid()
slices = []
for k in range(8):
    mr = Dataset()
    mr.file_meta = FileMetaDataset()
    mr.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    mr.SOPClassUID, mr.SOPInstanceUID = uid.MRImageStorage, uid.generate_uid()
    mr.StudyInstanceUID, mr.SeriesInstanceUID, mr.FrameOfReferenceUID = study, series, frame
    for empty in "PatientName PatientID PatientBirthDate PatientSex StudyID StudyDate StudyTime".split():
        setattr(mr, empty, "")
    mr.AccessionNumber, mr.ReferringPhysicianName, mr.Modality, mr.InstanceNumber = "", "", "MR", k + 1
    mr.ImagePositionPatient, mr.ImageOrientationPatient = [0, 0, 3 * k], [1, 0, 0, 0, 1, 0]
    mr.PixelSpacing, mr.SliceThickness, mr.Rows, mr.Columns = [0.5, 0.5], 3, 4, 6
    slices.append(mr)
code = hd.sr.CodedConcept("91723000", "SCT", "Anatomical Structure")
lesion = hd.seg.SegmentDescription(1, "lesion", code, code, hd.seg.SegmentAlgorithmTypeValues.MANUAL)


def volume_mm3(marked, **options):
    mask = np.zeros((8, 4, 6), np.uint8)
    mask[marked] = 1
    names = (uid.generate_uid(), 1, uid.generate_uid(), 1, "maker", "model", "1", "1")
    hd.seg.Segmentation(slices, mask, "BINARY", [lesion], *names, **options).save_as(sys.argv[1])
    image = sitk.ReadImage(sys.argv[1])
    volume = float(np.count_nonzero(sitk.GetArrayFromImage(image)) * np.prod(image.GetSpacing()))
    true = float(mask.sum() * 0.5 * 0.5 * 3)
    print("  slices", marked, options, "have spacing", image.GetSpacing(), "volume", volume, "instead of", true)
    return volume, true


print("SimpleITK", sitk.Version.VersionString(), "reads of highdicom", hd.__version__)
assert volume_mm3([1, 4], omit_empty_frames=False) == (36, 36), "this has changed: all frames written"
assert volume_mm3([1, 4]) == (108, 36), "this has changed: evenly spaced frames"
assert volume_mm3([1, 2, 5]) == (72, 54), "this has changed: unevenly spaced frames"
PY
