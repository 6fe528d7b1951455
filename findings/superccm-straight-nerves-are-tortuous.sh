#!/usr/bin/env bash
# SuperCCM calls a straight corneal nerve tortuous when it runs at 20 degrees: 16.6, where a winding one has 13.4.
#
# Its CNFT follows a published coefficient that is 0 for a straight line in any direction. The pixels of the skeleton are
# turned until the ends are level and then taken for a smooth function, so that the staircase of pixels makes most of the
# result: the same straight nerve has 1.7 along the rows, 16.6 at 20 degrees and 0.4 at 45. Length over chord of the drawn
# curves is 1.00 and 1.06. Nerves of two patients, or of one eye seen at another angle, cannot be compared.
# Seen with superccm 1.1.1, aiccm 1.1.0, opencv-python 4.11.0.86, scikit-image 0.26.0, numpy 1.26.4, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "superccm==1.1.1" "aiccm==1.1.0" \
    "opencv-python==4.11.0.86" "scikit-image==0.26.0" "scipy==1.17.1" "numpy==1.26.4"
"$work/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import cv2
import numpy as np
from superccm.api import grfy, meas, skel, trunk

SHAPE, UM_PER_PIXEL = (384, 384), 400 / 384  # the field of a corneal confocal microscope


def tortuosity(degrees, amplitude):
    """CNFT by SuperCCM and length over chord of one nerve of 3 pixels that crosses the whole image."""
    along = np.linspace(-280, 280, 4001)
    across = amplitude * np.sin(2 * np.pi * along / 120)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    curve = np.stack([192 + along * cosine - across * sine, 192 + along * sine + across * cosine], 1)
    nerves = np.zeros(SHAPE, np.uint8)
    cv2.polylines(nerves, [curve.round().astype(np.int32)], False, 255, 3)
    field = np.full(SHAPE, 255, np.uint8)
    graph, trunks = trunk(grfy(nerves, skel(nerves, field, UM_PER_PIXEL)), field)
    metrics = meas(graph, nerves, trunks, nerves.size, UM_PER_PIXEL)
    assert metrics["Count of Main Nerves (n)"] == 1, f"this has changed: {metrics}"
    chord = np.linalg.norm(curve[-1] - curve[0])
    return float(metrics["CNFT"]), float(np.linalg.norm(np.diff(curve, axis=0), axis=1).sum() / chord)


straight = {degrees: tortuosity(degrees, 0) for degrees in (0, 20, 45)}
winding = tortuosity(20, 10)
for degrees, (cnft, ratio) in straight.items():
    print("superccm", version("superccm"), f"straight nerve at {degrees} degrees: CNFT {cnft}, length/chord {ratio:.3f}")
print(f"winding nerve at 20 degrees: CNFT {winding[0]}, length/chord {winding[1]:.3f}")
assert all(np.isclose(ratio, 1) for _, ratio in straight.values()) and winding[1] > 1.05, "the drawn curves"
assert [cnft for cnft, _ in straight.values()] == [1.731, 16.553, 0.423], f"this has changed: {straight}"
assert winding[0] == 13.439 < straight[20][0], f"this has changed: {winding}"
PY
