#!/usr/bin/env bash
# itkwasm-image-io reads every label of a 32-bit TIFF as 0, in an array of the right size and type.
#
# Label images of large fields are written as 32-bit integers, with and without a sign. The reader of itk-wasm (used
# by ngff-zarr and in browsers) returns them empty and raises nothing; 8 and 16 bits and floats are right, and the
# same array as NRRD is. Half-precision floats, as networks write probabilities, are returned as their bits: 1.0 is
# 15360, and SimpleITK does the same. tifffile reads both. Seen with itkwasm-image-io 1.6.1, SimpleITK 2.5.7, tifffile
# 2026.3.3, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "itkwasm-image-io==1.6.1" "SimpleITK==2.5.7" "tifffile==2026.3.3" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import SimpleITK as sitk
import tifffile
from itkwasm_image_io import imread

labels = np.arange(20).reshape(5, 4)
found = {}
for kind in ("uint8", "uint16", "int32", "uint32", "float32", "float16"):
    tifffile.imwrite("labels.tif", labels.astype(kind))
    assert np.array_equal(tifffile.imread("labels.tif"), labels)
    by_wasm = np.asarray(imread("labels.tif").data)
    by_itk = sitk.GetArrayFromImage(sitk.ReadImage("labels.tif"))
    found[kind] = [(array.dtype.name, array[0].tolist()) for array in (by_wasm, by_itk)]
sitk.WriteImage(sitk.GetImageFromArray(labels.astype(np.uint32)), "labels.nrrd")
assert np.array_equal(imread("labels.nrrd").data, labels)

print("itkwasm-image-io", version("itkwasm-image-io"), "and SimpleITK", sitk.Version.VersionString(), "read 0 1 2 3 as")
for kind, results in found.items():
    print(" ", kind, *results)
right = [0, 1, 2, 3]
for kind in ("uint8", "uint16", "float32"):
    assert found[kind] == [(kind, right)] * 2, f"this has changed: {found[kind]}"
for kind in ("int32", "uint32"):
    assert found[kind] == [(kind, [0] * 4), (kind, right)], f"this has changed: {found[kind]}"
bits = ("uint16", [0, 15360, 16384, 16896])
assert found["float16"] == [bits] * 2, f"this has changed: {found['float16']}"
PY
