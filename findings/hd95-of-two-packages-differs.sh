#!/usr/bin/env bash
# "HD95" is 2.6 pixels in MedPy and 7 pixels in surface-distance for the same two masks.
#
# A square of 40 x 40 pixels is compared with itself and a spike of 3 x 10 pixels. MedPy takes the 95th percentile of
# both directions' distances together, so the direction that sees no error dilutes the one that sees it; DeepMind's
# surface-distance takes the larger of the two directions' percentiles (weighted by length of border). Both call it the
# robust or 95 % Hausdorff distance, both agree on the plain one (10). Papers rarely say which was used.
# Seen with MedPy 0.5.2, Surface-Distance-Based-Measures 0.1, numpy 2.4.6, scipy 1.17.1, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "MedPy==0.5.2" "Surface-Distance-Based-Measures==0.1" "numpy==2.4.6" "scipy==1.17.1"
"$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
import surface_distance
from medpy.metric.binary import hd, hd95
from scipy import ndimage

truth = np.zeros((64, 64), bool)
truth[10:50, 10:50] = True
found = truth.copy()
found[30:33, 50:60] = True

distances = surface_distance.compute_surface_distances(truth, found, (1, 1))
largest = hd(found, truth), surface_distance.compute_robust_hausdorff(distances, 100)
robust = hd95(found, truth), surface_distance.compute_robust_hausdorff(distances, 95)
print("MedPy", version("MedPy"), "HD", largest[0], "HD95", round(float(robust[0]), 3))
print("surface-distance", version("Surface-Distance-Based-Measures"), "HD", largest[1], "HD95", float(robust[1]))

# both rules by scipy alone, on borders of whole pixels
borders = [mask & ~ndimage.binary_erosion(mask) for mask in (truth, found)]
there, back = (ndimage.distance_transform_edt(~other)[border] for border, other in (borders, borders[::-1]))
together = np.percentile(np.hstack([there, back]), 95)
larger = max(np.percentile(there, 95), np.percentile(back, 95))
print("by hand: of both directions together", round(float(together), 3), "larger of the two", round(float(larger), 3))

assert largest == (10, 10), f"this has changed: {largest}"
assert np.isclose(robust[0], together) and robust[0] < 3, f"this has changed: {robust[0]}, {together}"
assert robust[1] == 7 and abs(larger - 7) < 1, f"this has changed: {robust[1]}, {larger}"
PY
