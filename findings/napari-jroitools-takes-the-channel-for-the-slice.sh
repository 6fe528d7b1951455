#!/usr/bin/env bash
# napari-jroitools puts ImageJ's outline of a nucleus in slice 12 into the first slice: it takes the channel for it.
#
# A ROI of a hyperstack states channel, slice and frame, in this order. The plugin takes the first of them for z, so
# that every outline that was drawn in channel 1 lies in slice 0, those of channel 2 in slice 1, whatever their slice
# was. ROIs of a plain stack have one position and are right. Rectangles are one pixel too wide and too high besides: of
# 10 x 10 pixels 121. roifile reads slice and size: use it, and set the first coordinate to z_position - 1.
# Seen with napari-jroitools 0.0.19, napari-plugin-engine 0.2.1, roifile 2026.2.10, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "napari-plugin-engine==0.2.1" "roifile==2026.2.10" "numpy==2.4.6"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-deps "napari-jroitools==0.0.19"
cd "$work"
venv/bin/python - <<'PY'
import contextlib
import io
from importlib.metadata import version

import numpy as np
import roifile
from napari_jroireader import napari_get_reader

OUTLINE = [[20, 30], [30, 30], [33, 35], [30, 40], [20, 40]]  # x, y of the corners of a nucleus
BOX = [[20, 30], [30, 30], [30, 40], [20, 40]]  # 10 x 10 pixels


def read(corners, kind, **place):
    """By roifile and by the plugin: the slice, counted from 0, and the corners."""
    drawn = roifile.ImagejRoi.frompoints(np.array(corners, np.int32), **place)
    drawn.roitype = kind
    if kind == roifile.ROI_TYPE.RECT:
        (drawn.left, drawn.top), (drawn.right, drawn.bottom) = corners[0], corners[2]
    drawn.tofile("nucleus.roi")
    roi = roifile.ImagejRoi.fromfile("nucleus.roi")
    with contextlib.redirect_stdout(io.StringIO()):  # it tells what it reads
        (((shape,), _, _),) = napari_get_reader("nucleus.roi")("nucleus.roi")
    (z,) = set(shape[:, 0].tolist())
    return (max(roi.z_position, roi.position) - 1, sorted(roi.coordinates()[: len(corners)].tolist())), (
        int(z),
        sorted(shape[:, :0:-1].tolist()),
    )


polygon, rectangle = roifile.ROI_TYPE.POLYGON, roifile.ROI_TYPE.RECT
places = {(c, z): read(OUTLINE, polygon, c=c, z=z, t=0) for c, z in ((0, 11), (0, 25), (1, 11))}
slices = {place: (right[0], plugin[0]) for place, (right, plugin) in places.items()}
in_a_stack = read(BOX, rectangle, position=11)
print("(channel, slice): (slice by roifile, by napari-jroitools", version("napari-jroitools") + ")", slices)
print("rectangle in a plain stack by roifile", *in_a_stack[0], "by napari-jroitools", *in_a_stack[1])
assert all(right[1] == plugin[1] == sorted(OUTLINE) for right, plugin in places.values()), f"this has changed: {places}"
assert slices == {(0, 11): (11, 0), (0, 25): (25, 0), (1, 11): (11, 1)}, f"this has changed: {slices}"
assert in_a_stack[0] == (11, sorted(BOX)), f"this has changed: {in_a_stack}"
assert in_a_stack[1] == (11, [[20, 30], [20, 41], [31, 30], [31, 41]]), f"this has changed: {in_a_stack}"
PY
