#!/usr/bin/env bash
# Run doctor, predict and refine in twelve environments; as root six of them with the rights of another account.
#
#     PYTHON=.venv/bin/python scripts/try_environments.sh
#
# One line each; it fails where predict or refine fails, answers differ, or a traceback is printed.
set -uo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 777 "$work"
python=${PYTHON:-.venv/bin/python}
"$python" -m napari_medseg sample afm --output "$work/scans" --count 1 >/dev/null 2>&1
scan=$(find "$work/scans/images" -name "*.tif" | head -1)
"$python" - "$scan" "$work/strokes.tif" <<'PY'
import sys

import numpy as np
import tifffile

scan = tifffile.imread(sys.argv[1])
strokes = np.zeros(scan.shape, np.uint8)
strokes[scan.shape[0] // 2, 40:90] = 2
tifffile.imwrite(sys.argv[2], strokes)
PY
mkdir -m 555 "$work/closed"
chmod -R a+rX "$work/scans" "$work/strokes.tif"
wrong=0 first=""

try() { # a name, then what goes before the command
    local name=$1 out
    shift
    out=$(mktemp -d -p "$work")
    chmod 777 "$out"
    "$@" "$python" -m napari_medseg doctor >"$out/doctor" 2>&1
    local doctor=$?
    "$@" "$python" -m napari_medseg predict afm-threshold "$scan" -o "$out/found" >"$out/predict" 2>&1
    local predict=$?
    "$@" "$python" -m napari_medseg refine "$scan" "$work/strokes.tif" -o "$out/mask.tif" >"$out/refine" 2>&1
    local refine=$? sum
    sum=$(cat "$out/mask.tif" "$out"/found/*_labels.tif 2>/dev/null | md5sum)
    first=${first:-$sum}
    echo "$name: doctor $doctor, predict $predict, refine $refine;$(grep '^compiled code' "$out/doctor" | cut -c14-70)"
    if [ "$predict$refine" != 00 ] || [ "$sum" != "$first" ] || grep -q Traceback "$out"/{doctor,predict,refine}; then
        wrong=$((wrong + 1))
    fi
}

other=() unknown=()
if [ "$(id -u)" = 0 ]; then
    other=(setpriv --reuid 65534 --regid 65534 --clear-groups) unknown=(setpriv --reuid 12345 --regid 12345 --clear-groups)
    "${other[@]}" "$python" -c "import napari_medseg" 2>/dev/null || { echo "$python cannot be started by other accounts"; exit 2; }
fi
try "as usual" env
try "no HOME" env -u HOME
try "a HOME that is not there" env HOME=/nowhere/at/all
try "a HOME that is a file" env HOME=/etc/passwd
try "a HOME that may not be written" "${other[@]}" env HOME="$work/closed"
try "an unknown user without HOME" "${unknown[@]}" env -u HOME
try "an unknown user with the HOME of another" "${unknown[@]}" env HOME=/root
try "no folder for caches" "${other[@]}" env HOME="$work/closed" XDG_CACHE_HOME="$work/closed" NUMBA_CACHE_DIR="$work/closed"
try "no folder for temporary files" "${other[@]}" env HOME="$work/closed" TMPDIR="$work/closed"
try "the C locale" env LC_ALL=C LANG=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0
try "nothing in the environment but where Python looks" env -i PYTHONPATH="${PYTHONPATH:-}"
try "a working folder that may not be written" "${other[@]}" env -C "$work/closed" HOME="$work/closed"
echo "$wrong of 12 wrong"
[ "$wrong" = 0 ]
