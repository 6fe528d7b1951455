#!/usr/bin/env bash
# napari-medical-image-formats gives a DICOM folder its voxel size in reverse: slices of 5 mm become 0.5 mm apart.
#
# A folder is read by SimpleITK, which states spacing and origin as x, y, z, and shown as an array z, y, x; the plugin
# hands one to the other as they come. The patient is a tenth as high and ten times as broad from left to right, and
# volumes in mm stay right, so that no sum tells. A single file (NIfTI, NRRD, one DICOM slice) is read by itk, whose
# spacing as an item has numpy's order, and is right: the same scan as folder and as NIfTI file lies on two grids.
# Set layer.scale = layer.scale[::-1] and layer.translate = layer.translate[::-1] on layers of folders.
# Seen with napari-medical-image-formats 0.3.8, napari 0.9.2, SimpleITK 2.5.7, itk 5.4.7, itk-napari-conversion 0.5.1,
# pydicom 3.0.2 (writing), numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "napari-medical-image-formats==0.3.8" "napari==0.9.2" \
    "SimpleITK==2.5.7" "itk==5.4.7" "itk-napari-conversion==0.5.1" "pydicom==3.0.2" "numpy==2.4.6"
cd "$work"
QT_QPA_PLATFORM=offscreen venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from napari_medical_image_formats import napari_get_reader
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

study, series, frame = generate_uid(), generate_uid(), generate_uid()
Path("scan").mkdir()
for k in range(4):
    slice_ = Dataset()
    slice_.file_meta = FileMetaDataset()
    slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, generate_uid()
    slice_.StudyInstanceUID, slice_.SeriesInstanceUID, slice_.FrameOfReferenceUID = study, series, frame
    slice_.Modality, slice_.InstanceNumber = "CT", k + 1
    slice_.ImagePositionPatient, slice_.ImageOrientationPatient = [10, 20, 30 + 5 * k], [1, 0, 0, 0, 1, 0]
    slice_.PixelSpacing, slice_.SliceThickness = [0.75, 0.5], 5  # rows 0.75 mm apart, columns 0.5 mm
    slice_.Rows, slice_.Columns, slice_.SamplesPerPixel = 6, 8, 1
    slice_.PhotometricInterpretation, slice_.PixelRepresentation = "MONOCHROME2", 0
    slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit = 16, 16, 15
    slice_.RescaleSlope, slice_.RescaleIntercept = 1, 0
    slice_.PixelData = np.zeros((6, 8), np.uint16).tobytes()
    slice_.save_as(f"scan/{k}.dcm", enforce_file_format=True)
files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames("scan")
sitk.WriteImage(sitk.ReadImage(files), "scan.nii")


def opened(path):
    """Shape, scale and translate of the layer that the plugin makes."""
    ((data, options, _),) = napari_get_reader(path)(path)
    return data.shape, *([round(float(n), 6) for n in options[name]] for name in ("scale", "translate"))


folder, nifti = opened("scan"), opened("scan.nii")
print("napari-medical-image-formats", version("napari-medical-image-formats"), "shape, scale, translate of z, y, x:")
print("  DICOM folder", *folder, "\n  the same as NIfTI", *nifti)
assert nifti == ((4, 6, 8), [5, 0.75, 0.5], [30, 20, 10]), f"this has changed: {nifti}"
assert folder == ((4, 6, 8), [0.5, 0.75, 5], [10, 20, 30]), f"this has changed: {folder}"
PY
