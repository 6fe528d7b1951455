#!/usr/bin/env bash
# napari-geojson turns a gland of 9200 square pixels with two lumens into an outline of 11450 that covers 7300.
#
# All rings of a GeoJSON polygon, as QuPath exports annotations, are strung together into one outline. With one hole that
# happens to be right, the way in and out being the same line. With two the outline crosses the tissue from lumen to lumen
# and back to the border on ways of their own: what it cuts off between them is lost or counted twice, in the picture as in
# any area taken from the Shapes layer. Outlines without holes are right.
# Seen with napari-geojson 0.1.6, napari 0.9.2, geojson 3.3.0, shapely 2.1.2 (the other reader), scikit-image 0.26.0, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "napari-geojson==0.1.6" "napari==0.9.2" \
    "geojson==3.3.0" "shapely==2.1.2" "scikit-image==0.26.0" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from napari_geojson import napari_get_reader
from shapely.geometry import shape
from skimage.draw import polygon2mask


def ring(y, x, edge, hole):
    """A closed square; holes run against the outline, as RFC 7946 asks."""
    corners = [[x, y], [x + edge, y], [x + edge, y + edge], [x, y + edge], [x, y]]
    return corners[::-1] if hole else corners


def areas(*holes):
    """Area by shapely, area inside the outline that napari-geojson returns, and pixels that the outline covers."""
    geometry = {"type": "Polygon", "coordinates": [ring(10, 10, 100, False), *(ring(*hole, 20, True) for hole in holes)]}
    feature = {"type": "Feature", "properties": {"objectType": "annotation"}, "geometry": geometry}
    Path("gland.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    ((outlines, layer, kind),) = napari_get_reader("gland.geojson")("gland.geojson")
    assert kind == "shapes" and layer["shape_type"] == ["polygon"] and len(outlines) == 1, f"this has changed: {layer}"
    y, x = outlines[0].T
    inside = abs(float(np.dot(y, np.roll(x, 1)) - np.dot(x, np.roll(y, 1)))) / 2
    return shape(geometry).area, inside, int(polygon2mask((120, 120), outlines[0]).sum())


found = {n: areas(*[(30, 80), (80, 30)][:n]) for n in range(3)}
print("napari-geojson", version("napari-geojson"), "a gland's area by shapely, by the outline, pixels that it covers:")
for holes, result in found.items():
    print(" ", holes, "lumens", *result)
assert found[0] == (10000, 10000, 10201) and found[1][:2] == (9600, 9600), f"this has changed: {found}"
assert found[2] == (9200, 11450, 7263), f"this has changed: {found}"
PY
