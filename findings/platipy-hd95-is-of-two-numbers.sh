#!/usr/bin/env bash
# platipy's 95 % Hausdorff distance is the percentile of two numbers, and its sigma of distances grows with the organ.
#
# hausdorffDistance95 of compute_surface_metrics is the 95th percentile of the largest distance in either direction, so
# that it is the plain Hausdorff distance or up to 5 % less: a row of 20 voxels that sticks out of an organ, 0.2 % of
# its border, makes 19 mm, where 95 % of all distances are 0. sigmaSurfaceDistance is not divided by the number of
# border voxels: an organ found 2 mm aside has one of 27 mm at 10 mm of size and of 125 at 40, where it is 0.9.
# Mean and largest distance are right. Take MedPy's hd95 for the one, and for the other divide by the square root of the
# number of border voxels of both masks.
# Seen with platipy 0.7.2, SimpleITK 2.5.7, MedPy 0.5.2, scipy 1.17.1, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "SimpleITK==2.5.7" "MedPy==0.5.2" "scipy==1.17.1" \
    "matplotlib==3.10.8" "pandas==2.3.3" "scikit-image==0.26.0" "numpy==2.4.6"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-deps "platipy==0.7.2"
"$work/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import SimpleITK as sitk
from medpy.metric.binary import hd95
from platipy.imaging.label.comparison import compute_surface_metrics
from scipy import ndimage


def organ(size, shift=0):
    """A cube of voxels of 1 mm, moved along its last axis."""
    mask = np.zeros((size + 35,) * 3, bool)
    mask[5 : 5 + size, 5 : 5 + size, 5 + shift : 5 + size + shift] = True
    return mask


def distances(truth, found):
    """From each border voxel of one to the next border voxel of the other, both ways together, in mm, by scipy."""
    borders = [mask & ~ndimage.binary_erosion(mask) for mask in (truth, found)]
    pairs = (borders, borders[::-1])
    return np.concatenate([ndimage.distance_transform_edt(~other)[border] for border, other in pairs])


def by_platipy(truth, found):
    images = (sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (truth, found))
    return {name: float(value) for name, value in compute_surface_metrics(*images).items()}


truth, found = organ(40), organ(40)
found[25, 25, 45:65] = True  # a row of 20 voxels that sticks out
measured, scipy = by_platipy(truth, found), distances(truth, found)
hd = measured["hausdorffDistance"], measured["hausdorffDistance95"]
right = float(np.percentile(scipy, 95)), float(hd95(found, truth))
print("platipy", version("platipy"), "HD, HD95", hd, "by scipy", float(scipy.max()), right[0], "MedPy's HD95", right[1])
assert hd == (20, 19) and scipy.max() == 20, f"this has changed: {hd}"
assert right == (0, 0), f"this has changed: {right}"

sigmas = {}
for size in (10, 20, 40):
    truth, found = organ(size), organ(size, 2)
    measured, scipy = by_platipy(truth, found), distances(truth, found)
    sigmas[size] = round(measured["sigmaSurfaceDistance"]), round(float(scipy.std()), 1)
    assert np.isclose(measured["meanSurfaceDistance"], scipy.mean()), f"this has changed: {measured}"
    by_root = measured["sigmaSurfaceDistance"] / len(scipy) ** 0.5
    assert np.isclose(by_root, scipy.std(), rtol=0.01), f"this has changed: {by_root}, {scipy.std()}"
print("size of an organ that is found 2 mm aside: (sigma by platipy, by scipy)", sigmas)
assert sigmas == {10: (27, 0.9), 20: (60, 0.9), 40: (125, 0.9)}, f"this has changed: {sigmas}"
PY
