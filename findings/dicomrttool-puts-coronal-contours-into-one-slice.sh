#!/usr/bin/env bash
# DicomRTTool reads a lesion outlined on three coronal slices as one on the first slice, with a third of its volume.
#
# It finds the slice of a contour by its z in mm alone, which tells axial slices apart. Coronal and sagittal slices (of
# MR, of a breast or a knee) all have the same z, and the slices of an oblique cardiac series other ones than their
# place along the stack says. All contours fall on one slice, one over the other; in the plane they lie right, so that a
# picture of that slice looks sound. No word is said. The same lesion in an axial series is right, and rt-utils, which
# wrote the file, reads both back.
# Seen with DicomRTTool 6.2.0, rt-utils 1.2.7 (writing, and the other reader), pydicom 3.0.2, SimpleITK 2.5.7, numpy
# 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "DicomRTTool==6.2.0" "rt-utils==1.2.7" "pydicom==3.0.2" \
    "SimpleITK==2.5.7" "opencv-python==5.0.0.93" "scikit-image==0.26.0" "numpy==2.4.6"
cd "$work"
TQDM_DISABLE=1 venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version
from pathlib import Path

import numpy as np
from DicomRTTool import DicomReaderWriter
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from rt_utils import RTStructBuilder

lesion = np.zeros((64, 64, 8), bool)  # row, column, slice
lesion[20:40, 10:40, 2:5] = True


def write_series(folder, orientation):
    """Eight slices of 64 x 64 pixels of 1 mm, 3 mm apart."""
    Path(folder).mkdir()
    step = 3 * np.cross(orientation[:3], orientation[3:])
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for n in range(8):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        image = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
        image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.Modality, image.PatientName, image.PatientID, image.StudyID, image.SeriesNumber = "MR", "A", "A", "1", 1
        image.PatientBirthDate = image.PatientSex = image.AccessionNumber = image.ReferringPhysicianName = ""
        image.StudyDate, image.StudyTime = "20260101", "120000"
        image.StudyDescription = image.SeriesDescription = "a"
        image.InstanceNumber, image.SliceThickness, image.PixelSpacing = n + 1, 3, [1, 1]
        image.ImageOrientationPatient = list(orientation)
        image.ImagePositionPatient = (np.array([-30, -20, 50]) + n * step).tolist()
        image.Rows = image.Columns = 64
        image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelData = np.full((64, 64), n, np.uint16).tobytes()
        image.save_as(f"{folder}/{n}.dcm", enforce_file_format=True)


def pixels_per_slice(mask):
    return [int(count) for count in mask.sum((0, 1))]


def read_back(folder, orientation):
    """Pixels of the lesion on each slice: by DicomRTTool and by rt-utils."""
    write_series(folder, orientation)
    structures = RTStructBuilder.create_new(dicom_series_path=folder)
    structures.add_roi(mask=lesion, name="lesion")
    structures.save(f"{folder}/structures.dcm")
    other = RTStructBuilder.create_from(folder, f"{folder}/structures.dcm").get_roi_mask_by_name("lesion")
    reader = DicomReaderWriter(arg_max=True, verbose=False)
    reader.walk_through_folders(folder, thread_count=1)
    reader.set_contour_names_and_associations(contour_names=["lesion"])
    reader.set_index(reader.indexes_with_contours[0])
    reader.get_images_and_mask()
    return pixels_per_slice(reader.mask.transpose(1, 2, 0) > 0), pixels_per_slice(other)


planes = {"axial": (1, 0, 0, 0, 1, 0), "coronal": (1, 0, 0, 0, 0, -1), "sagittal": (0, 1, 0, 0, 0, -1)}
found = {name: read_back(name, orientation) for name, orientation in planes.items()}
written = pixels_per_slice(lesion)
print("DicomRTTool", version("DicomRTTool"), "pixels of the lesion on each slice; written:", written)
for name, (ours, other) in found.items():
    print(f"  {name:9} {ours} rt-utils {other}")
assert all(other == written for _, other in found.values()), f"this has changed: {found}"
assert found["axial"][0] == written == [0, 0, 600, 600, 600, 0, 0, 0], f"this has changed: {found}"
assert found["coronal"][0] == found["sagittal"][0] == [600, 0, 0, 0, 0, 0, 0, 0], f"this has changed: {found}"
PY
