#!/usr/bin/env bash
# napari-tiff opens an OME-TIFF with pixels of 4 angstrom as one with pixels of 4 um, and one without a unit as pixels.
#
# It knows nm, um, mm, cm and m. Every other unit of OME's list (angstrom and pm of electron and probe microscopes, dm, in,
# thou ...) is passed on as micrometres with the number unchanged: 10,000 times too large. A size without a unit is in
# micrometres by the OME schema; there the number stays and the unit becomes pixel. Scale bars and all that is measured in
# the layer's units follow, without a warning.
# Seen with napari-tiff 0.1.6, tifffile 2026.3.3, ome-types 0.7.0 and Pint 0.25.3 (the other reader), numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "napari-tiff==0.1.6" "tifffile==2026.3.3" \
    "ome-types==0.7.0" "Pint==0.25.3" "numpy==2.4.6" "zarr==3.1.6" "dask==2026.8.0"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import ome_types
import tifffile
from napari_tiff.napari_tiff_reader import napari_get_reader

STATED = 4.0


def pixel_size(unit):
    """Pixel size in x of an OME-TIFF as napari-tiff gives it (scale, unit), and in um by ome-types."""
    sizes = {f"PhysicalSize{axis}": STATED for axis in "XY"}
    units = {f"PhysicalSize{axis}Unit": unit for axis in "XY"} if unit else {}
    tifffile.imwrite("scan.ome.tif", np.zeros((32, 48), np.uint16), ome=True, metadata={"axes": "YX", **sizes, **units})
    ((_, layer, _),) = napari_get_reader("scan.ome.tif")("scan.ome.tif")
    other = ome_types.from_tiff("scan.ome.tif").images[0].pixels.physical_size_x_quantity
    return float(layer["scale"][1]), layer["units"][1], float(f"{other.to('micrometer').magnitude:.6g}")


expected = {
    "nm": (0.004, "µm", 0.004),
    "µm": (4, "µm", 4),
    "mm": (4000, "µm", 4000),
    "Å": (4, "µm", 0.0004),
    "pm": (4, "µm", 4e-6),
    "in": (4, "µm", 101600),
    None: (4, "pixel", 4),
}
print("napari-tiff", version("napari-tiff"), "pixels of", STATED, "of each unit: as opened, and in um by ome-types")
for unit, wanted in expected.items():
    found = pixel_size(unit)
    print(" ", unit or "no unit", *found)
    assert found == wanted, f"this has changed: {unit} {found}"
PY
