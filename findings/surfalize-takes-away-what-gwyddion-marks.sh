#!/usr/bin/env bash
# surfalize deletes the grains that are marked in a Gwyddion file, and scrambles XYZ points that are listed by
# columns.
#
# A mask in Gwyddion marks pixels, mostly the grains or fibrils that were found; surfalize reads each marked pixel as
# NaN, so that of an AFM scan of fibrils 20 nm high on a flat ground only the ground is left: the largest height is 0.
# gwyfile gives heights and mask. Points of an XYZ file may come in any order; surfalize takes them for rows, and
# where a program lists them column by column, a ridge along y lies across the image. Its step is the extent over the
# number of points, not of the gaps between them: 4 points 1 um apart are 0.75 um apart. Nothing is said in any of
# these.
# Seen with surfalize 0.19.2, gwyfile 0.3.0, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "surfalize==0.19.2" "gwyfile==0.3.0" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import gwyfile
import numpy as np
from gwyfile.objects import GwyContainer, GwyDataField
from surfalize import Surface

size = {"xreal": 6e-6, "yreal": 4e-6, "si_unit_xy": "m"}
heights = np.zeros((4, 6))
heights[:, 2] = 20e-9  # a fibril, one pixel wide
scan = GwyContainer()
scan["/0/data/title"] = "Height"
scan["/0/data"] = GwyDataField(heights, si_unit_z="m", **size)
scan.tofile("plain.gwy")
scan["/0/mask"] = GwyDataField((heights > 0).astype(float), si_unit_z="", **size)
scan.tofile("marked.gwy")

kept = gwyfile.load("marked.gwy")["/0/data"].data
found = {name: Surface.load(name).data * 1000 for name in ("plain.gwy", "marked.gwy")}  # nm
largest = {name: round(float(np.nanmax(data)), 6) for name, data in found.items()}
print("surfalize", version("surfalize"), "largest height in nm:", largest, "by gwyfile:", float(kept.max()) * 1e9)
assert np.array_equal(kept, heights), f"this has changed: {kept}"
assert largest == {"plain.gwy": 20, "marked.gwy": 0}, f"this has changed: {largest}"
assert np.array_equal(np.isnan(found["marked.gwy"]), heights > 0), f"this has changed: {found}"

y, x = np.mgrid[:3, :4]  # three rows of four points, 1 um apart, with a ridge of 2 um at x = 1 um
points = np.column_stack([x.ravel(), y.ravel(), np.where(x == 1, 2, 0).ravel()]) * 1e-6
np.savetxt("rows.xyz", points)
np.savetxt("columns.xyz", points[np.lexsort((points[:, 1], points[:, 0]))])
ridges = {name: Surface.load(name) for name in ("rows.xyz", "columns.xyz")}
for name, surface in ridges.items():
    print(" ", name, surface.data.round(3).tolist(), "steps", round(surface.step_x, 3), round(surface.step_y, 3))
assert np.allclose(ridges["rows.xyz"].data, [[0, 2, 0, 0]] * 3), "this has changed"
assert np.allclose(ridges["columns.xyz"].data, [[0, 0, 0, 2], [2, 2, 0, 0], [0] * 4]), "this has changed"
assert np.isclose(ridges["rows.xyz"].step_x, 0.75) and np.isclose(ridges["rows.xyz"].step_y, 2 / 3), "this has changed"
PY
