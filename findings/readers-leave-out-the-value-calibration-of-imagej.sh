#!/usr/bin/env bash
# tifffile, imageio, bioio-tifffile and SimpleITK read -1000 HU of a CT slice that ImageJ saved as 31768.
#
# ImageJ keeps signed 16-bit images, as it makes them of CT, as unsigned ones and writes "c0=-32768.0, c1=1.0,
# vunit=..." into the description of its TIFF files: the value is c0 + c1 * pixel. Height maps and densitometry are
# calibrated likewise, such as 0.05 nm per grey value. ImageJ shows and measures the values; all four readers return
# the pixels. bioio-tifffile takes the pixel size from the same description, tifffile hands out the coefficients among
# its metadata. Every threshold is off by 32768, every height by a factor of 20. Nothing is said.
# Seen with tifffile 2026.3.3, imageio 2.38.1, bioio-tifffile 1.3.1, SimpleITK 2.5.7, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "tifffile==2026.3.3" "imageio==2.38.1" \
    "bioio-tifffile==1.3.1" "SimpleITK==2.5.7" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import bioio_tifffile
import imageio.v3 as iio
import numpy as np
import SimpleITK as sitk
import tifffile

PACKAGES = "tifffile", "imageio", "bioio-tifffile", "SimpleITK"


def read(values, c0, c1, unit):
    """What four readers make of values that ImageJ saves by a straight line."""
    pixels = np.round((np.array([values, values]) - c0) / c1).astype(np.uint16)
    lines = ["ImageJ=1.54f", "unit=mm", "cf=0", f"c0={float(c0)}", f"c1={float(c1)}", f"vunit={unit}", "min=0.0", "max=65535.0"]
    tifffile.imwrite("image.tif", pixels, description="\n".join(lines) + "\n", metadata=None, resolution=(2, 2))
    with tifffile.TiffFile("image.tif") as file:
        told = file.imagej_metadata
    assert np.allclose(told["c0"] + told["c1"] * pixels[0], values), f"this has changed: {told}"
    by_bioio = bioio_tifffile.Reader("image.tif")
    assert np.isclose(by_bioio.physical_pixel_sizes.X, 500), f"this has changed: {by_bioio.physical_pixel_sizes}"
    arrays = (
        tifffile.imread("image.tif"),
        iio.imread("image.tif"),
        by_bioio.data.squeeze(),
        sitk.GetArrayFromImage(sitk.ReadImage("image.tif")),
    )
    return {package: array[0].tolist() for package, array in zip(PACKAGES, arrays, strict=True)}


ct = read([-1000, 0, 40, 3000], -32768, 1, "Gray Value")
height = read([0, 10, 20, 50], 0, 0.05, "nm")
print(", ".join(f"{package} {version(package)}" for package in PACKAGES))
print("-1000, 0, 40, 3000 HU:", ct)
print("0, 10, 20, 50 nm:", height)
assert ct == dict.fromkeys(PACKAGES, [31768, 32768, 32808, 35768]), f"this has changed: {ct}"
assert height == dict.fromkeys(PACKAGES, [0, 200, 400, 1000]), f"this has changed: {height}"
PY
