#!/usr/bin/env bash
# AFMReader tears the rows of a Gwyddion image that is not square, and multiplies every channel by 1e9, phase included.
#
# AFM scans are often oblong (512 x 128 lines). A .gwy file stores rows of xres values; AFMReader shapes them as
# (xres, yres): a ramp along x becomes a saw across the image, and the pixel size comes out for the wrong number of
# pixels. The factor to nanometres depends on the lateral unit alone, so a phase of 30 degrees is returned as 3e10.
# gwyfile reads back both. Seen with AFMReader 0.0.7, gwyfile 0.3.0, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "AFMReader==0.0.7" "gwyfile==0.3.0" "numpy==2.4.6"
LOGURU_LEVEL=WARNING "$work/venv/bin/python" - "$work/scan.gwy" <<'PY'
import sys
from importlib.metadata import version

import gwyfile
import numpy as np
from AFMReader.gwy import load_gwy
from gwyfile.objects import GwyContainer, GwyDataField

ramp = np.tile(np.arange(4.0), (2, 1))  # 2 lines of 4 points, rising along the line
size = {"xreal": 4e-6, "yreal": 2e-6, "si_unit_xy": "m"}
scan = GwyContainer()
scan["/0/data/title"], scan["/0/data"] = "Height", GwyDataField(ramp * 1e-9, si_unit_z="m", **size)
scan["/1/data/title"], scan["/1/data"] = "Phase", GwyDataField(np.full((2, 2), 30.0), si_unit_z="deg", **size)
scan.tofile(sys.argv[1])
same = gwyfile.load(sys.argv[1])["/0/data"].data * 1e9
height, pixel_nm = load_gwy(sys.argv[1], "Height")
phase, _ = load_gwy(sys.argv[1], "Phase")
print("gwyfile", version("gwyfile"), "reads", same.tolist(), "of 1000 nm a pixel")
print("AFMReader", version("AFMReader"), "reads", height.tolist(), "of", pixel_nm, "nm; phase of 30 degrees:", phase[0, 0])
assert np.allclose(same, ramp), f"this has changed: {same.tolist()}"
assert np.allclose(height, [[0, 1], [2, 3], [0, 1], [2, 3]]), f"this has changed: {height.tolist()}"
assert np.isclose(pixel_nm, 2000) and phase[0, 0] == 3e10, f"this has changed: {pixel_nm} {phase[0, 0]}"
PY
