#!/usr/bin/env bash
# RosettaSciIO reads the value -60 of an 8-bit MRC volume as 196: what is dark becomes bright.
#
# Mode 0 of the MRC2014 format holds bytes with a sign, and mrcfile writes and reads it so; electron tomograms and
# label volumes are stored in it. RosettaSciIO, and by it HyperSpy and napari-rosettasciio, takes them for bytes
# without a sign. All values below zero lie above all others, the mean of a volume around 0 is 127.5 instead of -0.5,
# and thresholds find the background. Values from 0 to 127 are right, so that many files show nothing, and so are
# modes 1 and 2.
# Seen with rosettasciio 0.15.0, mrcfile 1.5.4, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "rosettasciio==0.15.0" "mrcfile==1.5.4" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import mrcfile
import numpy as np
from rsciio.mrc import file_reader

values = np.arange(-128, 128).reshape(4, 8, 8)
found = {}
for kind in (np.int8, np.int16, np.float32):
    with mrcfile.new("volume.mrc", data=values.astype(kind), overwrite=True) as file:
        mode = int(file.header.mode)
    again = mrcfile.read("volume.mrc")
    assert again.dtype == kind and np.array_equal(again, values), f"this has changed: {again}"
    data = file_reader("volume.mrc")[0]["data"]
    found[mode] = data.dtype.name, float(data[1, 0, 4]), float(data.mean())
print("mrcfile", version("mrcfile"), "type, value and mean:", float(values[1, 0, 4]), float(values.mean()))
print("RosettaSciIO", version("rosettasciio"), "of modes 0, 1 and 2:", found)
assert found == {0: ("uint8", 196, 127.5), 1: ("int16", -60, -0.5), 2: ("float32", -60, -0.5)}, f"this has changed: {found}"
PY
