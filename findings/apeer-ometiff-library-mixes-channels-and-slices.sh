#!/usr/bin/env bash
# apeer-ometiff-library, given an image back with its own metadata, writes slices of one stain into the other channel.
#
# read_ometiff brings every image into the order time, z, channel, y, x and returns the file's OME-XML with it;
# write_ometiff takes the two, as a module between others in a workflow does. The planes are then written in the order
# of the array, and the XML still says that of the file that was read. Where that has z before channel (XYZCT, which
# tifffile writes for CZYX), a stack of 2 channels and 3 slices keeps its shape and mixes its planes: channel 0 gets two
# slices of channel 0 with one of channel 1 between them. Files with channel before z (XYCZT) are right, so that it
# depends on the program that wrote the file. Without the XML, write_ometiff states the true order, and no pixel size.
# Seen with apeer-ometiff-library 1.11.0, tifffile 2026.3.3 (writing, and the other reader), numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "apeer-ometiff-library==1.11.0" "tifffile==2026.3.3" \
    "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version

import numpy as np
import tifffile
from apeer_ometiff_library import io

planes = np.array([[10, 11, 12], [20, 21, 22]], np.uint16)  # channel 0 and 1, slices 0, 1 and 2
stack = np.broadcast_to(planes[:, :, None, None], (2, 3, 4, 5))  # channel, z, y, x
tifffile.imwrite("CZYX.ome.tif", stack, metadata={"axes": "CZYX"})
tifffile.imwrite("ZCYX.ome.tif", stack.swapaxes(0, 1), metadata={"axes": "ZCYX"})
found = {}
for axes in ("CZYX", "ZCYX"):
    array, xml = io.read_ometiff(f"{axes}.ome.tif")
    assert np.array_equal(array[0, :, :, 0, 0].T, planes), f"this has changed: reading gives {array[0, :, :, 0, 0]}"
    io.write_ometiff("back.ome.tif", array, xml)
    again, _ = io.read_ometiff("back.ome.tif")
    with tifffile.TiffFile("back.ome.tif") as back:
        image = back.series[0]
        by_tifffile = image.asarray().transpose([image.axes.index(axis) for axis in "CZYX"])[:, :, 0, 0]
    assert np.array_equal(by_tifffile, again[0, :, :, 0, 0].T), "this has changed: the two readers disagree"
    found[axes] = by_tifffile.tolist()
print("apeer-ometiff-library", version("apeer-ometiff-library"), "planes of channel 0 and 1:", planes.tolist())
for axes, back in found.items():
    print(f"  {axes} read and written back:", back)
assert found["CZYX"] == [[10, 20, 11], [21, 12, 22]], f"this has changed: {found}"
assert found["ZCYX"] == planes.tolist(), f"this has changed: {found}"
PY
