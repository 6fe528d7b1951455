#!/usr/bin/env bash
# pyometiff, asked for the second image of an OME-TIFF, returns its pixel size and name with the pixels of the first.
#
# A slide scanner or a microscope with several fields writes several images into one OME-TIFF. OMETIFFReader takes
# `imageseries`, the number of the image, and obeys it for the metadata only: the array is that of image 0, whatever was
# asked for. Where the images have one shape, as the fields of a plate have, nothing in the result shows it: all fields
# are measured to be alike, each under its own name; an overview of 5 um per pixel is measured with the 0.25 um of the
# slide. No word is said. tifffile, by which pyometiff reads, has them as series.
# Seen with pyometiff 1.1.4, tifffile 2026.3.3 (writing, and the other reader), numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "pyometiff==1.1.4" "tifffile==2026.3.3" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
import logging
from importlib.metadata import version

import numpy as np
import tifffile
from pyometiff import OMETIFFReader

logging.disable(logging.WARNING)  # it misses an instrument and an objective, which are optional
IMAGES = {"field A": (100, 0.25), "field B": (900, 0.25), "overview": (40, 5.0)}  # grey value, um per pixel
with tifffile.TiffWriter("plate.ome.tif") as file:
    for name, (value, size) in IMAGES.items():
        metadata = {"axes": "ZYX", "Name": name}
        metadata |= {f"PhysicalSize{axis}{unit}": value for axis in "XY" for unit, value in (("", size), ("Unit", "µm"))}
        file.write(np.full((3, 40, 60), value, np.uint16), metadata=metadata)

found = {}
for number in range(len(IMAGES)):
    pixels, metadata, _ = OMETIFFReader(fpath="plate.ome.tif", imageseries=number).read()
    found[metadata["Name"]] = float(pixels.mean()), metadata["PhysicalSizeX"]
with tifffile.TiffFile("plate.ome.tif") as file:
    right = {series.name: float(series.asarray().mean()) for series in file.series}
print("pyometiff", version("pyometiff"), "mean and um per pixel:", found)
print("tifffile", version("tifffile"), "mean:", right)
assert right == {name: value for name, (value, _) in IMAGES.items()}, f"this has changed: {right}"
assert found == {name: (100, size) for name, (_, size) in IMAGES.items()}, f"this has changed: {found}"
PY
