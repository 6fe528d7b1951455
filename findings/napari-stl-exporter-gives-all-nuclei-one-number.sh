#!/usr/bin/env bash
# napari's STL exporter gives all nuclei the number 1 in the layer that is open when that layer is saved as a mesh.
#
# The plugin makes a mask of what it is to write in place, and napari hands it the layer's own voxels, no copy. After
# "Save selected layers" to .stl, .ply or .obj three nuclei that touch are one object of the sum of their volumes;
# undo, which knows of strokes only, brings nothing back, and who then saves the labels loses them on disk as well. The
# mesh has its own faults: the surface runs half a voxel outside of the nuclei, through the middles of the background
# voxels around them, and the layer's scale is left out, so that two cubes of 400 um3 together are 302.7.
# Seen with napari-stl-exporter 0.1.5, napari 0.9.2, vedo 2026.6.3, vtk 9.7.2, scikit-image 0.26.0, numpy 2.4.6, Python
# 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "napari-stl-exporter==0.1.5" "napari==0.9.2" \
    "vedo==2026.6.3" "vtk==9.7.2" "scikit-image==0.26.0" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import vedo
from napari.components import ViewerModel
from npe2 import PluginManager

PluginManager.instance().discover()
nuclei = np.zeros((20, 30, 60), np.uint8)
nuclei[5:10, 5:15, 10:14] = 1  # three that touch
nuclei[5:10, 5:15, 14:18] = 2
nuclei[5:10, 5:15, 18:22] = 3
layer = ViewerModel().add_labels(nuclei, scale=(2, 1, 1))
before = np.bincount(layer.data.ravel()).tolist()[1:]
layer.save("nuclei.stl")
after = np.bincount(layer.data.ravel()).tolist()[1:]
layer.undo()
undone = np.bincount(layer.data.ravel()).tolist()[1:]
print("napari-stl-exporter", version("napari-stl-exporter"), "voxels by number before", before, "after", after)

cubes = np.zeros((20, 30, 60), np.uint8)
cubes[5:9, 5:10, 5:10] = cubes[5:9, 5:10, 25:30] = 1
ViewerModel().add_labels(cubes, scale=(2, 1, 1)).save("cubes.stl")
mesh = vedo.load("cubes.stl")
volume, bounds = round(float(mesh.volume()), 1), np.round(mesh.bounds(), 2).tolist()
print("  two cubes of 8 x 5 x 5 um: volume of the mesh", volume, "of 400, ends along z, y, x", bounds)
assert before == [200, 200, 200], f"the drawn nuclei: {before}"
assert after == undone == [600], f"this has changed: saving leaves the layer as {after}, undone {undone}"
assert (volume, bounds) == (302.7, [4, 9, 4, 10, 4, 30]), f"this has changed: {volume} {bounds}"
PY
