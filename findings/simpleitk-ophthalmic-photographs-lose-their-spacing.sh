#!/usr/bin/env bash
# SimpleITK gives every DICOM ophthalmic photograph a pixel of 1 mm, whatever its Pixel Spacing says.
#
# Corneal confocal microscopes and fundus cameras export Ophthalmic Photography images; their module holds Pixel Spacing
# (DICOM PS3.3 C.8.17.2). The reader decides by the SOP class which attribute to look at, and knows none for this class:
# a nerve of 384 pixels of 1.04 micrometres is 384 mm long, not 0.4 mm. The same attributes in a Secondary Capture, or as
# VL Photographic Image, are read right. Seen with SimpleITK 2.5.7, files by pydicom 3.0.2, numpy 2.2.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "SimpleITK==2.5.7" "pydicom==3.0.2" "numpy==2.2.6"
"$work/venv/bin/python" - "$work/cornea.dcm" <<'PY'
import sys

import numpy as np
import SimpleITK as sitk
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

spacings = {}
for sop_class in (
    uid.OphthalmicPhotography8BitImageStorage,
    uid.VLPhotographicImageStorage,
    uid.SecondaryCaptureImageStorage,
):
    photo = Dataset()
    photo.file_meta = FileMetaDataset()
    photo.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    photo.SOPClassUID, photo.SOPInstanceUID = sop_class, uid.generate_uid()
    photo.StudyInstanceUID, photo.SeriesInstanceUID = uid.generate_uid(), uid.generate_uid()
    photo.Modality, photo.InstanceNumber, photo.ImageType = "OP", 1, ["ORIGINAL", "PRIMARY"]
    photo.PatientName, photo.PatientID = "Test^Eye", "1"
    photo.ContentDate, photo.ContentTime, photo.AcquisitionDateTime = "20260101", "120000", "20260101120000"
    photo.NumberOfFrames, photo.BurnedInAnnotation, photo.LossyImageCompression = 1, "NO", "00"
    photo.ImageLaterality, photo.PresentationLUTShape = "L", "IDENTITY"
    photo.Rows, photo.Columns, photo.SamplesPerPixel = 32, 48, 1
    photo.PhotometricInterpretation, photo.PixelRepresentation = "MONOCHROME2", 0
    photo.BitsAllocated, photo.BitsStored, photo.HighBit = 8, 8, 7
    photo.PixelSpacing = [0.00104, 0.00104]
    photo.PixelData = np.zeros((32, 48), np.uint8).tobytes()
    photo.save_as(sys.argv[1], enforce_file_format=True)
    spacings[sop_class.name] = sitk.ReadImage(sys.argv[1]).GetSpacing()[:2]
print("SimpleITK", sitk.Version.VersionString(), "reads a Pixel Spacing of 0.00104 mm as", spacings)
assert list(spacings.values()) == [(1, 1), (0.00104, 0.00104), (0.00104, 0.00104)], f"this has changed: {spacings}"
PY
