#!/usr/bin/env bash
# slicerio gives region 65537 of a NIfTI segmentation to region 1, and region 40000 the number -25536.
#
# The reader of 3D Slicer's segmentations casts NIfTI labels to 16-bit integers, so that ids of atlases and of
# instances counted in large volumes lose 65536 as often as it takes. Two regions fall together, others become
# negative, and a region with the id 65536 is background and not listed. nibabel keeps all of them, and so does
# slicerio where the same labels are stored as .seg.nrrd. Seen with slicerio 1.4.0, nibabel 5.4.2, pynrrd 1.1.3, numpy
# 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "slicerio==1.4.0" "nibabel==5.4.2" "pynrrd==1.1.3" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version

import nibabel as nib
import nrrd
import numpy as np
import slicerio

ids = [0, 1, 40000, 65536, 65537]
regions = np.repeat(np.array(ids, np.int32), 8).reshape(5, 2, 4)
nib.save(nib.Nifti1Image(regions, np.eye(4)), "regions.nii")
header = {"space": "left-posterior-superior", "space directions": np.eye(3), "kinds": ["domain"] * 3}
for number, region in enumerate(ids[1:]):
    header |= {f"Segment{number}_ID": f"Segment_{number}", f"Segment{number}_LabelValue": str(region)}
nrrd.write("regions.seg.nrrd", regions, header)


def counted(values):
    return {int(region): int(number) for region, number in zip(*np.unique(values, return_counts=True), strict=True)}


of_nifti = slicerio.read_segmentation("regions.nii")
of_nrrd = slicerio.read_segmentation("regions.seg.nrrd")
listed = [[segment["labelValue"] for segment in found["segments"]] for found in (of_nifti, of_nrrd)]
voxels = [counted(found["voxels"]) for found in (of_nifti, of_nrrd)]
print("slicerio", version("slicerio"), "voxels per region of NIfTI and NRRD:", *voxels, "listed:", listed)
assert counted(nib.load("regions.nii").dataobj) == voxels[1] == dict.fromkeys(ids, 8), f"this has changed: {voxels}"
assert voxels[0] == {-25536: 8, 0: 16, 1: 16}, f"this has changed: {voxels}"
assert listed == [[-25536, 1], ids[1:]], f"this has changed: {listed}"
PY
