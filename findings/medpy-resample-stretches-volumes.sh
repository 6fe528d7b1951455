#!/usr/bin/env bash
# MedPy's resample stretches a volume: what lay within 45 mm fills 49 mm of the result, and lesions are moved and larger.
#
# From ten slices of 5 mm, medpy.filter.image.resample makes 50 and states 1 mm for each, but takes the values of the last
# of them from the last old slice, at 45 mm, though it now lies at 49 mm. A lesion at 40 mm is found at 43.6 mm, one 15 mm
# long measures 16.3 mm, and the image no longer fits masks or other series of the patient. The fewer and the thicker the
# slices, the worse. SimpleITK keeps each value at its place.
# Seen with MedPy 0.5.2, SimpleITK 2.5.7, scipy 1.17.1, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "MedPy==0.5.2" "SimpleITK==2.5.7" "scipy==1.17.1" "numpy==2.4.6"
"$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
import SimpleITK as sitk
from medpy.filter.image import resample
from medpy.io import Header

# MedPy's axes are x, y, z: each voxel holds its own z in mm, so a resampled voxel tells where its value came from
depth_mm = np.broadcast_to(5.0 * np.arange(10), (4, 4, 10))
new, header = resample(depth_mm, Header(spacing=(1, 1, 5)), (1, 1, 1), bspline_order=1)
stated_mm = header.get_offset()[2] + header.get_voxel_spacing()[2] * np.arange(new.shape[2])

image = sitk.GetImageFromArray(depth_mm.T)
image.SetSpacing((1, 1, 5))
right = sitk.Resample(image, (4, 4, 46), sitk.Transform(), sitk.sitkLinear, (0, 0, 0), (1, 1, 1))

print("MedPy", version("MedPy"), "makes", new.shape, "voxels of", header.get_voxel_spacing(), "mm")
for place in (10, 25, 40):
    print(f"  at {place} mm it holds what lies at {new[0, 0, place]:.2f} mm, SimpleITK", right.GetPixel(0, 0, place))
assert header.get_voxel_spacing() == (1, 1, 1) and header.get_offset()[2] == 0, f"this has changed: {header}"
assert np.allclose(sitk.GetArrayFromImage(right)[:, 0, 0], np.arange(46)), "this has changed: SimpleITK"
assert new.shape == (4, 4, 50) and np.allclose(new[0, 0], stated_mm * 45 / 49), f"this has changed: {new[0, 0]}"
PY
