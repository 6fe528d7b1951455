#!/usr/bin/env bash
# napari-rosettasciio opens a dim image as labels and a bright one of the same camera as an image.
#
# Integers with fewer than 1000 different values become a Labels layer, so that each grey value is an object with a
# colour of its own: all 8-bit files, and of 16-bit ones those with low counts, as of a short exposure or a dim
# channel. There is no contrast to set, a brush changes the measured values, and what measures labels finds hundreds
# of objects. As floats the same values are an image. The step of 0.4 nm arrives as 0.4, without its unit.
# Seen with napari-rosettasciio 0.1.1, rosettasciio 0.15.0, PyQt5 5.15.11 (needs the system libraries of Qt, no
# display), mrcfile 1.5.4 (writing), numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "napari-rosettasciio==0.1.1" "rosettasciio==0.15.0" \
    "PyQt5==5.15.11" "mrcfile==1.5.4" "numpy==2.4.6"
cd "$work"
QT_QPA_PLATFORM=offscreen venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import mrcfile
import numpy as np
from napari_rosettasciio._reader import napari_get_reader

scene = np.linspace(1000, 9000, 64 * 64).reshape(64, 64)  # expected counts
electrons = np.random.default_rng(0).poisson(scene / 100)
images = {
    "short exposure, 16 bits": electrons.astype(np.uint16),
    "exposed 100 times as long": np.random.default_rng(0).poisson(scene).astype(np.uint16),
    "short exposure, 8 bits": electrons.clip(0, 127).astype(np.int8),
    "short exposure, floats": electrons.astype(np.float32),
}
found = {}
for name, image in images.items():
    with mrcfile.new("image.mrc", data=image, overwrite=True) as file:
        file.voxel_size = 4  # angstrom
    ((data, layer, kind),) = napari_get_reader("image.mrc")("image.mrc")
    assert np.array_equal(data, image), "this has changed"
    found[name] = kind, np.unique(data).size, layer["scale"], layer.get("units")
print("napari-rosettasciio", version("napari-rosettasciio"), "layer, values, scale and units:")
for name, result in found.items():
    print(" ", name, *result)
kinds = [kind for kind, *_ in found.values()]
assert kinds == ["labels", "image", "labels", "image"], f"this has changed: {found}"
assert all(np.allclose(scale, 0.4) and units is None for *_, scale, units in found.values()), f"this has changed: {found}"
PY
