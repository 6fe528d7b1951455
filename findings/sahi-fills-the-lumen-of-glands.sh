#!/usr/bin/env bash
# sahi's COCO annotation of a ring-shaped gland of 1564 pixels is a full disc of 2736 to pycocotools, lumen included.
#
# A mask becomes one polygon for each border, holes as well. In COCO the polygons of an object are parts that are added
# up, and there are no holes among them: whoever reads the file fills the lumen. sahi itself paints outline and hole
# together and gets the ring back, so that a look at it in sahi shows nothing, and the area that it states, 1422, is of
# neither. The outlines run through the middles of the outermost pixels besides, with boxes to match: a cell of 20 x 10
# pixels has a box of 19 x 9 and an area of 171, a spot of 2 x 2 an area of 1. pycocotools encodes the masks themselves
# (RLE) without loss.
# Seen with sahi 0.12.8, opencv-python 5.0.0.93, shapely 2.2.0, pycocotools 2.0.11, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "sahi==0.12.8" "opencv-python==5.0.0.93" "shapely==2.2.0" \
    "pycocotools==2.0.11" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version

import numpy as np
from pycocotools import mask as coco
from sahi.annotation import ObjectAnnotation

y, x = np.mgrid[:100, :100]
radius = np.hypot(y - 50, x - 50)
masks = {
    "ring": (radius > 20) & (radius <= 30),
    "cell of 20 x 10": (abs(y - 24.5) < 5) & (abs(x - 49.5) < 10),
    "spot of 2 x 2": (abs(y - 20.5) < 1) & (abs(x - 40.5) < 1),
}
print("sahi", version("sahi"), "pixels of the mask, by sahi, by pycocotools, area stated, width and height of the box:")
found = {}
for name, mask in masks.items():
    read = ObjectAnnotation.from_bool_mask(mask, category_id=1, category_name="gland", full_shape=list(mask.shape))
    stated = read.to_coco_annotation().json
    polygons = [[float(value) for value in polygon] for polygon in stated["segmentation"]]
    filled = coco.decode(coco.merge(coco.frPyObjects(polygons, *mask.shape)))
    sizes = [int(np.sum(pixels)) for pixels in (mask, read.mask.bool_mask, filled)]
    found[name] = [*sizes, int(stated["area"]), *(int(side) for side in stated["bbox"][2:])]
    print(f"  {name:16}", *found[name])
    if name == "ring":
        assert filled[50, 50] and not mask[50, 50], "this has changed: the lumen"
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert np.array_equal(coco.decode(rle), mask), "this has changed: RLE"
assert found["ring"] == [1564, 1564, 2736, 1422, 60, 60], f"this has changed: {found}"
assert found["cell of 20 x 10"] == [200, 200, 171, 171, 19, 9], f"this has changed: {found}"
assert found["spot of 2 x 2"] == [4, 4, 1, 1, 1, 1], f"this has changed: {found}"
PY
