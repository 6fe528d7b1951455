#!/usr/bin/env bash
# SimpleITK's average Hausdorff distance shrinks as objects grow: the same error costs 0.068, 0.036 or 0.018 pixels.
#
# GetAverageHausdorffDistance takes the mean over all pixels of a mask, and those that lie in the other mask count as 0;
# surface distances such as MedPy's assd take it over the border. A band of 2 pixels too much along one side of a square of
# 20, 40 or 80 pixels leaves the borders 0.49 to 0.50 pixels apart at every size. pymia's AverageDistance returns the same
# small numbers as AVGDIST. Large organs so look better than small ones; the largest distances are the same everywhere.
# Seen with SimpleITK 2.5.7, pymia 0.3.4, MedPy 0.5.2, numpy 2.2.6, scipy 1.15.3, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "SimpleITK==2.5.7" "pymia==0.3.4" "MedPy==0.5.2" "numpy==2.2.6" "scipy==1.15.3"
"$work/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import SimpleITK as sitk
from medpy.metric.binary import assd, hd
from pymia.evaluation.evaluator import SegmentationEvaluator
from pymia.evaluation.metric import AverageDistance
from scipy import ndimage

for side in (20, 40, 80):
    truth = np.zeros((128, 128), np.uint8)
    truth[20 : 20 + side, 20 : 20 + side] = 1
    found = truth.copy()
    found[20 : 20 + side, 20 + side : 22 + side] = 1
    images = [sitk.GetImageFromArray(mask) for mask in (truth, found)]
    distance = sitk.HausdorffDistanceImageFilter()
    distance.Execute(*images)
    evaluator = SegmentationEvaluator([AverageDistance()], {1: "lesion"})
    evaluator.evaluate(images[1], images[0], "patient")
    # by hand: the mean over all pixels of each mask, of both directions; and over the pixels of both borders
    masks = truth > 0, found > 0
    borders = [mask & ~ndimage.binary_erosion(mask) for mask in masks]
    everywhere = np.mean([ndimage.distance_transform_edt(~b)[a].mean() for a, b in (masks, masks[::-1])])
    border = np.hstack([ndimage.distance_transform_edt(~b)[a] for a, b in (borders, borders[::-1])]).mean()
    average, pymia, medpy = distance.GetAverageHausdorffDistance(), evaluator.results[0].value, assd(found, truth)
    print(f"square of {side}: SimpleITK {average:.3f}, pymia {pymia:.3f}, MedPy's border {medpy:.3f}", end=" ")
    print(f"by hand: all pixels {everywhere:.3f}, border {border:.3f}")
    assert distance.GetHausdorffDistance() == hd(found, truth) == 2, "this has changed: largest distance"
    assert np.isclose(medpy, border), f"this has changed: {medpy} {border}"
    assert np.isclose(average, everywhere) and np.isclose(pymia, everywhere), f"this has changed: {average} {pymia}"
PY
