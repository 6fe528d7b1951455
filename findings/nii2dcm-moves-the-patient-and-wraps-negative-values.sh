#!/usr/bin/env bash
# nii2dcm writes a NIfTI volume to another place in the patient, and -1000 as 64536, without a word.
#
# NIfTI counts x and y to the right and the front, DICOM to the left and the back. The directions of the axes are turned,
# the position is not, and every slice lies one step too low: a lesion at (10, 20, 30) mm is written at (-6, -16, 27) mm
# and appears outside of the masks and plans of the same patient. Values are cast to 16 bits without sign: -1000 HU
# becomes 64536 with a rescale slope of 1, and a diffusion map of 0.0012 becomes 0.
# Seen with nii2dcm 0.1.6, nibabel 5.0.0, pydicom 2.3.0, SimpleITK 2.5.7, numpy 1.23.2, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "nii2dcm==0.1.6" "nibabel==5.0.0" "pydicom==2.3.0" "SimpleITK==2.5.7" "numpy==1.23.2"
cd "$work"
venv/bin/python -W ignore - <<'PY'
import subprocess
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk


def written(name, voxels, affine):
    """The DICOM files that nii2dcm makes of a NIfTI file."""
    nib.save(nib.Nifti1Image(voxels, affine), f"{name}.nii.gz")
    Path(name).mkdir()
    subprocess.run(["venv/bin/nii2dcm", f"{name}.nii.gz", name, "-d", "MR"], check=True, capture_output=True)
    return sorted(map(str, Path(name).iterdir()))


def place_of_lesion(image):
    z, y, x = np.argwhere(sitk.GetArrayFromImage(image) == 1000)[0]
    return np.round(image.TransformIndexToPhysicalPoint((int(x), int(y), int(z))), 2).tolist()


# an axial volume as scanners store it: x to the left, y to the back
affine = np.array([[-1, 0, 0, -8], [0, -1, 0, -18], [0, 0, 3, 21], [0, 0, 0, 1]])
voxels = np.zeros((6, 8, 5), np.int16)
voxels[2, 2, 3] = 1000
written("lesion", voxels, affine)
right = (np.diag([-1, -1, 1, 1]) @ affine @ [2, 2, 3, 1])[:3].tolist()  # DICOM's x and y
nifti = place_of_lesion(sitk.ReadImage("lesion.nii.gz"))
(series,) = sitk.ImageSeriesReader.GetGDCMSeriesIDs("lesion")
names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames("lesion", series)
dicom = place_of_lesion(sitk.ReadImage(names))
print("nii2dcm", version("nii2dcm"), "writes a lesion at", nifti, "mm to", dicom, "mm, both as SimpleITK reads them")

hounsfield = np.resize(np.array([-1000, -100, 60, 300], np.int16), (6, 8, 2))
diffusion = np.resize(np.array([0.0012, 1.9], np.float32), (6, 8, 2))
values = []
for name, voxels in (("hounsfield", hounsfield), ("diffusion", diffusion)):
    slice_ = pydicom.dcmread(written(name, voxels, affine)[0])
    assert (slice_.PixelRepresentation, slice_.RescaleSlope, slice_.RescaleIntercept) == (0, 1, 0), "this has changed"
    stored = np.unique(np.frombuffer(slice_.PixelData, np.uint16)).tolist()
    values.append((np.unique(voxels[..., 0]).tolist(), stored))
    print("  values", values[-1][0], "as", stored)
assert nifti == right == [10, 20, 30], f"the NIfTI file: {nifti} {right}"
assert dicom == [-6, -16, 27], f"this has changed: {dicom}"
assert values[0] == ([-1000, 60], [60, 64536]), f"this has changed: {values}"
assert values[1][1] == [0], f"this has changed: {values}"
PY
