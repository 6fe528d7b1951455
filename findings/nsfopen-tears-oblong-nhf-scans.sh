#!/usr/bin/env bash
# NSFopen tears the rows of a Nanosurf scan (.nhf, version 1) that is not square, and reads heights of 0 to 10 um as -5
# to 5 um.
#
# An .nhf file holds the values of a channel one behind the other, the number of points and lines, and what the smallest
# and the largest integer stand for. NSFopen shapes the values as (points, lines): a ramp along x of 8 points in 4 lines
# becomes 8 lines of 4 points, in which every other line goes on where the one before stopped. It multiplies by the range
# and leaves out where that begins: what is calibrated from 0 to 10 um, or a current from 1 to 3 nA, lies around 0, in
# files of version 2 as well. Square scans with a calibration that is symmetric about 0 are right. nanosurf-utils, by the
# maker of the microscopes as NSFopen is, has the right values and sizes. process.flatten(inplace=False), by its
# documentation "flattened image or None if inplace", and plane_level likewise, change the scan all the same: whoever
# compares orders 1 and 2 gets the second of what the first has left. Nothing is said in any of these.
# Seen with NSFopen 2.2.4, nanosurf-utils 2.0.7 (the other reader), h5py 3.16.0 (writing), pandas 3.1.1, scikit-learn
# 1.9.1 and matplotlib 3.11.2 (needed to import it), numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "NSFopen==2.2.4" "h5py==3.16.0" "pandas==3.1.1" \
    "scikit-learn==1.9.1" "matplotlib==3.11.2" "numpy==2.4.6"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-deps "nanosurf-utils==2.0.7"  # of it, one module
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import distribution, version
from importlib.util import module_from_spec, spec_from_file_location

import h5py
import numpy as np
from NSFopen.process import process
from NSFopen.read import read

path = distribution("nanosurf-utils").locate_file("nanosurf/utils/io/nhf_reader.py")
spec = spec_from_file_location("nhf_reader", path)
nhf_reader = module_from_spec(spec)
spec.loader.exec_module(nhf_reader)


def save(um, lowest, highest):
    """Write heights in um as 32-bit integers that reach from `lowest` to `highest`, as a file of version 1.1."""
    lines, points = um.shape
    with h5py.File("scan.nhf", "w") as file:
        file.attrs["nsf_file_version_major"], file.attrs["nsf_file_version_minor"] = 1, 1
        scan = file.create_group("group_0000")
        scan.attrs["name"], scan.attrs["measurement_type"] = "Image 1", "image_line_based"
        scan.attrs["image_points_per_line"], scan.attrs["image_number_of_lines"] = points, lines
        scan.attrs["image_size_x"], scan.attrs["image_size_y"] = 1e-6 * points, 1e-6 * lines
        forward = scan.create_group("subgroup_0000")
        forward.attrs["name"] = "Forward"
        integers = (um.ravel() - lowest) / (highest - lowest) * (2**32 - 1) - 2**31
        channel = forward.create_dataset("dataset_0000", data=integers.round().astype(np.int32))
        channel.attrs["name"], channel.attrs["dataset_element_type"] = "Topography", 0
        channel.attrs["base_calibration_min"], channel.attrs["base_calibration_max"] = lowest * 1e-6, highest * 1e-6
        channel.attrs["base_calibration_unit"] = channel.attrs["signal_unit"] = "m"


def by_nsfopen():
    return (1e6 * read("scan.nhf").data["Image"]["Forward"]["Topography"]).round(3)


def by_nanosurf():
    with nhf_reader.NHFFileReader("scan.nhf") as file:
        scan = file.measurements[0]
        heights = scan.segments[0].read_channel("Topography").dataset
        return (1e6 * heights).round(3).reshape(scan.dataset_size_y, scan.dataset_size_x)


ramp = np.tile(np.arange(8.0), (4, 1))  # 4 lines of 8 points, 1 um higher from point to point
save(ramp, -10, 10)
torn, right = by_nsfopen(), by_nanosurf()
print("NSFopen", version("NSFopen"), torn.tolist(), "nanosurf-utils", version("nanosurf-utils"), right.tolist())
assert np.array_equal(right, ramp), f"this has changed: {right}"
assert np.array_equal(torn, np.reshape(ramp, (8, 4))), f"this has changed: {torn}"
save(np.tile(np.arange(8.0), (8, 1)), 0, 10)
shifted, right = by_nsfopen()[0], by_nanosurf()[0]
print("  calibrated from 0 to 10 um:", shifted.tolist(), "nanosurf-utils", right.tolist())
assert np.array_equal(right, np.arange(8)) and np.array_equal(shifted, np.arange(8) - 5), f"this has changed: {shifted}"

bow = np.tile((np.arange(8.0) - 3.5) ** 2, (8, 1))
save(bow, -20, 20)
scan = process("scan.nhf")
before = scan.data["Image"]["Forward"]["Topography"].copy()
scan.flatten(order=2, channel="Topography", inplace=False)
after = scan.data["Image"]["Forward"]["Topography"]
spread = [round(float(1e6 * np.ptp(heights)), 3) for heights in (before, after)]
print("  spread in um of the scan before and after flatten(order=2, inplace=False):", spread)
assert spread == [12, 0], f"this has changed: {spread}"
PY
