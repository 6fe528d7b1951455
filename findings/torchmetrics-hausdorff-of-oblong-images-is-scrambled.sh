#!/usr/bin/env bash
# torchmetrics says that a mask in an image of 40 x 60 pixels is 22.8 pixels away from itself; at 60 x 60 it is 0.
#
# HausdorffDistance writes the distances of a map of h x w pixels to the places i * h + j, where rows are w long: in a
# wide image each lands somewhere else, and the borders find those of other pixels. A lesion that was found where it is
# and one found 7 pixels to the right are both 22.8 pixels off, one found 3 pixels to the right 33. Images higher than
# wide end in an IndexError. Square ones are right, so that tests on square patches show nothing. The distances between
# the border pixels are 0, 7 and 3.
# Seen with torchmetrics 1.9.0, torch 2.13.0, scipy 1.17.1 (by hand), numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "torch==2.13.0" "torchmetrics==1.9.0" "scipy==1.17.1" "numpy==2.4.6"
"$work/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.distance import cdist
from torchmetrics.segmentation import HausdorffDistance


def distances(rows, columns):
    """Hausdorff distance in pixels of a square moved by 0, 3 and 7 columns: by torchmetrics, and by hand."""
    truth = np.zeros((rows, columns), bool)
    truth[10:20, 10:20] = True
    result = []
    for shift in (0, 3, 7):
        found = np.roll(truth, shift, 1)
        metric = HausdorffDistance(num_classes=2, include_background=False, input_format="index")
        metric.update(*(torch.from_numpy(mask.astype(np.int64))[None] for mask in (found, truth)))
        borders = [np.argwhere(mask & ~ndimage.binary_erosion(mask)) for mask in (found, truth)]
        between = cdist(*borders)
        by_hand = max(between.min(axis).max() for axis in (0, 1))
        result.append((round(float(metric.compute()), 2), float(by_hand)))
    return result


square, wide = distances(60, 60), distances(40, 60)
print("torchmetrics", version("torchmetrics"), "for 0, 3 and 7 pixels to the right, and by hand:")
for name, found in (("60 x 60", square), ("40 x 60", wide)):
    print(" ", name, found)
assert square == [(0, 0), (3, 3), (7, 7)], f"this has changed: {square}"
assert [by_hand for _, by_hand in wide] == [0, 3, 7] and min(wide)[0] > 20, f"this has changed: {wide}"
PY
