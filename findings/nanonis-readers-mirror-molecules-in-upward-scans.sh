#!/usr/bin/env bash
# nanonispy2 and pySPM give the mirror image of a molecule where the microscope scanned it upwards or on the way back.
#
# A Nanonis file (.sxm) holds the lines as they were recorded: from the lowest to the highest where SCAN_DIR says "up",
# as every second image of a series has it, and from right to left in the backward channel. Both readers hand the lines
# on in that order, without a word. Two scans of one place, up and down, or forward and backward, so show it mirrored:
# drift between them cannot be measured, defects are matched with others, and a chiral molecule turns into its
# counterpart; nothing in one picture shows it. Gwyddion gives the same picture four times.
# Flip by scan.header["scan_dir"] == "up", and backward channels from left to right.
# Seen with nanonispy2 1.2.0, pySPM 0.6.3, gwyddionpy 0.1.0 (the other reader, which runs Gwyddion), scikit-image
# 0.26.0, scipy 1.17.1, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --no-compile --disable-pip-version-check "nanonispy2==1.2.0" "pySPM==0.6.3" \
    "gwyddionpy==0.1.0" "gwyddionpy-converter==0.1.0" "scikit-image==0.26.0" "scipy==1.17.1" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version
from pathlib import Path

import gwyddionpy
import numpy as np
import pySPM
from nanonispy2.read import Scan

HEADER = """:NANONIS_VERSION:
2
:SCANIT_TYPE:
              FLOAT            MSBFIRST
:ACQ_TIME:
       10.0
:SCAN_PIXELS:
       {points}       {lines}
:SCAN_TIME:
             1.000E+0             1.000E+0
:SCAN_RANGE:
           8.000000E-9           4.000000E-9
:SCAN_OFFSET:
             0.000000E+0         0.000000E+0
:SCAN_ANGLE:
            0.000E+0
:SCAN_DIR:
{direction}
:BIAS:
            1.000E+0
:DATA_INFO:
\tChannel\tName\tUnit\tDirection\tCalibration\tOffset
\t14\tZ\tm\tboth\t1.000E+0\t0.000E+0

:SCANIT_END:


"""
surface = np.zeros((4, 8))  # a molecule of three atoms, 3, 2 and 1 nm high: upper left, upper right, lower left
surface[0, 0], surface[0, 7], surface[3, 0] = 3, 2, 1


def corners(heights):
    heights = np.round(np.asarray(heights) * 1e9).astype(int)
    return [heights[0, 0], heights[0, -1], heights[-1, 0], heights[-1, -1]]


found = {}
for direction, first_to_last in (("down", surface), ("up", surface[::-1])):
    path = f"{direction}.sxm"
    header = HEADER.format(points=8, lines=4, direction=direction).encode() + b"\x1a\x04"
    recorded = np.stack([first_to_last, first_to_last[:, ::-1]]) * 1e-9
    Path(path).write_bytes(header + recorded.astype(">f4").tobytes())
    by_gwyddion, by_nanonispy2, by_pyspm = gwyddionpy.load(path).channels, Scan(path).signals["Z"], pySPM.SXM(path)
    for way in ("forward", "backward"):
        images = by_gwyddion[f"Z ({way.capitalize()})"].data, by_nanonispy2[way], by_pyspm.get_channel("Z", way).pixels
        found[direction, way] = [[int(height) for height in corners(image)] for image in images]
names = [f"{name} {version(name)}" for name in ("gwyddionpy", "nanonispy2", "pySPM")]
print("heights at the upper left and right, lower left and right by", ", ".join(names))
for (direction, way), seen in found.items():
    print(f"  {direction:5} {way:9}", *seen)
true, upside_down, mirrored, turned = [3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1], [0, 1, 2, 3]
assert all(seen[0] == true for seen in found.values()), f"this has changed: {found}"
assert all(seen[1] == seen[2] for seen in found.values()), f"this has changed: {found}"
assert [seen[1] for seen in found.values()] == [true, mirrored, upside_down, turned], f"this has changed: {found}"
PY
