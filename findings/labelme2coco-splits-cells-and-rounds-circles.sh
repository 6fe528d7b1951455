#!/usr/bin/env bash
# labelme2coco makes two cells of one that was outlined in two pieces, and the area of a round spot depends on its
# place.
#
# In labelme the parts of an object, such as a cell that a fibre hides in the middle, are outlined one by one and given
# the same Group ID; labelme's own masks of instances join them, and a COCO object may have several polygons. The
# converter does not look at the number: each part is an object, counted and scored by itself. The outline of a circle
# is rounded to whole pixels before it is measured, halves to the even number: a spot of radius 3 (28.3 square pixels)
# has 32 about the corner of a pixel and 25 about its middle, with a box of 6 x 5. Large circles lose little. A line
# becomes an object without box and polygon and with an area of 0, which COCO does not have. Nothing is said.
# Seen with labelme2coco 0.2.6, sahi 0.12.8, opencv-python 5.0.0.93, shapely 2.2.0, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "labelme2coco==0.2.6" "sahi==0.12.8" \
    "opencv-python==5.0.0.93" "shapely==2.2.0" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
import json
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import version
from io import StringIO
from math import pi
from pathlib import Path

from labelme2coco import get_coco_from_labelme_folder

Path("annotated").mkdir()


def convert(*shapes):
    """COCO annotations of shapes, each given as its type, its points and its group."""
    stated = [
        {"label": "cell", "shape_type": kind, "points": points, "group_id": group, "flags": {}}
        for kind, points, group in shapes
    ]
    picture = {"imagePath": "cell.png", "imageData": None, "imageHeight": 100, "imageWidth": 100}
    Path("annotated/cell.json").write_text(json.dumps({"version": "5.5.0", "flags": {}, "shapes": stated, **picture}))
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # names of files, a bar of progress
        return get_coco_from_labelme_folder("annotated").json["annotations"]


halves = [[[10, 10], [30, 10], [30, 20], [10, 20]], [[10, 24], [30, 24], [30, 34], [10, 34]]]
pieces = convert(*(("polygon", half, 1) for half in halves))
print("labelme2coco", version("labelme2coco"), "objects of one cell in two pieces:", len(pieces))
assert [piece["area"] for piece in pieces] == [200, 200], f"this has changed: {pieces}"

circles = {}
for middle in (30, 30.3, 30.5):
    (circle,) = convert(("circle", [[middle, middle], [middle + 3, middle]], None))
    circles[middle] = [round(circle["area"]), *(round(side) for side in circle["bbox"][2:])]
print(f"  area and box of a circle of radius 3 ({3 * 3 * pi:.1f}, 6 x 6) by its middle:", circles)
assert circles == {30: [32, 6, 6], 30.3: [28, 6, 6], 30.5: [25, 6, 5]}, f"this has changed: {circles}"

(line,) = convert(("line", [[10, 10], [20, 20]], None))
print("  a line:", {name: line[name] for name in ("bbox", "area", "segmentation")})
assert (line["bbox"], line["area"], line["segmentation"]) == ([], 0, []), f"this has changed: {line}"
PY
