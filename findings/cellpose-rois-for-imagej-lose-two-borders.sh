#!/usr/bin/env bash
# cellpose's ImageJ ROI of a cell of 10 x 10 pixels covers 81 square pixels, that of a round cell of 197 covers 174.
#
# save_rois, which the GUI calls as well, traces the middles of a cell's outermost pixels and writes them as they are.
# In ImageJ whole coordinates are the corners of pixels, upper left first: the pixel in column 10 reaches from 10 to 11.
# The right column and the lowest row of a cell are so cut off, and its middle moves by half a pixel up and left. Areas
# and sums measured in ImageJ are too small, the smaller the cell the more (19 % at 10 pixels, 10 % at 20). The masks
# themselves are right. stardist adds half a pixel to the outlines that it exports.
# Seen with cellpose 4.1.1 (4.2.1.1 has the same code), torch 2.13.0, roifile 2026.2.10 (reading), numpy 2.4.6, Python
# 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "torch==2.13.0" "cellpose==4.1.1" "roifile==2026.2.10" "scipy==1.17.1" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
import contextlib
import io
from importlib.metadata import version

import numpy as np
import roifile

with contextlib.redirect_stdout(io.StringIO()):  # cellpose speaks of its network when it is imported
    from cellpose.io import save_rois

y, x = np.mgrid[:80, :80]
cells = {
    "10 x 10": (abs(y - 14.5) < 5) & (abs(x - 14.5) < 5),
    "20 x 20": (abs(y - 19.5) < 10) & (abs(x - 54.5) < 10),
    "radius of 8": (y - 55) ** 2 + (x - 40) ** 2 <= 8**2,
}
save_rois(sum(n * cell for n, cell in enumerate(cells.values(), 1)).astype(np.uint16), "cells.tif")
print("cellpose", version("cellpose"), "pixels, area of the ROI, left and right end of the cell, of the ROI:")
found = {}
for (name, cell), roi in zip(cells.items(), roifile.roiread("cells_rois.zip"), strict=True):
    along, down = roi.coordinates().astype(float).T
    area = abs(np.dot(along, np.roll(down, 1)) - np.dot(down, np.roll(along, 1))) / 2
    columns = np.nonzero(cell.any(0))[0]
    ends = (int(columns[0]), int(columns[-1]) + 1), (float(along.min()), float(along.max()))
    found[name] = int(cell.sum()), float(area), *ends
    print(f"  {name:12}", *found[name])
assert found["10 x 10"] == (100, 81, (10, 20), (10, 19)), f"this has changed: {found}"
assert found["20 x 20"] == (400, 361, (45, 65), (45, 64)), f"this has changed: {found}"
assert found["radius of 8"] == (197, 174, (32, 49), (32, 48)), f"this has changed: {found}"
PY
