#!/usr/bin/env bash
# panoptica reverses the voxel size of SimpleITK images and of files: slices of 5 mm count as 0.5 mm in its distances.
#
# SimpleITK states spacing as x, y, z and gives arrays as z, y, x; panoptica pairs the two as they come. With nibabel the
# orders agree. For the same two files the average surface distance is 1.48 mm by path or SimpleITK image, 3.09 mm by
# nibabel image and by hand; the normalized surface Dice is 0.44 instead of 0.21. Dice and IoU do not change, nor
# does anything where voxels are cubes. A path is read with SimpleITK where both are installed.
# Seen with panoptica 2.1.7, SimpleITK 2.5.7, nibabel 5.4.2, numpy 2.2.6, scipy 1.15.3, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "panoptica==2.1.7" "SimpleITK==2.5.7" "nibabel==5.4.2" "numpy==2.2.6" "scipy==1.15.3"
cd "$work"
PANOPTICA_CITATION_REMINDER=false venv/bin/python - <<'PY'
from importlib.metadata import version

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from panoptica import InputType, Metric, Panoptica_Evaluator
from scipy import ndimage

spacing_zyx = 5, 1, 0.5
truth, found = np.zeros((2, 24, 40, 40), np.uint8)
truth[8:14, 10:20, 10:25] = 1
found[9:16, 11:22, 12:25] = 1
for name, mask in (("truth.nii.gz", truth), ("found.nii.gz", found)):
    image = sitk.GetImageFromArray(mask)
    image.SetSpacing(spacing_zyx[::-1])
    sitk.WriteImage(image, name)

surface_metrics = [Metric.ASSD, Metric.HD, Metric.NSD]
evaluator = Panoptica_Evaluator(
    expected_input=InputType.MATCHED_INSTANCE,
    instance_metrics=[Metric.DSC, Metric.IOU, *surface_metrics],
    decision_metric=Metric.IOU,
    decision_threshold=0.1,
)


def scores(found, truth, **options):
    (result,) = evaluator.evaluate(found, truth, **options).values()
    result = (result[0] if isinstance(result, tuple) else result).to_dict()
    return [round(float(result[f"sq_{name}"]), 3) for name in ("dsc", "assd", "hd", "nsd")]


names = "found.nii.gz", "truth.nii.gz"
ways = {
    "path": scores(*names),
    "SimpleITK": scores(*map(sitk.ReadImage, names)),
    "nibabel": scores(*map(nib.load, names)),
    "arrays": scores(found, truth, voxelspacing=spacing_zyx),
}
# by scipy alone, on borders of whole voxels
borders = [mask & ~ndimage.binary_erosion(mask) for mask in (truth > 0, found > 0)]
pairs = [
    ndimage.distance_transform_edt(~other, sampling=spacing_zyx)[border]
    for border, other in (borders, borders[::-1])
]
mean, largest = np.mean([pair.mean() for pair in pairs]), max(pair.max() for pair in pairs)
print("panoptica", version("panoptica"), "gives Dice, average and largest surface distance in mm, surface Dice:")
for way, result in ways.items():
    print(" ", way, result)
print("  by hand: average", round(mean, 3), "largest", round(largest, 3))
assert np.allclose(ways["arrays"][1:3], [mean, largest], atol=1e-3), f"this has changed: {ways}"
assert ways["nibabel"] == ways["arrays"] == [0.615, 3.095, 10.198, 0.209], f"this has changed: {ways}"
assert ways["path"] == ways["SimpleITK"] == [0.615, 1.482, 10.062, 0.436], f"this has changed: {ways}"
PY
