#!/usr/bin/env bash
# imaris-ims-file-reader makes voxels of 4 nm of those of 4.4 nm, so that volumes are a quarter too small, and sizes of
# 0 of an image in millimetres.
#
# An Imaris file states the extent of the image, mostly in micrometres. The reader divides it by the number of voxels
# and rounds the size to three decimals unless told not to (resolution_decimal_places=None), which is far below what a
# light microscope resolves, and a good part of the voxel of an electron microscope, or of an expanded sample whose size
# is given as before expansion. 32.5 nm become 33. Where the extent is in millimetres, which the file's Unit may say, a
# pixel of 0.4 um becomes 0: the unit is not looked at. Each level of a pyramid is rounded by itself, so that they do
# not fit. napari-imaris-loader gives these sizes to napari as the scale. No word is said.
# Seen with imaris-ims-file-reader 0.1.8, h5py 3.16.0 (writing, and reading the extent), scikit-image 0.26.0, numpy
# 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --no-compile --disable-pip-version-check "imaris-ims-file-reader==0.1.8" \
    "h5py==3.16.0" "scikit-image==0.26.0" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO

import h5py
import numpy as np
from imaris_ims_file_reader.ims import ims

SHAPE = (4, 64, 64)  # z, y, x


def characters(text):
    return np.array([letter.encode() for letter in text], "S1")


def write(path, step, unit):
    with h5py.File(path, "w") as file:
        info = file.create_group("DataSetInfo/Image")
        info.attrs["Unit"] = characters(unit)
        for axis, (count, size) in enumerate(zip(reversed(SHAPE), reversed(step), strict=True)):
            info.attrs["XYZ"[axis]] = characters(str(count))
            info.attrs[f"ExtMin{axis}"] = characters("0")
            info.attrs[f"ExtMax{axis}"] = characters(f"{count * size:.6f}")
        for level in (0, 1):
            shape = (SHAPE[0], SHAPE[1] >> level, SHAPE[2] >> level)
            channel = file.create_group(f"DataSet/ResolutionLevel {level}/TimePoint 0/Channel 0")
            channel.create_dataset("Data", data=np.zeros(shape, np.uint16), chunks=shape)
            for name, count in zip("ZYX", shape, strict=True):
                channel.attrs[f"ImageSize{name}"] = characters(str(count))
            channel.attrs.update(HistogramMin=characters("0"), HistogramMax=characters("1"))


def stated(path):
    """Size of the voxels by the extent that the file states, in z, y and x."""
    with h5py.File(path) as file:
        attributes = file["DataSetInfo/Image"].attrs
        return [float(attributes[f"ExtMax{axis}"].tobytes()) / SHAPE[2 - axis] for axis in (2, 1, 0)]


found = {}
print("imaris-ims-file-reader", version("imaris-ims-file-reader"), "size stated, size given, and of the next level:")
for step, unit in (((0.0044,) * 3, "um"), ((0.2, 0.0325, 0.0325), "um"), ((0.002, 0.0004, 0.0004), "mm")):
    path = f"{step[-1]}.ims"
    write(path, step, unit)
    with redirect_stdout(StringIO()):  # it tells of each file that it opens or closes
        found[step] = tuple(ims(path, ResolutionLevelLock=level).resolution for level in (0, 1))
        exact = ims(path, resolution_decimal_places=None).resolution
    assert np.allclose(stated(path), step) and np.allclose(exact, step), f"this has changed: {exact}"
    volume = round(100 * np.prod(found[step][0]) / np.prod(step))
    print("  ", unit, step, *found[step], f"{volume} % of the volume")
assert found[(0.0044,) * 3] == ((0.004,) * 3, (0.004, 0.009, 0.009)), f"this has changed: {found}"
assert found[(0.2, 0.0325, 0.0325)] == ((0.2, 0.033, 0.033), (0.2, 0.065, 0.065)), f"this has changed: {found}"
assert found[(0.002, 0.0004, 0.0004)] == ((0.002, 0, 0), (0.002, 0.001, 0.001)), f"this has changed: {found}"
PY
