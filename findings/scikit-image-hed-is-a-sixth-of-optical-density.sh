#!/usr/bin/env bash
# scikit-image's stain amounts are optical density divided by six: a pixel of haematoxylin with OD 1 is 0.167.
#
# separate_stains and rgb2hed take the logarithm to the base of 1e-6, the value that keeps them from log(0), not of 10.
# Thresholds that QuPath and papers give as optical density find almost no nuclei, and the documentation states no unit.
# Multiply by 6. Seen with scikit-image 0.26.0, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "scikit-image==0.26.0" "numpy==2.4.6"
"$work/venv/bin/python" - <<'PY'
import numpy as np
import skimage
from skimage.color import hdx_from_rgb, rgb2hed, rgb_from_hdx, rgb_from_hed, separate_stains

haematoxylin = rgb_from_hed[0]  # absorption in red, green and blue for one unit of stain
for density in (0.2, 0.5, 1.0):
    pixel = (10 ** (-density * haematoxylin)).reshape(1, 1, 3)
    amounts = rgb2hed(pixel)[0, 0]
    print("scikit-image", skimage.__version__, f"gives {amounts.round(4)} for haematoxylin of OD {density}")
    assert np.allclose(amounts, [density / 6, 0, 0], atol=1e-6), f"this has changed: {amounts}"
other = separate_stains((10 ** -rgb_from_hdx[0]).reshape(1, 1, 3), hdx_from_rgb)[0, 0]
assert np.allclose(other, [1 / 6, 0, 0], atol=1e-6), f"this has changed: {other}"
PY
