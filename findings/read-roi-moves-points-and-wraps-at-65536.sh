#!/usr/bin/env bash
# read-roi rounds the sub-pixel coordinates of ImageJ polygons and points, and on whole slides it loses 65536 pixels.
#
# ImageJ stores the corners of a polygon as 16-bit offsets and, where they have fractions, as floats beside them. read-roi
# gives the integers only: a cell counted at (5.5, 6.5) is returned at (6, 6), rounded to even. A polygon on a slide at
# y = 102500 is returned at y = 36964, since the offset of its bounding box has 16 bits; roifile returns 102500. Lines
# and rectangles keep their fractions. Seen with read-roi 1.6.0, roifile 2026.2.10, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "read-roi==1.6.0" "roifile==2026.2.10" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version

import numpy as np
import roifile
from read_roi import read_roi_file


def both_readers(points, kind):
    roi = roifile.ImagejRoi.frompoints(np.array(points, np.float32))
    roi.roitype = kind
    roi.tofile("marks.roi")
    (read,) = read_roi_file("marks.roi").values()
    exact = roifile.ImagejRoi.fromfile("marks.roi").coordinates().tolist()
    return exact, [list(point) for point in zip(read["x"], read["y"])]


counted = both_readers([[5.5, 6.5], [7.25, 8]], roifile.ROI_TYPE.POINT)
tumour = both_readers([[51250.5, 102500.5], [53750.5, 102500.5], [53750.5, 104490.5]], roifile.ROI_TYPE.POLYGON)
for name, (exact, read) in {"points": counted, "polygon": tumour}.items():
    print(name, "by roifile", version("roifile"), exact, "by read-roi", version("read-roi"), read)
assert counted == ([[5.5, 6.5], [7.25, 8]], [[6, 6], [7, 8]]), f"this has changed: {counted}"
assert tumour[0][0] == [51250.5, 102500.5], f"this has changed: {tumour}"
assert tumour[1][0] == [51250, 102500 - 65536], f"this has changed: {tumour}"
PY
