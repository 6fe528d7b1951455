#!/usr/bin/env bash
# navis counts no intersection at any radius around the soma of a neuron that grows outward; there are 1, 1, 2, 2 and 1.
#
# sholl_analysis counts an edge where its node lies nearer to the centre than its parent. Trees are rooted at the soma,
# so that an ordinary branch, whose nodes lie ever farther out, is not counted, and one that turns back is: what comes
# out is the number of returns, 1 where 3 branches cross a circle and one of them is on its way back. From the default
# centre, the mean of the nodes, it is the part that grows towards it. Cable length and branch points lie in the right
# shells, so that the table looks sound. Nothing in the documentation speaks of a direction.
# Seen with navis 1.12.0, pandas 2.3.3, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "navis==1.12.0" "pandas==2.3.3" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
import logging
from importlib.metadata import version
from pathlib import Path

import numpy as np

logging.disable(logging.WARNING)
import navis

RADII = [5, 15, 25, 35, 45]
# nodes as x, y and number of the parent
OUTWARD = [(0, 0, -1), (10, 0, 1), (20, 0, 2), (30, 6, 3), (40, 12, 4), (50, 18, 5), (30, -6, 3), (40, -12, 7)]
TURNING = [*OUTWARD, (32, -20, 8), (24, -24, 9)]  # the second branch goes back to within 34 um of the soma


def by_navis(nodes):
    lines = [f"{n} {1 if n == 1 else 3} {x} {y} 0 1 {parent}" for n, (x, y, parent) in enumerate(nodes, 1)]
    Path("neuron.swc").write_text("\n".join(lines) + "\n")
    table = navis.sholl_analysis(navis.read_swc("neuron.swc"), radii=RADII, center="soma")
    return [int(count) for count in table["intersections"]], round(float(table["cable_length"].sum()), 1)


def by_hand(nodes):
    """Edges whose ends lie on different sides of each circle."""
    distance = [float(np.hypot(x, y)) for x, y, _ in nodes]
    edges = [sorted((distance[n], distance[parent - 1])) for n, (_, _, parent) in enumerate(nodes) if parent > 0]
    return [sum(near < radius < far for near, far in edges) for radius in RADII]


found = {name: (*by_navis(nodes), by_hand(nodes)) for name, nodes in (("outward", OUTWARD), ("turning back", TURNING))}
print("navis", version("navis"), "at radii of", RADII, "um:")
for name, (counts, cable, hand) in found.items():
    print(f"  {name:12} {counts}, by hand {hand}; {cable} um of cable within these radii")
assert found["outward"][0] == [0, 0, 0, 0, 0] and found["outward"][2] == [1, 1, 2, 2, 1], f"this has changed: {found}"
assert found["turning back"][0] == [0, 0, 0, 1, 0], f"this has changed: {found}"
assert found["turning back"][2] == [1, 1, 2, 3, 1], f"this has changed: {found}"
PY
