#!/usr/bin/env bash
# napari-geff leaves out every cell that was seen in one frame only, and the pixel size, when it writes tracks.
#
# A GEFF file holds nodes, one for each cell in each frame, and edges between them. The writer makes the graph from the
# edges, so that a node without any is not in it: a cell that entered in the last frame, a spot that blinked once. Of
# three tracks with 2, 1 and 3 points it writes 5 of 6 nodes; on reading, track 3 has become track 2. The points are
# written as pixels, and the layer's scale, which makes micrometres of them, is neither applied nor stored as the
# `scale` of an axis, which the format has and the plugin's reader obeys: tracks and their image lie apart when both
# are opened again. Nothing is said in either case. geff itself writes a graph with single nodes as it is.
# Seen with napari-geff 0.0.4, geff 1.3.1.1.3, napari 0.9.2, networkx 3.6.1, pandas 3.1.1, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --no-compile --disable-pip-version-check \
    "napari-geff==0.0.4" "geff==1.3.1.1.3" "napari==0.9.2" "networkx==3.6.1" "pandas==3.1.1" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import geff
import networkx
import numpy as np
from napari.layers import Tracks
from napari_geff._reader import get_geff_reader
from napari_geff._writer import write_tracks

# number of the track, frame, y, x
points = [(1, 0, 10, 20), (1, 1, 11, 20), (2, 1, 30, 30), (3, 0, 40, 40), (3, 1, 41, 40), (3, 2, 42, 40)]
tracks = Tracks(np.array(points, float), scale=(1, 0.5, 0.5), axis_labels=("t", "y", "x"))  # pixels of 0.5 um
data, meta, _ = tracks.as_layer_data_tuple()
write_tracks("cells.geff", data, meta)

graph, stored = geff.read("cells.geff")
kept = sorted((int(node["t"]), int(node["y"]), int(node["x"])) for _, node in graph.nodes(data=True))
(layer,) = get_geff_reader("cells.geff")("cells.geff")
again = np.asarray(layer[0], float).astype(int).tolist()
scales = [axis.scale for axis in stored.axes]
print("napari-geff", version("napari-geff"), "wrote", len(kept), "of", len(points), "points, scales", scales)
print("  read again:", again)
lost = set(point[1:] for point in points) - set(kept)
assert lost == {(1, 30, 30)} and len(kept) == 5, f"this has changed: {kept}"
assert [row[0] for row in again] == [1, 1, 2, 2, 2], f"this has changed: {again}"
assert scales == [None] * 3 and layer[1]["scale"] is None, f"this has changed: {scales}"

whole = networkx.DiGraph([(0, 1)])
for node, (t, y) in enumerate([(0, 10), (1, 11), (1, 30)]):
    whole.add_node(node, t=t, y=y)
geff.write(whole, "whole.geff", axis_names=["t", "y"], axis_types=["time", "space"], axis_scales=[1, 0.5])
graph, stored = geff.read("whole.geff")
print("  geff", version("geff"), "writes", graph.number_of_nodes(), "of 3 points, scale", stored.axes[1].scale)
assert graph.number_of_nodes() == 3 and stored.axes[1].scale == 0.5, "this has changed: geff"
PY
