#!/usr/bin/env bash
# ome-zarr-py's reader leaves out the scale that OME-NGFF allows for a whole multiscale image; bioio multiplies it.
#
# NGFF 0.4 says: the transformations of a resolution level come first, then those of the multiscale. A level of scale 2
# under a multiscale of scale 10 has pixels of 20 nm; the metadata that ome_zarr.reader hands to viewers say 2, and
# nothing tells of the rest, so distances in a viewer are ten times too short.
# Seen with ome-zarr 0.18.0, bioio-ome-zarr 3.8.1, zarr 3.1.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "ome-zarr==0.18.0" "bioio-ome-zarr==3.8.1" "zarr==3.1.6"
"$work/venv/bin/python" - "$work/cells.zarr" <<'PY'
import sys
from importlib.metadata import version

import bioio_ome_zarr
import numpy as np
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

path = sys.argv[1]
group = zarr.open_group(path, mode="w", zarr_format=2)
group.create_array("0", data=np.zeros((4, 5), np.uint8), chunk_key_encoding={"name": "v2", "separator": "/"})
scale = {"type": "scale", "scale": [2.0, 2.0]}
group.attrs["multiscales"] = [
    {
        "version": "0.4",
        "axes": [{"name": name, "type": "space", "unit": "nanometer"} for name in "yx"],
        "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
        "coordinateTransformations": [{"type": "scale", "scale": [10.0, 10.0]}],
    }
]
(node,) = list(Reader(parse_url(path))())
shown = node.metadata["coordinateTransformations"]
sizes = bioio_ome_zarr.Reader(path).physical_pixel_sizes
print("ome-zarr", version("ome-zarr"), "hands on", node.metadata)
print("bioio-ome-zarr", version("bioio-ome-zarr"), "has pixels of", sizes.Y, "x", sizes.X)
assert shown == [[scale]], f"this has changed: {shown}"
assert "10.0" not in str(node.metadata), f"this has changed: {node.metadata}"
assert (sizes.Y, sizes.X) == (20, 20), f"this has changed: {sizes}"
PY
