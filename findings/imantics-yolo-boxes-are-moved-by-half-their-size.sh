#!/usr/bin/env bash
# imantics writes YOLO boxes that cover a quarter of each cell: the corner stands where the format has the centre.
#
# A line of YOLO holds a class, the centre of the box, its width and its height, all as parts of the image. imantics,
# which COCO Annotator is built on, writes the box's upper left corner for the centre, so that every box lies half its
# width too far left and half its height too high, and a box at the upper left border lies outside the image by half.
# A box that is made from a mask is also one pixel too narrow and too low, in COCO as well, since it ends on the last
# pixel, not behind it. A detector learns both from such labels, and its own boxes agree with them in every score.
# Convert the box of annotation.bbox() by hand, or the COCO export with globox (and give boxes of masks their pixel).
# Seen with imantics 0.1.12, opencv-python-headless 4.12.0.88, globox 2.9.0 (reading), pillow 13.0.0, numpy 2.2.6,
# Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "opencv-python-headless==4.12.0.88" "numpy==2.2.6" \
    "lxml==6.0.2" "xmljson==0.2.1" "globox==2.9.0" "pillow==13.0.0" "setuptools==80.9.0" \
    "wheel==0.45.1"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-deps --no-build-isolation "imantics==0.1.12"
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version
from pathlib import Path

import numpy as np
from globox import AnnotationSet
from imantics import Annotation, BBox, Category, Image, Mask
from PIL import Image as Picture

Path("labels").mkdir()
Path("images").mkdir()
pixels = np.zeros((200, 400, 3), np.uint8)  # 400 wide, 200 high
Picture.fromarray(pixels).save("images/cell.png")
image = Image(image_array=pixels)
cell = np.zeros((200, 400), bool)
cell[100:140, 80:160] = True  # columns 80 to 159, rows 100 to 139


def as_yolo_readers_see(annotation):
    """Left, top, right and bottom in pixels of the box that the YOLO line says."""
    Path("labels", "cell.txt").write_text(annotation.yolo() + "\n")
    (read,) = AnnotationSet.from_yolo_darknet("labels", image_folder="images", image_extension=".png")
    (box,) = read.boxes
    return [round(float(side), 1) for side in (box.xmin, box.ymin, box.xmax, box.ymax)]


category = Category("cell", id=1)
drawn = Annotation(image=image, category=category, bbox=BBox((80, 100, 160, 140)))
masked = Annotation(image=image, category=category, mask=Mask(cell))
found = {name: as_yolo_readers_see(a) for name, a in (("from its box", drawn), ("from its mask", masked))}
print("imantics", version("imantics"), "writes", drawn.yolo(), "for a cell at [80, 100, 160, 140]; globox reads", found)
print("  by hand: 1 0.30000 0.60000 0.20000 0.20000; COCO box from the mask:", masked.coco(include=False)["bbox"])
assert found["from its box"] == [40, 80, 120, 120], f"this has changed: {found}"
assert found["from its mask"] == [40.5, 80.5, 119.5, 119.5], f"this has changed: {found}"
assert tuple(masked.coco(include=False)["bbox"]) == (80, 100, 79, 39), "this has changed: COCO box"
PY
