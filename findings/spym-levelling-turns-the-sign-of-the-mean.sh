#!/usr/bin/env bash
# spym's plane levelling makes -519 mV of a contact potential of +519 mV: it takes the mean away twice.
#
# One line is fitted to the mean of the columns, one to the mean of the rows, and both are subtracted; each of them has
# the mean of the whole image in it. A levelled image so has the mean of the one before with the other sign, neither
# that mean nor the 0 of a plane that is fitted by least squares, or of its own align. The slope is
# right and contrast is kept, so that a picture does not show it: potentials and currents change their sign, and the
# threshold that finds what is higher than 0 finds nothing or all. Add twice the old mean, or call fixzero(to_mean=True).
# Seen with spym 0.9.2, xarray 2026.7.0, hvplot 0.12.2 (needed to import it), scipy 1.17.1, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --no-compile --disable-pip-version-check "spym==0.9.2" "xarray==2026.7.0" \
    "hvplot==0.12.2" "matplotlib==3.10.8" "scipy==1.17.1" "numpy==2.4.6"
"$work/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import spym  # noqa: F401  registers the accessor
import xarray as xr

rows, columns = np.mgrid[:60, :80]
grains = ((rows // 10 + columns // 10) % 2 == 0) * 40.0  # 40 mV higher than what lies between them
tilt = 0.2 * columns - 0.3 * rows
potential = xr.DataArray(500 + tilt + grains, dims=("y", "x"), attrs={"units": "mV"})


def levelled(method):
    image = potential.copy(deep=True)
    getattr(image.spym, method)()
    return image.to_numpy()


plane = np.column_stack([np.ones(potential.size), rows.ravel(), columns.ravel()])
before = potential.to_numpy().ravel()
by_least_squares = before - plane @ np.linalg.lstsq(plane, before, rcond=None)[0]
means = {method: round(float(levelled(method).mean()), 6) for method in ("plane", "align")}
print("mean before", before.mean(), "after levelling by spym", version("spym"), means, end=" ")
print("by a plane of least squares", abs(round(by_least_squares.mean(), 6)))
assert np.isclose(before.mean(), 519.05) and np.isclose(by_least_squares.mean(), 0), "this has changed: the image"
assert means == {"plane": -519.05, "align": 0}, f"this has changed: {means}"
difference = levelled("plane").ravel() - by_least_squares
assert np.allclose(difference, -519.05), f"this has changed: {difference}"
PY
