#!/usr/bin/env bash
# napari-save-transformed, which saves "layers with their transforms applied", applies neither scale nor shift nor turn.
#
# napari places a layer by scale, translate, rotate and shear, and by an affine matrix on top of these. The plugin uses
# the matrix only. Two stains that overlap in the viewer, one of them recorded at half the resolution and so with a
# scale of 2, are written into one TIFF stack in which they do not: the one is half as large, and its cell lies at row
# 10 instead of 20. An image moved by `translate` is not moved. What the matrix does move goes through cubic splines,
# which leave the range of the values: moved by half a pixel, the edges of a cell with 100 counts reach 121. No word is
# said.
# Seen with napari-save-transformed 0.0.3, napari 0.6.6 (it allows no later one), scipy 1.17.1, scikit-image 0.26.0,
# tifffile 2026.3.3, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --no-compile --disable-pip-version-check \
    "napari-save-transformed==0.0.3" "napari==0.6.6" "scipy==1.17.1" "scikit-image==0.26.0" \
    "tifffile==2026.3.3" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import tifffile
from napari.layers import Image
from napari_save_transformed import write_transformed_layers


def cell(size, first, after):
    image = np.zeros((size, size), np.uint16)
    image[first:after, first:after] = 100
    return image


def save(*layers):
    write_transformed_layers("saved.tif", [layer.as_layer_data_tuple() for layer in layers])
    return np.atleast_3d(tifffile.imread("saved.tif").T).T  # one plane for each layer


def middle(image):
    return np.argwhere(image == 100).mean(axis=0)


# the same cell, in pixels of 1 um, in pixels of 2 um, and from another field that begins 10 um further down and right
layers = [
    Image(cell(80, 15, 26), name="fine"),
    Image(cell(40, 8, 13), name="coarse", scale=(2, 2)),
    Image(cell(60, 5, 16), name="shifted", translate=(10, 10)),
    Image(cell(60, 5, 16), name="by matrix", affine=[[1, 0, 10], [0, 1, 10], [0, 0, 1]]),
]
in_napari = {layer.name: float(layer.data_to_world(middle(layer.data))[0]) for layer in layers}
saved = {layer.name: float(middle(plane)[0]) for layer, plane in zip(layers, save(*layers), strict=True)}
half = save(Image(cell(60, 5, 16), name="half", affine=[[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]]))
print("napari-save-transformed", version("napari-save-transformed"), "row of the cell in napari:", in_napari)
print("  in the saved stack:", saved, "largest value after half a pixel:", int(half.max()))
assert set(in_napari.values()) == {20}, f"this has changed: {in_napari}"
assert saved == {"fine": 20, "coarse": 10, "shifted": 10, "by matrix": 20}, f"this has changed: {saved}"
assert half.max() == 121, f"this has changed: {half.max()}"
PY
