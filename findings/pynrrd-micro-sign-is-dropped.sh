#!/usr/bin/env bash
# pynrrd reads the space unit "µm" of a valid NRRD header as "m": a step of 0.5 micrometres becomes half a metre.
#
# NRRD allows UTF-8 only in some places, but microscopes and other writers put "µm" into `space units`, and the sign is
# also written by programs that follow SI. pynrrd decodes headers as ASCII and drops what is not, so the unit that is
# left is another valid unit, a million times as large. Seen with pynrrd 1.1.3, numpy 2.2.6, Python 3.11.
# A reader that needs the unit must read the header's bytes itself.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "pynrrd==1.1.3" "numpy==2.2.6"
"$work/venv/bin/python" - "$work/cells.nrrd" <<'PY'
import sys
import numpy as np
import nrrd

path = sys.argv[1]
header = (
    "NRRD0004\ntype: uint8\ndimension: 3\nspace dimension: 3\nsizes: 2 3 4\nencoding: raw\n"
    'space units: "µm" "µm" "µm"\nspace directions: (0.5,0,0) (0,0.5,0) (0,0,2)\nspace origin: (0,0,0)\n\n'
)
with open(path, "wb") as file:
    file.write(header.encode("utf-8") + np.arange(24, dtype=np.uint8).tobytes())
units = nrrd.read_header(path)["space units"]
print("pynrrd", nrrd.__version__, "reads the units", units, "of a header that says µm")
assert list(units) == ["m", "m", "m"], f"this has changed: {units}"
PY
