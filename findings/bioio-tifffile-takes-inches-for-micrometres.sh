#!/usr/bin/env bash
# bioio-tifffile takes an ImageJ image in inches, and one in plain pixels, for one in micrometres; cm and mm it converts.
#
# ImageJ gives a scanned TIFF with dots per inch the unit "inch", and saves it so. The reader looks the unit up in a
# table that has no "inch", and uses the factor 1 for all that it does not know: pixels of 1/300 inch (84.7 micrometres)
# become 0.0033 micrometres. An uncalibrated image in "pixel" gets a pixel of exactly 1 micrometre instead of none.
# Seen with bioio-tifffile 1.3.1, tifffile 2026.3.3, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "bioio-tifffile==1.3.1" "tifffile==2026.3.3"
"$work/venv/bin/python" - "$work/slide.tif" <<'PY'
import sys
from importlib.metadata import version

import numpy as np
import tifffile
from bioio_tifffile import Reader


def pixel_um(pixels_per_unit, unit):
    resolution = (pixels_per_unit, pixels_per_unit)
    tifffile.imwrite(sys.argv[1], np.zeros((8, 9), np.uint8), imagej=True, resolution=resolution, metadata={"unit": unit})
    return Reader(sys.argv[1]).physical_pixel_sizes.X


sizes = {unit: pixel_um(count, unit) for count, unit in ((118, "cm"), (11.8, "mm"), (300, "inch"), (1, "pixel"))}
print("bioio-tifffile", version("bioio-tifffile"), "reads 300 dots per inch as pixels in micrometres:", sizes)
assert np.allclose([sizes["cm"], sizes["mm"]], 84.7, atol=0.1), f"this has changed: {sizes}"
assert np.isclose(sizes["inch"], 1 / 300) and sizes["pixel"] == 1, f"this has changed: {sizes}"
PY
