#!/usr/bin/env bash
# pyvips makes 0.25 mm of the pixels of 0.25 um of an ImageJ image, and states on every level of a pyramid the pixel
# size of the largest.
#
# In libvips each image has a resolution in pixels per millimetre. A TIFF may have one without a unit, as ImageJ writes
# it (4 pixels per unit, and "unit=um" in the description): pyvips takes it for one in millimetres, and what it saves
# says so, 101.6 dots per inch, and still "unit=um" beside it. Readers of the tags get pixels 1000 times too large; tifffile,
# which obeys ImageJ's description, would get 1 / 101.6 um. A TIFF without a resolution is saved with 25.4 dots per inch,
# pixels of 1 mm. Of a pyramid made of a slide with pixels of 0.25 um every level has 40000 pixels per cm: the fourth one,
# whose pixels are 2 um wide, is measured with an eighth of all lengths by who opens that level. Nothing is said.
# Seen with pyvips 3.2.0, pyvips-binary 8.18.7, tifffile 2026.3.3 (writing, and reading the tags), SimpleITK 2.5.7, numpy
# 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "pyvips==3.2.0" "pyvips-binary==8.18.7" \
    "tifffile==2026.3.3" "SimpleITK==2.5.7" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import pyvips
import SimpleITK as sitk
import tifffile

slide = np.random.default_rng(0).integers(0, 255, (1024, 1024), dtype=np.uint8)
tifffile.imwrite("imagej.tif", slide, imagej=True, resolution=(4, 4), metadata={"unit": "um"})  # pixels of 0.25 um
tifffile.imwrite("none.tif", slide, metadata=None)
tifffile.imwrite("cm.tif", slide, resolution=(40000, 40000), resolutionunit="CENTIMETER", metadata=None)


def saved(name, **options):
    """Width in pixels and size of a pixel in um by the tags of each image in the file, and the description."""
    pyvips.Image.new_from_file(name).tiffsave("saved.tif", **options)
    sizes = []
    with tifffile.TiffFile("saved.tif") as file:
        for page in file.pages:
            number, per = page.tags["XResolution"].value
            unit = {2: 25400, 3: 10000}[int(page.tags["ResolutionUnit"].value)]
            sizes.append((page.imagewidth, round(unit * per / number, 3)))
        return sizes, "unit=um" in file.pages.first.description


found = {name: saved(f"{name}.tif") for name in ("imagej", "none", "cm")}
pyramid, _ = saved("cm.tif", pyramid=True, tile=True)
saved("imagej.tif")
spacing = sitk.ReadImage("saved.tif").GetSpacing()
print("pyvips", version("pyvips"), "with libvips", version("pyvips-binary"), "width and um per pixel:", found)
print("  SimpleITK, of the first, in mm:", spacing)
print("  pyramid:", pyramid, "by hand", [(1024 // 2**level, 0.25 * 2**level) for level in range(len(pyramid))])
assert found["imagej"] == ([(1024, 250)], True) and np.allclose(spacing, 0.25), f"this has changed: {found} {spacing}"
assert found["none"] == ([(1024, 1000)], False), f"this has changed: {found}"
assert found["cm"] == ([(1024, 0.25)], False), f"this has changed: {found}"
assert pyramid == [(1024, 0.25), (512, 0.25), (256, 0.25), (128, 0.25)], f"this has changed: {pyramid}"
PY
