#!/usr/bin/env bash
# grand-challenge-metrics says that a segmentation with 99.9 % of its pixels right has an accuracy of 0.
#
# accuracies_from_confusion_matrix, of the library of metrics by the platform Grand Challenge, divides without a
# remainder: a class has 1 where not a single pixel is wrong and 0 otherwise, so that a good segmentation, a poor one
# and one that is wrong everywhere are equal. Dice and Jaccard from the same matrix are right. scikit-learn says
# 0.999.
# Seen with grand-challenge-metrics 0.6.0, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "grand-challenge-metrics==0.6.0" "scikit-learn==1.9.1" "numpy==2.4.6"
"$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
from grand_challenge_metrics import stats
from sklearn.metrics import accuracy_score, f1_score

truth = np.zeros((100, 100), int)
truth[20:60, 20:60] = 1  # 1600 of 10000 pixels
found = truth.copy()
found[20, 20:30] = 0  # 10 of them missed


def judged(prediction):
    matrix = stats.calculate_confusion_matrix(truth, prediction, [0, 1])
    accuracies = stats.accuracies_from_confusion_matrix(matrix).tolist()
    return accuracies, round(float(stats.dice_from_confusion_matrix(matrix)[1]), 4)


results = {"found": judged(found), "perfect": judged(truth), "inverted": judged(1 - truth)}
other = accuracy_score(truth.ravel(), found.ravel()), round(f1_score(truth.ravel(), found.ravel()), 4)
print("grand-challenge-metrics", version("grand-challenge-metrics"), "accuracies and Dice:", results)
print("scikit-learn", version("scikit-learn"), "for the one found:", other)
assert other == (0.999, 0.9969), f"this has changed: {other}"
assert results["found"] == ([0, 0], 0.9969), f"this has changed: {results}"
assert results["perfect"] == ([1, 1], 1) and results["inverted"] == ([0, 0], 0), f"this has changed: {results}"
PY
