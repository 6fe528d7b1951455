#!/usr/bin/env bash
# seg-metrics says that a lesion that was not found lies 0 mm from the truth, as a perfect one does.
#
# Where the segmentation is empty, or the truth is, hd, hd95, msd, mdsd and stdsd are all 0, though there is no border
# to be far from, and the distance is infinite or undefined. A line in the log speaks of precision and recall, which are
# 0, and of no distance; for a lesion that is not there the false positive rate is 0 as well. Averages over patients or
# labels get better with every lesion that is missed.
# Seen with seg-metrics 1.2.8, SimpleITK 2.5.7, scipy 1.17.1 (by hand), numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "seg-metrics==1.2.8" "SimpleITK==2.5.7" "pandas==3.1.1" "scipy==1.17.1" "numpy==2.4.6"
"$work/venv/bin/python" -W ignore - <<'PY'
import logging
from importlib.metadata import version

import numpy as np
from scipy import ndimage
from scipy.spatial.distance import cdist
from seg_metrics.seg_metrics import write_metrics

logging.disable(logging.WARNING)
SPACING_ZYX = 3, 1, 1
truth = np.zeros((20, 40, 40), np.uint8)
truth[5:10, 10:20, 10:20] = 1
empty = np.zeros_like(truth)


def largest_distance(truth, found):
    """Hausdorff distance in mm of the border voxels' centres: infinite where one of the two has none."""
    borders = [np.argwhere((mask > 0) & ~ndimage.binary_erosion(mask)) * SPACING_ZYX for mask in (truth, found)]
    between = cdist(*borders)
    return max(between.min(axis, initial=np.inf).max(initial=0) for axis in (0, 1))


def scores(truth, found):
    (row,) = write_metrics([1], gdth_img=truth, pred_img=found, spacing=list(SPACING_ZYX))
    row = {name: round(float(row[name][0]), 3) for name in ("dice", "hd", "hd95", "msd", "mdsd", "fpr")}
    return row, float(largest_distance(truth, found))


cases = {
    "found": scores(truth, truth),
    "found 3 voxels off": scores(truth, np.roll(truth, 3, 2)),
    "missed": scores(truth, empty),
    "found where none is": scores(empty, truth),
}
print("seg-metrics", version("seg-metrics"), "in mm, and the largest distance by hand:")
for name, (row, by_hand) in cases.items():
    print(f"  {name:20} {row} {by_hand}")
nothing = {"dice": 0, "hd": 0, "hd95": 0, "msd": 0, "mdsd": 0, "fpr": 0}
assert cases["found"] == (nothing | {"dice": 1}, 0), f"this has changed: {cases}"
off, by_hand = cases["found 3 voxels off"]
assert off["hd"] == by_hand == 3 and off["dice"] == 0.7, f"this has changed: {cases}"
assert cases["missed"] == cases["found where none is"] == (nothing, np.inf), f"this has changed: {cases}"
PY
