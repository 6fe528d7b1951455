#!/usr/bin/env bash
# cp_measure says that a nucleus lying along x is at 90 degrees to the x-axis, and one standing upright at 0.
#
# Its documentation, which is CellProfiler's, says: the angle "between the x-axis and the major axis of the ellipse",
# negative for "objects whose topmost point is on their right". The number comes from a formula for the angle to the
# axis of rows. Nuclei whose right end is 30 degrees higher should have -30 and have -60; at 60 degrees it is the
# reverse; at 45 both agree. Alignment with a scratch, a vessel or the flow along x is read as alignment across it.
# Seen with cp_measure 0.3.0, scikit-image 0.26.0, scipy 1.17.1, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "cp_measure==0.3.0" "scikit-image==0.26.0" "scipy==1.17.1" "numpy==2.4.6"
"$work/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from cp_measure.bulk import get_core_measurements

y, x = np.mgrid[:200, :200] - 100.0


def orientations(degrees):
    """Angle by cp_measure, and by the definition, of an ellipse whose right end is `degrees` above the horizontal."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    along, across = x * cosine - y * sine, x * sine + y * cosine
    nucleus = ((along / 60) ** 2 + (across / 25) ** 2 < 1).astype(np.int32)
    found = get_core_measurements()["sizeshape"](nucleus, nucleus.astype(float))["Orientation"]
    rows, columns = np.nonzero(nucleus)  # y points down, so what is turned clockwise from the horizontal is positive
    _, axes = np.linalg.eigh(np.cov(columns, rows))
    by_definition = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
    return round(float(found[0])), round(float(by_definition + 90) % 180 - 90)


found = {degrees: orientations(degrees) for degrees in (0, 20, 30, 45, 60)}
print("cp_measure", version("cp_measure"))
for degrees, (angle, by_definition) in found.items():
    print(f"  right end {degrees} degrees up: {angle}, by the definition {by_definition}")
assert [by_definition for _, by_definition in found.values()] == [0, -20, -30, -45, -60], f"the definition: {found}"
assert [angle for angle, _ in found.values()] == [90, -70, -60, -45, -30], f"this has changed: {found}"
PY
