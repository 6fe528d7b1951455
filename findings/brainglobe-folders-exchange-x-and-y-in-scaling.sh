#!/usr/bin/env bash
# brainglobe-utils halves y where x is to be halved, if the planes are files of a folder; a stack in one file is right.
#
# load_any takes a scaling factor for each of x, y and z ("along the x dimension"). For a folder or a list of planes it
# scales the rows by the one for x and the columns by the one for y, for a stack columns and rows as it should. Where
# pixels are not square, or where only one axis is resampled, a volume is squeezed the wrong way: a cell of 20 x 8
# pixels becomes one of 20 x 4. NIfTI files are not scaled at all, whatever is asked for. Nothing is said in any of
# these.
# Seen with brainglobe-utils 0.11.2, tifffile 2026.3.3 (writing), nibabel 5.4.2 (writing), scikit-image 0.26.0, numpy
# 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "brainglobe-utils==0.11.2" "tifffile==2026.3.3" \
    "nibabel==5.4.2" "scikit-image==0.26.0" "dask==2026.8.0" "numpy==2.4.6"
cd "$work"
TQDM_DISABLE=1 venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version
from pathlib import Path

import nibabel
import numpy as np
import tifffile
from brainglobe_utils.IO.image.load import load_any

volume = np.zeros((6, 40, 60), np.uint16)
volume[2:5, 10:18, 10:30] = 1000  # 20 pixels along x, 8 along y
Path("planes").mkdir()
for z, plane in enumerate(volume):
    tifffile.imwrite(f"planes/plane_{z:03}.tif", plane)
tifffile.imwrite("stack.tif", volume)
nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), "stack.nii.gz")


def extents(name, factor):
    """Shape and the extent in x and y of what is brighter than half, after scaling x."""
    scaled = np.asarray(load_any(name, x_scaling_factor=factor, y_scaling_factor=1, z_scaling_factor=1))
    _, y, x = np.nonzero(scaled > 500)
    return tuple(map(int, scaled.shape)), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1


print("brainglobe-utils", version("brainglobe-utils"), "shape (z, y, x) and extent of a cell in x and y:")
found = {}
for name in ("stack.tif", "planes", "stack.nii.gz"):
    found[name] = extents(name, 1), extents(name, 0.5)
    print(f"  {name:12} as it is {found[name][0]}, x by 0.5 {found[name][1]}")
assert {whole for whole, _ in found.values()} == {((6, 40, 60), 20, 8)}, f"this has changed: {found}"
assert found["stack.tif"][1] == ((6, 40, 30), 10, 8), f"this has changed: {found}"
assert found["planes"][1] == ((6, 20, 60), 20, 4), f"this has changed: {found}"
assert found["stack.nii.gz"][1] == ((6, 40, 60), 20, 8), f"this has changed: {found}"
PY
