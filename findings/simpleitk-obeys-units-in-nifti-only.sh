#!/usr/bin/env bash
# SimpleITK converts micrometres to millimetres in NIfTI, takes them for millimetres in NRRD and MetaImage, and nibabel
# converts nothing: one volume has three sizes, and no reader says so.
#
# Microscopes and small-animal scanners write such files. NIfTI's xyzt_units scale the spacing and the origin by 0.001;
# NRRD's `space units` and MetaImage's `DistanceUnits` are not looked at, and are gone from what SimpleITK writes.
# Seen with SimpleITK 2.5.7, nibabel 5.4.2, pynrrd 1.1.3, numpy 2.2.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "SimpleITK==2.5.7" "nibabel==5.4.2" "pynrrd==1.1.3" "numpy==2.2.6"
cd "$work"
venv/bin/python - <<'PY'
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import SimpleITK as sitk

voxels = np.arange(24, dtype=np.uint8)
volume = nib.Nifti1Image(voxels.reshape(2, 3, 4), np.diag([0.5, 0.5, 2, 1]))
volume.header.set_xyzt_units("micron")
nib.save(volume, "cells.nii")
nrrd.write(
    "cells.nrrd",
    voxels.reshape(2, 3, 4),
    {"space dimension": 3, "space directions": np.diag([0.5, 0.5, 2]), "space units": ["um", "um", "um"]},
)
Path("cells.mha").write_bytes(
    b"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nDistanceUnits = um\n"
    b"ElementSpacing = 0.5 0.5 2\nDimSize = 2 3 4\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n" + voxels.tobytes()
)
spacings = {name: sitk.ReadImage(name).GetSpacing() for name in ("cells.nii", "cells.nrrd", "cells.mha")}
zooms = tuple(float(zoom) for zoom in nib.load("cells.nii").header.get_zooms())
sitk.WriteImage(sitk.ReadImage("cells.nrrd"), "again.nrrd")
has_units = ["space units" in nrrd.read_header(name) for name in ("cells.nrrd", "again.nrrd")]
print("SimpleITK", sitk.Version.VersionString(), "reads 0.5 x 0.5 x 2 micrometres as", spacings)
print("nibabel", nib.__version__, "reads the NIfTI file's as", zooms)
print("the NRRD file has a unit before and after SimpleITK:", has_units)
assert np.allclose(spacings["cells.nii"], (0.0005, 0.0005, 0.002)), f"this has changed: {spacings}"
assert spacings["cells.nrrd"] == spacings["cells.mha"] == zooms == (0.5, 0.5, 2), f"this has changed: {spacings} {zooms}"
assert has_units == [True, False], f"this has changed: {has_units}"
PY
