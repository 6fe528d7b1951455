#!/usr/bin/env bash
# napari-roi-manager places ImageJ's rectangles right and its outlines half a pixel down and right: of one object, 100
# pixels become 100 as a rectangle and 121 as a polygon.
#
# In ImageJ whole coordinates of an area are the corners of pixels, in napari their middles. The plugin takes half a
# pixel away from rectangles and ovals, not from polygons, freehand outlines and rotated rectangles. What was outlined
# in ImageJ so gains a row and a column when napari makes labels of it, and its middle moves. On the way back nothing is
# added to polygons either: a round trip is exact and shows no fault, but what was outlined in napari lies half a pixel
# too far up and left in ImageJ.
# Seen with napari-roi-manager 0.0.6, napari 0.9.2, PyQt6 6.11.0 (needed to import it), roifile 2026.2.10, numpy 2.4.6,
# Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "napari-roi-manager==0.0.6" "napari==0.9.2" \
    "PyQt6==6.11.0" "PyQt6-Qt6==6.11.2" "roifile==2026.2.10" "numpy==2.4.6"
QT_QPA_PLATFORM=offscreen "$work/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from napari.layers import Shapes
from napari_roi_manager._dataclasses import RoiTuple
from napari_roi_manager.ij._convert import roi_to_shape, shape_to_roi
from roifile import ROI_TYPE, ImagejRoi

# the pixels of columns 10 to 19 and rows 5 to 14, as ImageJ stores them
corners = np.array([(10, 5), (20, 5), (20, 15), (10, 15)], np.int32)
rois = {
    "rectangle": ImagejRoi(roitype=ROI_TYPE.RECT, left=10, top=5, right=20, bottom=15),
    "polygon": ImagejRoi.frompoints(corners),
}
found = {}
print("napari-roi-manager", version("napari-roi-manager"), "corner in napari, pixels, middle (y, x):")
for name, roi in rois.items():
    shape = roi_to_shape(ImagejRoi.frombytes(roi.tobytes()))
    outline = np.squeeze(shape.data)
    pixels = np.argwhere(Shapes([outline], shape_type=shape.shape_type).to_labels((30, 40)))
    found[name] = outline.min(0).tolist(), len(pixels), pixels.mean(0).tolist()
    print(f"  {name:10}", *found[name])

on_edges = np.array([(4.5, 9.5), (4.5, 19.5), (14.5, 19.5), (14.5, 9.5)])  # the same pixels' edges in napari
back = {kind: shape_to_roi(RoiTuple(on_edges, kind)).subpixel_coordinates.min(0).tolist() for kind in rois}
print("  drawn in napari along the edges of the same pixels, corner in ImageJ (x, y), right is (10, 5):", back)
assert found["rectangle"] == ([4.5, 9.5], 100, [9.5, 14.5]), f"this has changed: {found}"
assert found["polygon"] == ([5, 10], 121, [10, 15]), f"this has changed: {found}"
assert back == {"rectangle": [10, 5], "polygon": [9.5, 4.5]}, f"this has changed: {back}"
PY
