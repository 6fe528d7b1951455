#!/usr/bin/env bash
# gwyfile writes a channel title of one letter as a character, not as a string, and reads it back as a number: "Z" is 90.
#
# AFM channels are called "Z" or "E". The type of a component is guessed from the value, and a string of length one is
# taken for a single character; the .gwy format wants a string for a title. get_datafields then lists the channel under
# the key 90, and looking up "Z" fails. A typecode given for the title keeps it. Seen with gwyfile 0.3.0, numpy 2.4.6,
# Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "gwyfile==0.3.0" "numpy==2.4.6"
"$work/venv/bin/python" - "$work/scan.gwy" <<'PY'
import sys
from importlib.metadata import version

import gwyfile
import numpy as np
from gwyfile.objects import GwyContainer, GwyDataField


def titles_read(**options):
    scan = GwyContainer(**options)
    for number, title in enumerate(("Height", "Z")):
        scan[f"/{number}/data/title"] = title
        scan[f"/{number}/data"] = GwyDataField(np.zeros((2, 2)), xreal=1e-6, yreal=1e-6, si_unit_xy="m", si_unit_z="m")
    scan.tofile(sys.argv[1])
    return list(gwyfile.util.get_datafields(gwyfile.load(sys.argv[1])))


titles = titles_read()
print("gwyfile", version("gwyfile"), "reads the titles Height and Z as", titles)
assert titles == ["Height", 90], f"this has changed: {titles}"
kept = titles_read(typecodes={"/1/data/title": "s"})
assert kept == ["Height", "Z"], f"this has changed: {kept}"
PY
