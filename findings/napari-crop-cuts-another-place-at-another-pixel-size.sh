#!/usr/bin/env bash
# napari-crop cuts a cell out of an image, and with the same rectangle another place out of the overview beneath it.
#
# A rectangle is drawn once and lies over all images, each with its own pixel size. The plugin takes the corners as they
# are stored in the Shapes layer, which are in that layer's own steps (napari gives a new one the smallest pixel size of
# all), for pixels of whatever image is cropped: the overview, with pixels twice as large, is cut at double the distance
# from the corner, over double the length. Rectangles in micrometres, as read from a table or GeoJSON, miss every image
# whose pixels are not 1 um. Where image and rectangle are both shifted by `translate`, the shift counts twice. The
# piece lies at the place that it was cut from, so that it fits its image. With equal scales and no shift all is right.
# Seen with napari-crop 0.1.12, napari 0.9.2, napari-tools-menu 0.1.20, napari-workflows 0.2.11, numpy 2.4.6, Python
# 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --no-compile --disable-pip-version-check "napari-crop==0.1.12" "napari==0.9.2" \
    "napari-tools-menu==0.1.20" "napari-workflows==0.2.11" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from napari.layers import Image, Shapes
from napari_crop._function import crop_region


def cell(size, first, after):
    image = np.zeros((size, size), np.uint8)
    image[first:after, first:after] = 1
    return image


def rectangle(first, last, **place):
    corners = [(first, first), (first, last), (last, last), (last, first)]
    return Shapes([np.array(corners, float)], shape_type="rectangle", **place)


# a cell from 20 to 25 um along both axes, as pixels of 0.5 um and of 1 um
fine, overview = Image(cell(160, 40, 51), scale=(0.5, 0.5)), Image(cell(80, 20, 26))
shifted = Image(cell(80, 20, 26), translate=(4, 4))
drawn = rectangle(40, 50, scale=(0.5, 0.5))
assert np.array_equal(drawn.data_to_world(drawn.data[0][0]), [20, 20]), "this has changed: napari"
cases = {
    "fine image": (fine, drawn),
    "overview, same rectangle": (overview, drawn),
    "fine image, rectangle in um": (fine, rectangle(20, 25)),
    "image and rectangle shifted": (shifted, rectangle(20, 25, translate=(4, 4))),
}
found = {}
for name, (image, shapes) in cases.items():
    ((piece, meta, _),) = crop_region(image, shapes)
    begin, length = float(meta["translate"][0]), piece.shape[0] * float(meta["scale"][0])
    found[name] = (round(100 * int(piece.sum()) / int(image.data.sum())), begin, length)
print("napari-crop", version("napari-crop"), "percent of the cell in the piece, its begin and its length in um:")
for name, seen in found.items():
    print(f"  {name:28}", *seen)
assert found["fine image"] == (100, 20, 5.5), f"this has changed: {found}"
assert found["overview, same rectangle"] == (0, 40, 11), f"this has changed: {found}"
assert found["fine image, rectangle in um"] == (0, 10, 3), f"this has changed: {found}"
assert found["image and rectangle shifted"] == (11, 20, 6), f"this has changed: {found}"
PY
