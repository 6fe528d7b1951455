#!/usr/bin/env bash
# pySPM tears the rows of a Bruker scan that is not square, and gives it twice its height: 10 x 10 um instead of 10 x 5.
#
# Fibrils and single molecules are often scanned with fewer lines, such as 512 x 128, to save time. A NanoScope file
# states samples per line and number of lines; pySPM takes the one for the other. A ramp along x of 8 points in 4 lines
# becomes 8 lines of 4 points, in which every other line goes on where the one before stopped, and the height of the
# scan is multiplied by the same wrong ratio. Each value is right, and so are their mean and their spread; lengths,
# angles, levelling and whatever is found in the picture are not. Square scans are right. AFMReader reads .spm files by
# pySPM. Nothing is said.
# Seen with pySPM 0.6.3, gwyddionpy 0.1.0 (the other reader, which runs Gwyddion), scikit-image 0.26.0, scipy 1.17.1,
# numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --no-compile --disable-pip-version-check "pySPM==0.6.3" "gwyddionpy==0.1.0" \
    "gwyddionpy-converter==0.1.0" "scikit-image==0.26.0" "scipy==1.17.1" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version
from pathlib import Path

import gwyddionpy
import numpy as np
import pySPM

HEADER = r"""\*File list
\Version: 0x05120130
\Data length: 4096
\*Scanner list
\@Sens. Zsens: V 10.00000 nm/V
\*Ciao image list
\Data offset: 4096
\Data length: {bytes}
\Bytes/pixel: 2
\Samps/line: {points}
\Number of lines: {lines}
\Aspect Ratio: 2:1
\Scan Size: {width} {height} ~m
\Line Direction: Trace
\@2:Image Data: S [Height] "Height"
\@2:Z scale: V [Sens. Zsens] (0.006713867 V/LSB) 440.0000 V
\@2:Z offset: V [Sens. Zsens] (0.006713867 V/LSB) 0.0000 V
\*File list end
"""
UNIT = 440 / 65536 * 10  # nm for each count


def look(lines, points, width, height):
    """The first two rows in counts and the width and height in um, by Gwyddion and by pySPM."""
    ramp = np.tile(np.arange(points, dtype="<i2") * 100, (lines, 1))
    header = HEADER.format(bytes=ramp.nbytes, points=points, lines=lines, width=width, height=height)
    Path("scan.spm").write_bytes(header.replace("\n", "\r\n").encode().ljust(4096, b"\x1a") + ramp.tobytes())
    by_gwyddion = gwyddionpy.load("scan.spm").channels["Height"]
    by_pyspm = pySPM.Bruker("scan.spm").get_channel("Height")
    size = by_pyspm.size["real"]
    assert size["unit"] == "um" and by_pyspm.zscale == "nm", f"this has changed: {size}"
    rows = [np.round(data[:2] / UNIT).astype(int).tolist() for data in (by_gwyddion.data * 1e9, by_pyspm.pixels)]
    sizes = [[round(side * 1e6, 3) for side in (by_gwyddion.xreal, by_gwyddion.yreal)], [size["x"], size["y"]]]
    return list(zip(rows, sizes, strict=True))


oblong, square = look(4, 8, 10, 5), look(4, 4, 10, 10)
print("first two rows, width and height in um of 4 lines of 8 points:")
for name, seen in zip(("gwyddionpy", "pySPM"), oblong, strict=True):
    print(f"  {name} {version(name)}", *seen)
ramp = [0, 100, 200, 300, 400, 500, 600, 700]
assert oblong[0] == ([ramp, ramp], [10, 5]), f"this has changed: {oblong[0]}"
assert oblong[1] == ([ramp[:4], ramp[4:]], [10, 10]), f"this has changed: {oblong[1]}"
assert square[0] == square[1] == ([ramp[:4], ramp[:4]], [10, 10]), f"this has changed: {square}"
PY
