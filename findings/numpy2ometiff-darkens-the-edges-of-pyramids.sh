#!/usr/bin/env bash
# numpy2ometiff darkens the last column and row of the smaller images of a pyramid: white glass of 240 turns to 30.
#
# Where a level has an odd number of columns or rows, the missing half of the last pixel is taken for 0 and averaged
# with it, and the next level is made from that one. A slide of 1001 x 1001 pixels is odd three times in a row: at the
# third level the last column holds an eighth, its corner 1/64, of what is on the slide. The whole image is right, as
# is every level of sizes that halve without rest; thumbnails and tissue masks made at a coarse level find dark tissue
# along two sides.
# Seen with numpy2ometiff 0.1.4, scikit-image 0.26.0, tifffile 2026.3.3 (reading), numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "numpy2ometiff==0.1.4" "tifffile==2026.3.3" \
    "imagecodecs==2026.3.6" "scikit-image==0.26.0" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
import contextlib
import io
from importlib.metadata import version

import numpy as np
import tifffile
from numpy2ometiff import write_ome_tiff


def edges(size):
    """Width of each level, and what it holds in the middle, in the last column and in the last corner."""
    glass = np.full((1, 3, size, size), 240, np.uint8)
    with contextlib.redirect_stdout(io.StringIO()):  # it tells what it writes
        write_ome_tiff(glass, "glass.ome.tif", pixel_size_x=0.5, pixel_size_y=0.5, downsample_count=3)
    with tifffile.TiffFile("glass.ome.tif") as file:
        levels = [level.asarray()[..., 0] for level in file.series[0].levels]
    return [[int(n) for n in (len(a), a[len(a) // 2, len(a) // 2], a[len(a) // 2, -1], a[-1, -1])] for a in levels]


found = {size: edges(size) for size in (1000, 1001)}
for size, levels in found.items():
    print(f"numpy2ometiff {version('numpy2ometiff')}, {size} wide: width, middle, last column, corner:", *levels)
assert all(level[1:] == [240] * 3 for level in found[1000]), f"this has changed: {found[1000]}"
assert found[1001] == [[1001, 240, 240, 240], [501, 240, 120, 60], [251, 240, 60, 15], [126, 240, 30, 3]], (
    f"this has changed: {found[1001]}"
)
PY
