#!/usr/bin/env bash
# rt-utils takes pixels and images for square: it moves and reshapes a lesion in RTSTRUCT, and cuts one off in reading.
#
# Pixel Spacing gives the distance between rows first, then the one between columns. rt-utils multiplies the step along a
# row by the first: where pixels measure 0.5 x 0.8 mm, a contour at x = 20 mm is written at 12.5 mm and the area keeps its
# size, so that nothing looks odd; read again by rt-utils the mask is the same, and the error stays unseen until another
# program opens it. A mask that is read gets the shape (columns, rows): from images wider than high, all right of the
# square is gone.
# Seen with rt-utils 1.2.7, pydicom 3.0.2, SimpleITK 2.5.7, opencv-python 5.0.0.93, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "rt-utils==1.2.7" "pydicom==3.0.2" "SimpleITK==2.5.7" "opencv-python==5.0.0.93" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from rt_utils import RTStructBuilder


def write_series(rows, columns, pixel_spacing):
    study, series, frame = uid.generate_uid(), uid.generate_uid(), uid.generate_uid()
    shutil.rmtree("series", ignore_errors=True)
    Path("series").mkdir()
    for k in range(3):
        mr = Dataset()
        mr.file_meta = FileMetaDataset()
        mr.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        mr.SOPClassUID, mr.SOPInstanceUID = uid.MRImageStorage, uid.generate_uid()
        mr.StudyInstanceUID, mr.SeriesInstanceUID, mr.FrameOfReferenceUID = study, series, frame
        for empty in "PatientName PatientID PatientBirthDate PatientSex StudyID StudyDate StudyTime".split():
            setattr(mr, empty, "")
        mr.AccessionNumber, mr.ReferringPhysicianName, mr.Modality, mr.InstanceNumber = "", "", "MR", k + 1
        mr.ImagePositionPatient, mr.ImageOrientationPatient = [0, 0, 3 * k], [1, 0, 0, 0, 1, 0]
        mr.PixelSpacing, mr.SliceThickness = pixel_spacing, 3
        mr.Rows, mr.Columns, mr.SamplesPerPixel, mr.PhotometricInterpretation = rows, columns, 1, "MONOCHROME2"
        mr.PixelRepresentation, mr.BitsAllocated, mr.BitsStored, mr.HighBit = 0, 16, 16, 15
        mr.PixelData = np.zeros((rows, columns), np.uint16).tobytes()
        mr.save_as(f"series/{k}.dcm", enforce_file_format=True)


def stored_and_true_box(rows, columns, pixel_spacing):
    """The x and y range of a lesion's contour in mm, the range by SimpleITK, and the mask that rt-utils reads."""
    write_series(rows, columns, pixel_spacing)
    mask = np.zeros((rows, columns, 3), bool)
    mask[4:9, 25:32, 1] = True
    structures = RTStructBuilder.create_new("series")
    structures.add_roi(mask=mask, name="lesion")
    structures.save("lesion.dcm")
    contour = pydicom.dcmread("lesion.dcm").ROIContourSequence[0].ContourSequence[0]
    points = np.array(contour.ContourData, float).reshape(-1, 3)
    slice_ = sitk.ReadImage("series/1.dcm")
    corners = np.array([slice_.TransformIndexToPhysicalPoint(corner) for corner in ((25, 4, 0), (31, 8, 0))])
    read = RTStructBuilder.create_from("series", "lesion.dcm").get_roi_mask_by_name("lesion")
    return [np.round([box.min(0)[:2], box.max(0)[:2]], 2).tolist() for box in (points, corners)], read, mask


(stored, true), read, mask = stored_and_true_box(36, 36, [0.5, 0.8])
print("rt-utils", version("rt-utils"), "writes a lesion from", *stored, "mm; SimpleITK has it from", *true)
assert true == [[20, 2], [24.8, 4]], f"this has changed: {true}"
assert stored == [[12.5, 3.2], [15.5, 6.4]], f"this has changed: {stored}"
assert np.array_equal(read, mask), "this has changed: read by rt-utils itself"

(stored, true), read, mask = stored_and_true_box(20, 36, [0.5, 0.5])
print("and reads", int(read.sum()), "of", int(mask.sum()), "voxels in an image of 20 rows, 36 columns; shape", read.shape)
assert stored == true == [[12.5, 2], [15.5, 4]], f"this has changed: {stored}"
assert read.shape == (36, 20, 3) and not read.any(), f"this has changed: {read.shape} {read.sum()}"

_, read, mask = stored_and_true_box(36, 36, [0.5, 0.5])
assert np.array_equal(read, mask), "this has changed: square pixels and images"
PY
