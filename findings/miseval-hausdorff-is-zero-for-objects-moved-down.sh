#!/usr/bin/env bash
# miseval's Hausdorff distance is 0 for an object found 30 rows too low, and 4.5 for one found 30 columns to the right.
#
# The metric library for medical segmentation hands the two masks to a package that compares two sets of points, one
# point per row of an array: each line of the image is taken for a point in 128 dimensions. Masks whose lines are the
# same in another order are at distance 0. Its "average Hausdorff distance" is the largest border distance, 30 pixels for
# both, not an average. scipy on the pixels' coordinates says 30 for both; their borders are 20.5 pixels apart on average.
# Seen with miseval 1.3.0, hausdorff 0.2.6, numpy 2.2.6, scipy 1.15.3, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "miseval==1.3.0" "hausdorff==0.2.6" "numpy==2.2.6" "scipy==1.15.3"
"$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import miseval
import numpy as np
from scipy import ndimage
from scipy.spatial.distance import directed_hausdorff

truth = np.zeros((128, 128), int)
truth[40:60, 40:60] = 1


def true_distances(found):
    pixels = np.argwhere(truth), np.argwhere(found)
    largest = max(directed_hausdorff(*pixels)[0], directed_hausdorff(*pixels[::-1])[0])
    borders = [mask & ~ndimage.binary_erosion(mask) for mask in (truth > 0, found > 0)]
    pairs = [ndimage.distance_transform_edt(~other)[border] for border, other in (borders, borders[::-1])]
    return float(largest), round(float(np.hstack(pairs).mean()), 1)


seen = {}
for name, axis in (("down", 0), ("right", 1)):
    found = np.roll(truth, 30, axis)
    scores = [float(miseval.evaluate(truth, found, metric=metric)) for metric in ("HD", "AHD")]
    seen[name] = scores, true_distances(found)
    print("miseval", version("miseval"), f"for 30 pixels {name}: HD {scores[0]:.3f}, AHD {scores[1]:.3f};", end=" ")
    print("by scipy: largest {}, average {}".format(*seen[name][1]))
assert seen["down"][1] == seen["right"][1] and seen["down"][1][0] == 30, f"this has changed: {seen}"
assert seen["down"][0] == [0, 30], f"this has changed: {seen}"
assert np.allclose(seen["right"][0], [20**0.5, 30]), f"this has changed: {seen}"
PY
