#!/usr/bin/env bash
# brainglobe-utils writes a brain of 0.025 mm voxels as a NIfTI file whose affine says 1 mm; two readers take two sizes.
#
# to_nii takes the `scale` of the image and puts it into the header's pixdim; the affine beside it, which is the
# identity where none is given, stays at 1 mm, and the file says that it is the one to use (sform code 2, qform code 0).
# nibabel's affine, which nilearn, MONAI and plugins build on, makes 1000 mm3 of a lesion of 1000 voxels; it is 0.031
# mm3, as SimpleITK reads it, with a warning, from pixdim. nibabel's get_zooms() returns the scale, so that a look at
# the header finds nothing wrong. With a scaled affine given beside `scale` the file is right.
# Seen with brainglobe-utils 0.11.2, nibabel 5.4.2, SimpleITK 2.5.7, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "brainglobe-utils==0.11.2" "nibabel==5.4.2" "SimpleITK==2.5.7" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import nibabel
import numpy as np
import SimpleITK as sitk
from brainglobe_utils.IO.image.save import to_nii

SCALE_MM = 0.05, 0.025, 0.025
lesion = np.zeros((20, 40, 50), np.uint8)
lesion[5:15, 10:20, 20:30] = 1


def sizes(name):
    """Voxel size in mm by nibabel's header, its affine and SimpleITK; volumes of the lesion by the last two."""
    image, other = nibabel.load(name), sitk.ReadImage(name)
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.Execute(other)
    by = image.header.get_zooms(), nibabel.affines.voxel_sizes(image.affine), other.GetSpacing()
    volumes = lesion.sum() * abs(np.linalg.det(image.affine)), statistics.GetPhysicalSize(1)
    return [[round(float(size), 4) for size in way] for way in by], [round(float(volume), 5) for volume in volumes]


to_nii(lesion, "scale.nii.gz", scale=SCALE_MM)
to_nii(lesion, "both.nii.gz", scale=SCALE_MM, affine_transform=np.diag([*SCALE_MM, 1]))
found = {name: sizes(name) for name in ("scale.nii.gz", "both.nii.gz")}
print("brainglobe-utils", version("brainglobe-utils"), "mm by header, affine, SimpleITK; mm3 by affine, SimpleITK:")
for name, (ways, volumes) in found.items():
    print(f"  {name:12}", *ways, *volumes)
right, volume = list(SCALE_MM), 0.03125
assert found["both.nii.gz"] == ([right] * 3, [volume] * 2), f"this has changed: {found}"
assert found["scale.nii.gz"] == ([right, [1, 1, 1], right], [1000, volume]), f"this has changed: {found}"
PY
