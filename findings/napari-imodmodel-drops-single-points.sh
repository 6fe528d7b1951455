#!/usr/bin/env bash
# napari-imodmodel opens an IMOD model of 40 gold beads as 10: each bead that is a contour of its own is left out.
#
# A contour of a scattered object is any number of points. IMOD begins a new one where it is told to, as one bead, one
# particle or one cell each, and so do converters of picked particles; the contours of such a model have one point. The
# plugin skips contours of fewer than two points, which is right for outlines, before it looks at what the object is.
# Nothing tells that points are missing (only a model without any other raises an error). imodmodel, by which the plugin
# reads, has them all: count with imodmodel.read, or add its points to the viewer.
# Seen with napari-imodmodel 1.0.4, imodmodel 0.1.0 (writing, too), numpy 2.4.6, pandas 3.0.1, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "napari-imodmodel==1.0.4" "imodmodel==0.1.0" "numpy==2.4.6" "pandas==3.0.1"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import imodmodel
import numpy as np
from imodmodel.models import Contour, ImodModel, Object
from napari_imodmodel._reader import napari_get_reader

beads = np.random.default_rng(0).uniform(0, 200, (40, 3)).astype(np.float32)  # x, y, z
picked = Object(contours=[Contour(points=beads[:10])] + [Contour(points=bead[np.newaxis]) for bead in beads[10:]])
picked.header.flags.scattered = True
ImodModel(objects=[picked]).to_file("beads.mod")

stored = imodmodel.read("beads.mod")[["x", "y", "z"]].to_numpy()
((shown, _, kind),) = napari_get_reader("beads.mod")("beads.mod")
print("imodmodel", version("imodmodel"), "reads", len(stored), "points,", end=" ")
print("napari-imodmodel", version("napari-imodmodel"), "opens", len(shown), kind)
assert np.array_equal(stored, beads), f"this has changed: {stored}"
assert kind == "points" and np.array_equal(shown[:, ::-1], beads[:10]), f"this has changed: {len(shown)} {kind}"
PY
