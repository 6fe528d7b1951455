#!/usr/bin/env bash
# antspyx turns -1000 HU of an integer array into 4294966296, and reads two regions of the Allen mouse atlas as one.
#
# ants.from_numpy takes signed integers for unsigned ones: air in CT, and all below zero in a phase or a difference
# image, becomes the brightest of the image, and a slice of -1000 and 40 HU has a mean of 2.1e9. ants.image_read gives
# 32-bit floats of whatever a file holds, which keep whole numbers up to 16777216 only: regions 312782550 and
# 312782554 both become 312782560, which is in no table of names, also where pixeltype="unsigned int" is asked for.
# Neither says so. from_numpy keeps -1000 as float32, and the ids as uint32. Seen with antspyx 0.6.3, nibabel 5.4.2
# (the other reader), numpy 2.3.5, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --no-compile --disable-pip-version-check "antspyx==0.6.3" "nibabel==5.4.2" "numpy==2.3.5"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import ants
import nibabel as nib
import numpy as np

ct = np.full((8, 8, 2), -1000, np.int16)  # air, and half of it tissue of 40 HU
ct[4:] = 40
values = {
    kind.__name__: np.unique(ants.from_numpy(ct.astype(kind)).numpy()).tolist()
    for kind in (np.int16, np.int32, np.int64, np.float32)
}
mean = float(ants.from_numpy(ct).mean())
print("antspyx", version("antspyx"), "makes of -1000 and 40:", values, "with a mean of", mean)
assert values.pop("float32") == [-1000, 40], f"this has changed: {values}"
assert list(values.values()) == [[40, 4294966296]] * 3, f"this has changed: {values}"
assert round(mean) == 2147483168, f"this has changed: {mean}"

ids = [0, 1, 997, 312782550, 312782554]
regions = np.repeat(np.array(ids, np.int32), 8).reshape(5, 2, 4)
nib.save(nib.Nifti1Image(regions, np.eye(4)), "regions.nii")


def counted(array):
    return {int(region): int(number) for region, number in zip(*np.unique(array, return_counts=True), strict=True)}


by_nibabel = counted(nib.load("regions.nii").dataobj)
kept = counted(ants.from_numpy(regions.astype(np.uint32)).numpy())
read = counted(ants.image_read("regions.nii").numpy())
asked = counted(ants.image_read("regions.nii", pixeltype="unsigned int").numpy())
print("voxels per region:", read, "with pixeltype:", asked, "by nibabel:", by_nibabel)
assert by_nibabel == kept == dict.fromkeys(ids, 8), f"this has changed: {by_nibabel} {kept}"
assert read == asked == {0: 8, 1: 8, 997: 8, 312782560: 16}, f"this has changed: {read} {asked}"
PY
