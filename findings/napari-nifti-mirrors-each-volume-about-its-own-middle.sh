#!/usr/bin/env bash
# napari-nifti shows a lesion at z = 81 mm in a scan and at 51 mm in a crop of it; both files say 36 mm.
#
# To have the head at the top it gives each axis a negative scale and begins at the far end, so that every volume is
# mirrored about its own middle: a voxel at (8, 14, 36) mm is put where the one at the opposite end lies. Two volumes
# of the same extent still fit. A crop, a mask of a part, another series of the patient, points in mm do not: the
# layers lie apart by the difference of their extents, and the position under the mouse is that of another voxel. The
# voxels themselves, and what is written again, are right. Seen with napari-nifti 0.0.20, medvol 0.0.22, nibabel
# 5.4.2, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "napari-nifti==0.0.20" "medvol==0.0.22" "nibabel==5.4.2" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version

import nibabel as nib
import numpy as np
from napari_nifti._reader import napari_get_reader

whole = np.zeros((20, 30, 40), np.uint8)
whole[8, 7, 12] = 1  # the lesion: one voxel at x = 8, y = 14, z = 36 mm
affine = np.diag([1.0, 2.0, 3.0, 1.0])
crop = whole[:, :, 10:20]  # slices 10 to 19, which begin at z = 30 mm
affine_of_crop = affine.copy()
affine_of_crop[2, 3] = 30


def places(name, voxels, affine):
    """The lesion's z, y, x in mm by nibabel, and where napari draws it: translate + scale * index."""
    nib.save(nib.Nifti1Image(voxels, affine), name)
    again = nib.load(name)
    x, y, z = again.affine[:3] @ [*np.argwhere(np.asanyarray(again.dataobj))[0], 1]
    ((data, layer, kind),) = napari_get_reader(name)(name)
    index = np.argwhere(np.asarray(data))[0]
    drawn = np.array(layer["translate"]) + np.array(layer["scale"]) * index
    return (float(z), float(y), float(x)), tuple(float(value) for value in drawn)


found = {"whole.nii": places("whole.nii", whole, affine), "crop.nii": places("crop.nii", crop, affine_of_crop)}
print("napari-nifti", version("napari-nifti"), "z, y, x in mm by nibabel and as drawn:", found)
assert found["whole.nii"][0] == found["crop.nii"][0] == (36, 14, 8), f"this has changed: {found}"
assert found["whole.nii"][1] == (81, 44, 11), f"this has changed: {found}"
assert found["crop.nii"][1] == (51, 44, 11), f"this has changed: {found}"
PY
