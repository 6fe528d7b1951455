#!/usr/bin/env bash
# mahotas' roundness is 0.81 for a disc, 1.00 for an ellipse twice as long as wide, and halves when a square is turned.
#
# The documentation does not say what roundness is. It is perimeter squared over 4 pi area, which is 1 for a disc and
# larger for all else, with the number of border pixels for a perimeter: a slanted border is as long as its rows only.
# The same square nucleus has 1.25 lying straight and 0.63 at 45 degrees, less than any shape can have, so that it ranks
# as rounder than the disc. With mahotas' own labeled.perimeter the angle does not matter. labeled_sum, which is "equal
# to np.sum(array[labeled == i])", keeps the type of the image: 200 pixels of 200 in an 8-bit one add up to 64, not to
# 40000.
# Seen with mahotas 1.4.19, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "mahotas==1.4.19" "numpy==2.4.6"
"$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import mahotas
import numpy as np

y, x = np.mgrid[-150:151, -150:151]
sine = np.sqrt(0.5)
shapes = {  # with the value of the true shape: perimeter squared over 4 pi area
    "disc": (y**2 + x**2 <= 80**2, 1.0),
    "ellipse 2:1": ((y / 100) ** 2 + (x / 50) ** 2 <= 1, 484.42**2 / (4 * np.pi * np.pi * 100 * 50)),
    "square": (np.maximum(abs(y), abs(x)) <= 60, 4 / np.pi),
    "square at 45 degrees": (np.maximum(abs(y + x), abs(y - x)) * sine <= 60, 4 / np.pi),
}
values = {}
for name, (mask, true) in shapes.items():
    perimeter = float(mahotas.labeled.perimeter(mask))
    own = perimeter**2 / (4 * np.pi * mask.sum())
    values[name] = [round(float(value), 2) for value in (mahotas.features.roundness(mask), own, true)]
    print("mahotas", version("mahotas"), f"{name:22} roundness, by its own perimeter, true:", *values[name])
label = np.zeros((20, 20), np.int32)
label[5:15] = 1
total = int(mahotas.labeled_sum(np.full(label.shape, 200, np.uint8), label)[1])
print("sum of", int(label.sum()), "pixels of 200 in 8 bits:", total)
found = [value[0] for value in values.values()]
assert found == [0.81, 1, 1.25, 0.63], f"this has changed: {values}"
assert total == 200 * 200 % 256, f"this has changed: {total}"
PY
