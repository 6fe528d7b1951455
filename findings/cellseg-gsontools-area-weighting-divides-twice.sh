#!/usr/bin/env bash
# cellseg-gsontools says that a nucleus among equal nuclei with a Ki-67 of 50 has neighbours with a mean of 10, the more
# there are the less.
#
# local_character gives the mean of a value over the neighbourhood of each nucleus, "weighted by area" if asked for. Each
# value is multiplied by its share of the area, which makes the sum of them the weighted mean, and of these the mean is
# taken: it is too small by the number of nuclei, 50 / 5 here, 50 / 3 in a corner and 50 / 13 in a wider circle. Median and
# maximum are 10 as well. Where nuclei lie dense the value is low, so that a map shows their density upside down.
# The "equivalent rectangular index", "sqrt(A / A_MRR) * P_MRR / P" by its documentation, has the perimeters upside down:
# a star has 0.84, where 0.43 is right, a square 1, a disc 0.70 instead of 1.13; and "the angle of the major axis with
# respect to the x-axis" is the one to the y-axis: a nucleus along x has 90. No word is said. Take "sum" for the mean.
# Seen with cellseg-gsontools 0.1.8, geopandas 1.0.1, shapely 2.1.2, numpy 1.24.4, Python 3.11 (with scikit-image 0.22.0,
# which no part of this uses; the 0.19 that is asked for has no wheel for it).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-deps "cellseg-gsontools==0.1.8"
"$work/venv/bin/pip" install -q --disable-pip-version-check "geopandas==1.0.1" "shapely==2.1.2" "libpysal==4.9.2" \
    "mapclassify==2.8.1" "pandarallel==1.6.5" "pathos==0.3.2" "pyarrow==14.0.2" "geojson==2.5.0" "h3==3.7.7" "tqdm==4.67.1" \
    "opencv-python-headless==4.11.0.86" "scikit-image==0.22.0" "numba==0.57.1" "numpy==1.24.4" 2>"$work/warnings" ||
    { cat "$work/warnings"; exit 1; }
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import geopandas as gpd
import numpy as np
from cellseg_gsontools.character import local_character
from cellseg_gsontools.geometry import shape_metric
from cellseg_gsontools.graphs import fit_graph
from shapely.affinity import rotate
from shapely.geometry import Point, Polygon, box

nuclei = [Point(30 * row, 30 * column).buffer(10) for row in range(7) for column in range(7)]
field = gpd.GeoDataFrame({"geometry": nuclei, "class_name": "tumour", "ki67": 50.0, "uid": range(len(nuclei))})
field = field.set_index("uid", drop=False)


def around(number, reach):
    """Nuclei in the neighbourhood, and the mean, weighted mean, weighted median and sum of a value that is 50 in all."""
    graph = fit_graph(field, type="distband", id_col="uid", thresh=reach)
    options = {"id_col": "uid", "reductions": ("mean", "median", "sum"), "parallel": False}
    plain = local_character(field, graph, "ki67", **options).loc[number]
    weighted = local_character(field, graph, "ki67", weight_by_area=True, **options).loc[number]
    values = [weighted[f"ki67_nhood_{name}_area_weighted"] for name in ("mean", "median", "sum")]
    return len(graph.neighbors[number]) + 1, *(round(float(value), 2) for value in (plain["ki67_nhood_mean"], *values))


found = {(number, reach): around(number, reach) for number, reach in ((24, 35), (0, 35), (24, 65))}
print("cellseg-gsontools", version("cellseg-gsontools"), "number of nuclei, mean, weighted mean, median and sum of 50:")
print(" ", *found.values())
assert found[24, 35] == (5, 50, 10, 10, 50), f"this has changed: {found}"
assert found[0, 35] == (3, 50, 16.67, 16.67, 50), f"this has changed: {found}"
assert found[24, 65] == (13, 50, 3.85, 3.85, 50), f"this has changed: {found}"

tips = [np.array((np.cos(k * np.pi / 8), np.sin(k * np.pi / 8))) * (20 if k % 2 else 8) for k in range(16)]
lying = box(0, 0, 40, 20)
shapes = {"square": box(0, 0, 20, 20), "disc": Point(0, 0).buffer(20), "star": Polygon(tips), "lying": lying}
shapes |= {f"turned by {degrees}": rotate(lying, degrees) for degrees in (30, 90)}
names = ["equivalent_rectangular_index", "major_axis_angle"]
table = shape_metric(gpd.GeoDataFrame({"geometry": shapes.values()}), names, parallel=False)
index, angle = (dict(zip(shapes, table[name].round(2).tolist(), strict=True)) for name in names)
right = {}
for name, shape in shapes.items():
    rectangle = shape.minimum_rotated_rectangle
    right[name] = round(float(np.sqrt(shape.area / rectangle.area) * rectangle.length / shape.length), 2)
print("  index", index, "by the documentation", right)
print("  angles", {name: value for name, value in angle.items() if name not in ("square", "disc", "star")})
assert [right[name] for name in ("square", "disc", "star")] == [1, 1.13, 0.43], f"the definition: {right}"
assert [index[name] for name in ("square", "disc", "star")] == [1, 0.7, 0.84], f"this has changed: {index}"
assert [angle[name] for name in ("lying", "turned by 30", "turned by 90")] == [90, 60, 180], f"this has changed: {angle}"
PY
