#!/usr/bin/env bash
# SciFiReaders gives the rows of a Gwyddion scan the width: a fibril of 4.7 x 0.4 um becomes one of 2.4 x 0.8 um.
#
# Which axis is called x is told by the number of points alone. Where a scan has as many rows as columns, as nearly all
# have, the first axis of the array, which runs down the image, becomes x and gets the width, the second y and the height.
# Nothing shows it while the scanned area is square; scans of 10 x 5 um with 128 x 128 points have every length and angle
# wrong. With 64 x 128 points the same scan is right. (Its steps are also 1 % too large: width over points less one.)
# Seen with SciFiReaders 0.12.7, sidpy 0.12.9, pycroscopy-gwyfile 1.0.2, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "SciFiReaders==0.12.7" "sidpy==0.12.9" \
    "pycroscopy-gwyfile==1.0.2" "pyUSID==0.0.12" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from gwyfile.objects import GwyContainer, GwyDataField, GwySIUnit
from SciFiReaders import GwyddionReader

WIDTH, HEIGHT = 10e-6, 5e-6  # of the scanned area in metres


def fibril_in_um(rows, columns):
    """Length along a row and width across it of a fibril, by the axes that SciFiReaders gives, and their names."""
    heights = np.zeros((rows, columns))
    heights[10 : 10 + 10 * rows // 128, 30:90] = 1e-9
    unit = GwySIUnit(unitstr="m")
    scan = GwyContainer()
    scan["/0/data"] = GwyDataField(heights, xreal=WIDTH, yreal=HEIGHT, si_unit_xy=unit, si_unit_z=unit)
    scan["/0/data/title"] = "Height"
    scan.tofile("scan.gwy")
    read = GwyddionReader("scan.gwy").read()
    read = list(read.values())[0] if isinstance(read, dict) else read[0]
    assert np.array_equal(np.asarray(read), heights), "this has changed: the heights themselves"
    down, along = read.dim_0, read.dim_1
    pixels = [np.ptp(np.nonzero(heights)[axis]) + 1 for axis in (1, 0)]
    steps = [float(np.diff(np.asarray(axis))[0]) for axis in (along, down)]
    return [round(float(n * step * 1e6), 2) for n, step in zip(pixels, steps)], [down.name, along.name]


square, oblong = fibril_in_um(128, 128), fibril_in_um(64, 128)
true = [round(60 / 128 * WIDTH * 1e6, 2), round(10 / 128 * HEIGHT * 1e6, 2)]
print("SciFiReaders", version("SciFiReaders"), "fibril (length, width in um), axes: 128 x 128 points", *square)
print("  64 x 128 points", *oblong, "true", true)
assert true == [4.69, 0.39], f"the fibril: {true}"
assert square == ([2.36, 0.79], ["x", "y"]), f"this has changed: {square}"
assert oblong == ([4.72, 0.4], ["y", "x"]), f"this has changed: {oblong}"
PY
