#!/usr/bin/env bash
# MONAI mirrors an NRRD whose space is "LPS" left-right and front-back; one that says the same in words it reads right.
#
# The format knows the short names RAS, LAS and LPS for "left-posterior-superior" and its like. NrrdReader turns LPS
# into its own RAS for the long name only, and takes all other spaces for RAS: a voxel 40 mm to the left of the middle
# is given a place 40 mm to the right, and orientation codes, resampling to other images of the patient and left-right
# flips in training follow. "left-anterior-superior" is taken for RAS in either spelling. SimpleITK gives the same place
# to all.
# Seen with MONAI 1.6.1, torch 2.13.0, pynrrd 1.1.3, SimpleITK 2.5.7 (the other reader), numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "torch==2.13.0" "monai==1.6.1" \
    "pynrrd==1.1.3" "SimpleITK==2.5.7" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import nrrd
import numpy as np
import SimpleITK as sitk
from monai.data import NrrdReader
from monai.transforms import LoadImage

PLACE_LPS = np.array([40.0, -12.0, 30.0])  # of the first voxel in mm: left, front, up
SIGNS = {  # of left, posterior and superior in each space
    "left-posterior-superior": (1, 1, 1),
    "LPS": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "RAS": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "LAS": (1, -1, 1),
}
volume = np.zeros((4, 5, 6), np.int16)
found = {}
for space, signs in SIGNS.items():
    directions = np.diag(np.array(signs, float))  # the axes of the array run the same way in all of the files
    nrrd.write("t1.nrrd", volume, {"space": space, "space directions": directions, "space origin": PLACE_LPS * signs})
    ras = np.asarray(LoadImage(reader=NrrdReader(), image_only=True)("t1.nrrd").affine)[:3, 3]
    found[space] = (ras * (-1, -1, 1)).tolist(), list(sitk.ReadImage("t1.nrrd").GetOrigin())
    print("MONAI", version("monai"), f"{space:24} at {found[space][0]}, SimpleITK {found[space][1]}")
right, mirrored, turned = PLACE_LPS.tolist(), [-40, 12, 30], [-40, -12, 30]
assert all(other == right for _, other in found.values()), f"this has changed: {found}"
monai = [ours for ours, _ in found.values()]
assert monai == [right, mirrored, right, right, turned, turned], f"this has changed: {found}"
PY
