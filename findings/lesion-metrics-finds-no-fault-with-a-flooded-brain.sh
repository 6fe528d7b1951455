#!/usr/bin/env bash
# lesion-metrics gives each lesion an IoU of 1.0 where the segmentation fills the whole image; it is 0.01.
#
# iou_per_lesion looks at the bounding box of a lesion only, and of the segmentation at the part inside it: what was
# found around the lesion does not count. Two lesions of 10 x 10 pixels that were found with 30 x 30 each have 1.0
# instead of 0.11, and with a threshold of 0.5 both are found (ltpr is 1). From the other side the same happens to the
# false discovery rate: where 3 x 3 pixels in each were found, both segments pass (lfdr is 0), though the IoU is 0.09.
# Dice and Jaccard of the whole image are right.
# Seen with lesion-metrics 0.1.12, scikit-image 0.26.0, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "lesion-metrics==0.1.12" "scikit-image==0.26.0" "scipy==1.17.1" "numpy==2.4.6"
"$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
from lesion_metrics.metrics import iou_per_lesion, jaccard, lfdr, ltpr
from skimage.measure import label

corners = (20, 20), (60, 70)
lesions = [np.zeros((100, 100), bool) for _ in corners]
for lesion, (y, x) in zip(lesions, corners):
    lesion[y : y + 10, x : x + 10] = True
truth = lesions[0] | lesions[1]


def squares(edge):
    """Squares around the middles of the two lesions."""
    found = np.zeros_like(truth)
    for y, x in corners:
        top, left = y + 5 - edge // 2, x + 5 - edge // 2
        found[top : top + edge, left : left + edge] = True
    return found


def by_hand(found):
    """IoU of each lesion with the whole connected segment that lies on its middle."""
    segments = label(found)
    pairs = [(lesion, segments == segments[y + 5, x + 5]) for lesion, (y, x) in zip(lesions, corners)]
    return [round(float((lesion & segment).sum() / (lesion | segment).sum()), 2) for lesion, segment in pairs]


cases = {"exact": truth, "30 x 30 each": squares(30), "3 x 3 each": squares(3), "all of the image": np.ones_like(truth)}
print("lesion-metrics", version("lesion-metrics"), "IoUs, ltpr and lfdr at 0.5, IoUs by hand, Jaccard of the image:")
values = {}
for name, found in cases.items():
    ious = [round(float(iou), 2) for iou in iou_per_lesion(truth, found)]
    rates = ltpr(found, truth, iou_threshold=0.5), lfdr(found, truth, iou_threshold=0.5)
    values[name] = ious, *map(float, rates), by_hand(found)
    print(f"  {name:16}", *values[name], f"{jaccard(found, truth):.2f}")
assert values["exact"] == ([1, 1], 1, 0, [1, 1]), f"this has changed: {values}"
assert values["30 x 30 each"] == ([1, 1], 1, 1, [0.11, 0.11]), f"this has changed: {values}"
assert values["3 x 3 each"] == ([0.09, 0.09], 0, 0, [0.09, 0.09]), f"this has changed: {values}"
assert values["all of the image"] == ([1, 1], 1, 1, [0.01, 0.01]), f"this has changed: {values}"
PY
