#!/usr/bin/env bash
# napari-itk-io shows the mask of a lesion 13 cm to the left, outside of its scan, where the two store voxels in other
# orders.
#
# The voxels of a medical image may run to the patient's left or right, front or back; the file says which way, and
# programs write the same mask either way (nibabel's as_closest_canonical, SimpleITK's DICOMOrient, most converters of
# DICOM). The plugin takes spacing and origin of ITK's image and leaves its directions out: each layer begins at the
# place of its first voxel and always runs the same way. A mask in other order is mirrored, and begins where the scan
# ends; of an oblique or a sagittal series no voxel but the first lies where it should. The conversion that the plugin
# calls (itk_napari_conversion) hands out the directions, and nothing says that they were not used.
# Seen with napari-itk-io 0.4.1, itk-napari-conversion 0.5.1, itk-io 5.4.7, napari 0.9.2, SimpleITK 2.5.7 (the other
# reader), numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --no-compile --disable-pip-version-check \
    "napari-itk-io==0.4.1" "itk-napari-conversion==0.5.1" "itk-core==5.4.7" "itk-io==5.4.7" "napari==0.9.2" \
    "SimpleITK==2.5.7" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import SimpleITK as sitk
from napari.layers import Image
from napari_itk_io._reader import napari_get_reader

lesion = np.zeros((10, 40, 40), np.uint8)  # z, y, x
lesion[4, 12, 5:8] = 1
mask = sitk.GetImageFromArray(lesion)
mask.SetSpacing((2, 2, 3))
mask.SetOrigin((-40, -40, -100))
sitk.WriteImage(mask, "LPS.nii.gz")
sitk.WriteImage(sitk.DICOMOrient(mask, "RAS"), "RAS.nii.gz")


def middle_in_file(path):
    image = sitk.ReadImage(path)
    z, y, x = np.argwhere(sitk.GetArrayFromImage(image)).mean(axis=0)
    return np.round(image.TransformContinuousIndexToPhysicalPoint((x, y, z))[::-1]).astype(int).tolist()


def middle_in_napari(path):
    ((data, arguments, _),) = napari_get_reader(path)(path)
    arguments = {name: value for name, value in arguments.items() if name not in ("channel_axis", "rgb")}
    layer = Image(data, **arguments)
    return np.round(layer.data_to_world(np.argwhere(data).mean(axis=0))).astype(int).tolist()


files = ("LPS.nii.gz", "RAS.nii.gz")
stated = {path: middle_in_file(path) for path in files}
shown = {path: middle_in_napari(path) for path in files}
print("napari-itk-io", version("napari-itk-io"), "middle of the lesion (z, y, x in mm), stated and shown:")
for path in files:
    print(f"  {path}", stated[path], shown[path])
assert stated["LPS.nii.gz"] == stated["RAS.nii.gz"] == [-88, -16, -28], f"this has changed: {stated}"
assert shown == {"LPS.nii.gz": [-88, -16, -28], "RAS.nii.gz": [-88, 92, 104]}, f"this has changed: {shown}"
PY
