#!/usr/bin/env bash
# napari-toska says 1.41 pixels for a straight vessel of 40 pixels, for one of 10, and for one of any other length.
#
# "Measure branch lengths" takes a branch for pieces that run straight along a row or a column, and counts how often the
# number of a piece stands in the list of pieces, which is once, instead of its pixels: each piece counts as one step
# along a diagonal. Diagonal branches are right, since their pieces are single pixels, and so a vessel's length says how
# often it leaves the axes of the image. Turned by 45 degrees the one of 40 pixels grows to 28 times that. Density and
# tortuosity by these lengths, the length of the spine and the weights of its graph follow. The same skeleton as a
# volume of one slice has the right ones.
# Seen with napari-toska 0.2.2, scikit-image 0.26.0, scipy 1.17.1, pandas 3.1.1, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --no-compile --disable-pip-version-check "napari-toska==0.2.2" "scikit-image==0.26.0" \
    "scipy==1.17.1" "pandas==3.1.1" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from napari_toska import calculate_branch_lengths

branches = np.zeros((60, 60), int)
branches[10, 5:45] = 1  # 40 pixels in a row
branches[30, 5:15] = 2  # 10 pixels in a row
branches[np.arange(35, 55), np.arange(5, 25)] = 3  # 20 pixels along the diagonal
branches[np.repeat([20, 21], 10), np.arange(30, 50)] = 4  # 10 pixels in a row, and 10 in the next one
steps = []  # from pixel to pixel, by hand
for number in (1, 2, 3, 4):
    places = np.argwhere(branches == number)
    places = places[places[:, 1].argsort()]
    steps.append(round(float(np.linalg.norm(np.diff(places, axis=0), axis=1).sum()), 2))
flat = calculate_branch_lengths(branches)["branch_length"].round(2).tolist()
volume = calculate_branch_lengths(np.stack([branches * 0, branches, branches * 0]))["branch_length"].round(2).tolist()
print("napari-toska", version("napari-toska"), "lengths of four branches:", flat, "as a volume:", volume)
print("  from the first pixel to the last, by hand:", steps)
assert steps == [39, 9, 26.87, 19.41], f"this has changed: {steps}"
assert flat == [1.41, 1.41, 28.28, 2.83], f"this has changed: {flat}"
assert volume[:3] == [40, 10, 28.28], f"this has changed: {volume}"
PY
