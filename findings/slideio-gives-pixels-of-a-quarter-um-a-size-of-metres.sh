#!/usr/bin/env bash
# slideio gives an ImageJ image with pixels of 0.25 um pixels of 4 m, and an OME-TIFF whose sizes have no unit pixels of
# 1 m.
#
# scene.resolution is in metres per pixel. ImageJ stores 4 pixels per micrometre as a resolution of 4 without a TIFF
# unit, and the unit in the description: slideio neither reads the one nor inverts the other, so that finer pixels are
# larger. In OME-XML a size without a unit is in micrometres, by the schema; there slideio leaves out the sizes of x and
# y, where either has no unit, and says 1, while the step of the slices beside them, without a unit as well, is right.
# A TIFF without any resolution has 1 as well, though nothing is known of it. Lengths come out 16 and 4 million times too
# large, without a word. Sizes with units, and TIFFs in inches or centimetres, are right. bioio reads both.
# Seen with slideio 2.10.0, tifffile 2026.3.3 (writing), bioio-ome-tiff 1.4.0 and bioio-tifffile 1.3.1 (the other
# readers), numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "slideio==2.10.0" "tifffile==2026.3.3" "bioio==3.6.0" \
    "bioio-ome-tiff==1.4.0" "bioio-tifffile==1.3.1" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version
from pathlib import Path

import bioio_ome_tiff
import bioio_tifffile
import numpy as np
import slideio
import tifffile

volume = np.zeros((5, 200, 300), np.uint16)
sizes = {"axes": "ZYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 3.0}
units = {f"PhysicalSize{axis}Unit": "µm" for axis in "XYZ"}
tifffile.imwrite("with.ome.tif", volume, metadata=sizes | units)
tifffile.imwrite("without.ome.tif", volume, metadata=sizes)
imagej = {"axes": "ZYX", "unit": "um", "spacing": 3.0}
tifffile.imwrite("imagej.tif", volume, imagej=True, resolution=(4, 4), metadata=imagej)
tifffile.imwrite("finer imagej.tif", volume, imagej=True, resolution=(10, 10), metadata=imagej)
tifffile.imwrite("cm.tif", volume, resolution=(40000, 40000), resolutionunit="CENTIMETER")
tifffile.imwrite("none.tif", volume)

found, other = {}, {}
for name in ("with.ome", "without.ome", "imagej", "finer imagej", "cm", "none"):
    scene = slideio.open_slide(str(Path(f"{name}.tif").resolve()), "AUTO").get_scene(0)  # it finds no relative OME path
    found[name] = tuple(float(f"{value:.3g}") for value in (*scene.resolution, scene.z_resolution))
    if name not in ("cm", "none"):
        reader = bioio_ome_tiff if "ome" in name else bioio_tifffile
        size = reader.Reader(f"{name}.tif").physical_pixel_sizes
        other[name] = tuple(round(float(value), 3) for value in (size.X, size.Y, size.Z))
    print(f"{name:13} slideio", version("slideio"), found[name], "m, bioio", other.get(name), "um")
assert other["with.ome"] == other["without.ome"] == other["imagej"] == (0.25, 0.25, 3), f"this has changed: {other}"
assert other["finer imagej"] == (0.1, 0.1, 3), f"this has changed: {other}"
assert found["with.ome"] == (2.5e-7, 2.5e-7, 3e-6) and found["cm"][:2] == (2.5e-7, 2.5e-7), f"this has changed: {found}"
assert found["without.ome"] == (1, 1, 3e-6) and found["none"][:2] == (1, 1), f"this has changed: {found}"
assert found["imagej"][:2] == (4, 4) and found["finer imagej"][:2] == (10, 10), f"this has changed: {found}"
PY
