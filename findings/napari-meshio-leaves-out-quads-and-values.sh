#!/usr/bin/env bash
# napari-meshio opens a vessel of triangles and quads with the quads missing, and saves a coloured surface without its
# values.
#
# A mesh file lists its cells in blocks, one for each kind, and mesh generators mix triangles and quads, or add lines
# and points. The plugin shows the first block, whatever it is: of a tube whose two lids are triangles the wall is gone,
# and with it 67 % of the area. The values at the vertices (curvature, thickness), which a Surface layer of napari has
# and VTK and PLY hold, are left out in reading as in writing: a surface that was coloured by them comes back in one
# colour, and the numbers are lost. Neither is said. meshio reads and writes all.
# Seen with napari-meshio 0.0.2, meshio 5.3.5 (writing, and the other reader), numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "napari-meshio==0.0.2" "meshio==5.3.5" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version

import meshio
import numpy as np
from napari_meshio import napari_get_reader, write_single_surface

# a tube of 16 sides, radius 10 and length 20: its wall of quads, its lids of triangles around their middles
angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
rings = [np.column_stack([np.full(16, z), 10 * np.sin(angles), 10 * np.cos(angles)]) for z in (0, 20)]
points = np.concatenate([*rings, [(0, 0, 0), (20, 0, 0)]])
one, next_one = np.arange(16), (np.arange(16) + 1) % 16
wall = np.column_stack([one, next_one, next_one + 16, one + 16])
spoke = np.column_stack([one, next_one])
lids = np.concatenate([np.insert(spoke, 2, 32, axis=1), np.insert(spoke + 16, 2, 33, axis=1)])
thickness = np.arange(34.0)


def area(cells):
    fans = [points[cells[:, [0, i, i + 1]]] for i in range(1, cells.shape[1] - 1)]
    return sum(np.linalg.norm(np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]), axis=1).sum() / 2 for t in fans)


blocks = [("triangle", lids), ("quad", wall)]
meshio.Mesh(points, blocks, point_data={"thickness": thickness}).write("tube.vtk")
stored = meshio.read("tube.vtk")
assert sum(len(block.data) for block in stored.cells) == 48, "this has changed: meshio"
assert np.array_equal(stored.point_data["thickness"], thickness), "this has changed: meshio"
((data, arguments, kind),) = napari_get_reader("tube.vtk")("tube.vtk")
shown = round(100 * area(data[1]) / (area(lids) + area(wall)))
print("napari-meshio", version("napari-meshio"), f"a {kind} of {len(data[1])} of 48 cells, {shown} % of the area")
assert kind == "surface" and len(data[1]) == 32 and shown == 33, f"this has changed: {data}"
assert len(data) == 2 and not arguments, f"this has changed: {data[2:]}, {arguments}"  # vertices and faces, no values

write_single_surface("saved.vtk", (points, lids, thickness), {})
values = list(meshio.read("saved.vtk").point_data)
print("  values that a surface with a thickness at each vertex has after saving:", values)
assert values == [], f"this has changed: {values}"
PY
