#!/usr/bin/env bash
# Two napari plugins of one laboratory put the same nerve along different axes, and both draw it half as thick as it is.
#
# SWC holds x, y, z and radius. napari-swc-editor turns that to napari's z, y, x; napari-swc-reader leaves it, so that a
# nerve along x runs through the slices and none of its nodes lies in the image that it was traced in. What napari calls
# size of a point and width of a line is the whole thickness, and both plugins give it the radius: a soma of radius 8
# fills 257 of its 2109 voxels. A line has the width of the node that it starts from, the first branch so that of the
# soma.
# Seen with napari-swc-reader 0.1.3, napari-swc-editor 0.0.5, napari 0.9.2, pandas 3.1.1, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "napari-swc-reader==0.1.3" "napari-swc-editor==0.0.5" \
    "napari==0.9.2" "pandas==3.1.1" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version
from pathlib import Path

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer, Points
from napari_swc_editor.bindings import add_napari_layers_from_swc_content
from napari_swc_reader._reader import reader_function

# a soma and a nerve along x, in voxels: number, kind, x, y, z, radius, number of the node before
Path("nerve.swc").write_text("1 1 30 20 15 8 -1\n2 2 45 20 15 2 1\n3 2 55 20 15 2 2\n4 2 58 20 15 2 3\n")
z, y, x = np.mgrid[:30, :40, :60] - np.array((15, 20, 30))[:, None, None, None]
soma = z**2 + y**2 + x**2 <= 8**2
image = soma | (z**2 + y**2 <= 2**2) & (0 <= x) & (x <= 28)


def look(points, lines):
    """Nodes within the image, voxels of the first node's ball, and widths of the lines."""
    inside = [all(at < image.shape) and bool(image[tuple(at)]) for at in points.data.astype(int)]
    ball = Points(points.data[:1], size=points.size[:1]).to_mask(shape=(60, 60, 60))
    return sum(inside), int(ball.sum()), [int(width) for width in lines.edge_width]


found = {
    "reader": look(*(Layer.create(*layer) for layer in reader_function("nerve.swc"))),
    "editor": look(*add_napari_layers_from_swc_content(Path("nerve.swc").read_text(), ViewerModel())),
}
print(f"4 nodes, soma of {soma.sum()} voxels, nerve 4 wide; in the image, voxels of the soma, widths of the lines:")
for name, seen in found.items():
    print(f"  napari-swc-{name} {version(f'napari-swc-{name}')}", *seen)
assert found["reader"] == (0, 257, [8, 2, 2]), f"this has changed: {found['reader']}"
assert found["editor"] == (4, 257, [8, 2, 2]), f"this has changed: {found['editor']}"
PY
