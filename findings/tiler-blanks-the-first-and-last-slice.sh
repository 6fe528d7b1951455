#!/usr/bin/env bash
# tiler puts a volume together again with nothing in its first and last slice where a Hann window is asked for.
#
# Tiles that overlap are weighted, so that what a network says at the border of a tile counts little. A Hann window is 0
# on the outermost voxels of a tile, and those on the border of the volume lie in no other: weight and sum are 0, and
# their quotient is set to 0. Of a volume whose tiles fit, all six faces are blank: the first and the last slice, and a
# frame of one pixel in all others; where tiles do not fit, the first ones. "bartlett", "bohman" and "barthann" do the
# same; of the others "blackman" loses the 8 corners, the rest nothing. That a margin is needed is said of
# "overlap-tile" alone. A lesion that reaches into the last slice ends before it, and background 0 looks like an answer.
# Pad by Tiler.calculate_padding(), or take "hamming".
# Seen with tiler 0.6.0, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "tiler==0.6.0" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version

import numpy as np
from tiler import Merger, Tiler

volume = np.full((20, 64, 64), 7, np.float32)  # slices, rows, columns


def merged(window, shape):
    part = volume[tuple(slice(size) for size in shape)]
    tiler = Tiler(data_shape=part.shape, tile_shape=(8, 32, 32), overlap=(4, 16, 16))
    merger = Merger(tiler, window=window)
    for number, tile in tiler(part):
        merger.add(number, tile)
    return merger.merge()


print("tiler", version("tiler"), "blank slices and blank voxels of 20 slices of 64 x 64, window by window:")
found = {}
for window in Merger.SUPPORTED_WINDOWS:
    if window != "overlap-tile":  # its documentation says that a margin is needed
        blank = np.abs(merged(window, volume.shape) - 7) > 0.01
        found[window] = (np.flatnonzero(blank.all(axis=(1, 2))).tolist(), int(blank.sum()))
        print(f"  {window:15}", *found[window])
inside = 18 * 62 * 62
hollow = {window for window, (slices, count) in found.items() if (slices, count) == ([0, 19], volume.size - inside)}
assert hollow == {"hann", "bartlett", "bohman", "barthann"}, f"this has changed: {found}"
rest = {window: count for window, (_, count) in found.items() if window not in hollow and count}
assert rest == {"blackman": 8}, f"this has changed: {rest}"
blank = np.flatnonzero((merged("hann", (19, 60, 60)) == 0).all(axis=(1, 2))).tolist()
print("  hann, 19 slices of 60 x 60, in which tiles do not fit:", blank)
assert blank == [0], f"this has changed: {blank}"

tiler = Tiler(data_shape=volume.shape, tile_shape=(8, 32, 32), overlap=(4, 16, 16))
shape, margin = tiler.calculate_padding()
tiler.recalculate(data_shape=shape)
merger = Merger(tiler, window="hann")
for number, tile in tiler(np.pad(volume, margin, mode="reflect")):
    merger.add(number, tile)
assert np.allclose(merger.merge(extra_padding=margin), 7), "this has changed: with padding"
PY
