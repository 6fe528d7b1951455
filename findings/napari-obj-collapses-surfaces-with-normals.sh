#!/usr/bin/env bash
# napari-obj opens a surface as one of no area where its OBJ file holds normals: every triangle becomes a single point.
#
# A face of an OBJ file names its corners as 38//38 where each has a normal (vertex//normal), as trimesh and most
# programs write it. The plugin takes that for a sum to be worked out, the whole part of 38 divided by 38, which is 1
# for every corner. Its test for a vertex is a line that begins with "v", which "vn", the line of a normal, does as
# well, so that there are twice as many vertices, half of them around the origin. The layer appears, with no message,
# and shows nothing; a sphere of radius 10 has an area of 0 instead of 1167. The same sphere written without normals is
# right.
# Seen with napari-obj 1.0.0, trimesh 5.2.0 (writing, and the other reader), numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --no-compile --disable-pip-version-check "napari-obj==1.0.0" "trimesh==5.2.0" \
    "scipy==1.17.1" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import trimesh
from napari_obj._reader import napari_get_reader
from trimesh.exchange.obj import export_obj

nucleus = trimesh.creation.icosphere(subdivisions=1, radius=10)
found = {}
for name, normals in (("with normals", True), ("without normals", False)):
    path = f"{name}.obj"
    with open(path, "w") as file:
        file.write(export_obj(nucleus, include_normals=normals))
    (((vertices, faces, _), _, kind),) = napari_get_reader(path)(path)
    assert kind == "surface", f"this has changed: a layer of {kind}"
    as_napari_draws = trimesh.Trimesh(vertices, np.asarray(faces, int), process=False).area
    by_trimesh = trimesh.load_mesh(path, process=False).area
    assert round(by_trimesh) == 1167, f"this has changed: trimesh reads {by_trimesh}"
    found[name] = (len(vertices), round(float(as_napari_draws)))
print("napari-obj", version("napari-obj"), "vertices and area of a sphere with 42 and 1167:", found)
assert found == {"with normals": (84, 0), "without normals": (42, 1167)}, f"this has changed: {found}"
PY
