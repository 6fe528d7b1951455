#!/usr/bin/env bash
# nyxus says that a nucleus of 2497 pixels is as wide as a circle of 3179 pixels: it leaves out the square root.
#
# DIAMETER_EQUAL_AREA is 4 A / pi, which is the square of the diameter (56), while DIAMETER_EQUAL_PERIMETER beside it is
# right. AREA_UM2 is 0, also where pixels_per_micron is given. Float arrays are cut to whole numbers without a word (its
# documentation speaks of negative values only): uptake values of 0.6 and 1.4 count as 0 and 1, an image between 0 and 1
# has a mean of 0, ten times the image another texture.
# Seen with nyxus 0.11.0, numpy 2.4.6, pandas 3.1.1, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "nyxus==0.11.0" "numpy==2.4.6" "pandas==3.1.1"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from nyxus import Nyxus

rows, columns = np.mgrid[:100, :120]
nucleus = (((rows - 50) / 20) ** 2 + ((columns - 60) / 40) ** 2 < 1).astype(np.uint32)
shape = "AREA_PIXELS_COUNT", "AREA_UM2", "DIAMETER_EQUAL_AREA", "PERIMETER", "DIAMETER_EQUAL_PERIMETER"
extractor = Nyxus([*shape, "MEAN"], pixels_per_micron=2.0)


def measured(values):
    table = extractor.featurize(values, nucleus).iloc[0]
    return {name: round(float(table[name]), 1) for name in (*shape, "MEAN")}


found = measured(np.full(nucleus.shape, 100, np.uint16))
area, perimeter = found["AREA_PIXELS_COUNT"], found["PERIMETER"]
by_hand = float(np.sqrt(4 * area / np.pi))
print("nyxus", version("nyxus"), "at 2 pixels a micrometre:", found)
print("  by hand: area in um2", area / 4, "diameter of equal area", round(by_hand, 1))
assert area == nucleus.sum() == 2497 and found["MEAN"] == 100, f"this has changed: {found}"
assert found["DIAMETER_EQUAL_AREA"] == round(by_hand**2, 1) == 3179.3, f"this has changed: {found}"
assert np.isclose(found["DIAMETER_EQUAL_PERIMETER"], perimeter / np.pi, atol=0.1), f"this has changed: {found}"
assert found["AREA_UM2"] == 0, f"this has changed: {found}"

uptake = np.where(columns < 60, 0.6, 1.4).astype(np.float32)
means = {factor: measured(factor * uptake)["MEAN"] / factor for factor in (1, 10)}
true = float(uptake[nucleus > 0].mean())
print("  mean uptake", means[1], "of the same values times ten", round(means[10], 2), "by hand", round(true, 2))
assert means == {1: 0.5, 10: 1.01} and round(true, 2) == 1.01, f"this has changed: {means} {true}"
PY
