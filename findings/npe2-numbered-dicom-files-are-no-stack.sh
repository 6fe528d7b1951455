#!/usr/bin/env bash
# npe2 refuses to open slices together whose names end in a DICOM UID: it takes the last number for an extension.
#
# Scanners name the slices of one series 1.2.840.113619...1, ...2, ...3 without a suffix. npe2 compares the "extensions"
# of all paths given as a stack before any plugin is asked, finds .1 and .2, and raises ValueError("All paths in the
# stack list must have the same extension."). A plugin cannot help; its users must open the folder instead.
# Seen with npe2 0.10.0, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "npe2==0.10.0"
"$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import npe2

paths = [f"1.2.840.99999.5.{k}" for k in (1, 2, 3)]
try:
    npe2.read(paths, stack=True)
except ValueError as error:
    said = str(error)
else:
    raise SystemExit("this has changed: no error")
print("npe2", version("npe2"), "says of three slices named by UID:", said)
assert "extension" in said, f"this has changed: {said}"
PY
