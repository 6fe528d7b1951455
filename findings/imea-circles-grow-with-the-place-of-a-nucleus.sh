#!/usr/bin/env bash
# imea measures 40 pixels for the circle around a round nucleus in the corner of an image, 761 for the same one elsewhere.
#
# The outline's places count from the object's bounding box, the centre's from the image's corner, and the circles are
# drawn around the one through the other: diameter_circumscribing_circle and diameter_inscribing_circle of every object
# that does not begin in the corner grow with its distance from there, so that nuclei of one size differ by their place. The
# other columns do not move. What is to be given in other units by spatial_resolution_xy is, except for the standard
# deviations of Feret and chord lengths, which stay in pixels.
# Seen with imea 0.3.5, scikit-image 0.26.0, scipy 1.17.1, opencv-python 5.0.0.93, pandas 3.1.1, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "imea==0.3.5" "scikit-image==0.26.0" \
    "scipy==1.17.1" "opencv-python==5.0.0.93" "pandas==3.1.1" "numpy==2.4.6"
"$work/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import imea
import numpy as np

RADIUS = 20
rows, columns = np.mgrid[:300, :400]


def measured(y, x, step=1):
    """Circles around and inside, area and mean Feret diameter of a disc, by imea."""
    disc = (rows - y) ** 2 + (columns - x) ** 2 <= RADIUS**2
    return imea.shape_measurements_2d(disc, spatial_resolution_xy=step).iloc[0]


names = ["diameter_circumscribing_circle", "diameter_inscribing_circle", "diameter_equal_area", "feret_mean"]
found = {place: [round(float(measured(*place)[name])) for name in names] for place in ((20, 20), (60, 80), (220, 320))}
for place, values in found.items():
    print("imea", version("imea"), "disc of 41 pixels at row, column", place, dict(zip(names, values)))
expected = {(20, 20): [40, 38, 40, 41], (60, 80): [184, 104, 40, 41], (220, 320): [761, 681, 40, 41]}
assert found == expected, f"this has changed: {found}"

for name, factor in (("feret_mean", 0.5), ("feret_std", 1), ("maxchords_std", 1)):
    ellipse = (rows - 150) ** 2 / 40**2 + (columns - 200) ** 2 / 90**2 < 1
    in_pixels, in_um = (imea.shape_measurements_2d(ellipse, spatial_resolution_xy=s).iloc[0][name] for s in (1, 0.5))
    print("  pixels of 0.5 instead of 1 um change", name, "by", float(in_um / in_pixels))
    assert in_um / in_pixels == factor, f"this has changed: {name} {in_pixels} {in_um}"
PY
