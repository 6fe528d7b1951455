#!/usr/bin/env bash
# bioio-czi returns a red pixel of a CZI slide as blue; czifile returns it as red.
#
# Colour in CZI is stored as Bgr24, blue first. bioio calls the last axis S, the samples, which its readers of other
# formats give as red, green, blue, and so does any viewer; bioio-czi passes the bytes on as they lie, and
# aicspylibczi and SlideIO do the same (SlideIO gives red first of a PNG). Eosin becomes violet and haematoxylin
# brown, and stain separation and networks for H&E see other tissue. Nothing states the order.
# Seen with bioio-czi 3.0.1, aicspylibczi 4.0.1, slideio 2.10.0, czifile 2019.7.2.3, pylibCZIrw 6.1.0 (writing),
# pillow 13.0.0 (writing), numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "bioio-czi==3.0.1" "aicspylibczi==4.0.1" "slideio==2.10.0" \
    "czifile==2019.7.2.3" "pylibCZIrw==6.1.0" "pillow==13.0.0" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import bioio_czi
import czifile
import numpy as np
import slideio
from aicspylibczi import CziFile
from PIL import Image
from pylibCZIrw import czi

blue_green_red = np.full((40, 60, 3), (30, 90, 220), np.uint8)  # eosin: red 220, green 90, blue 30
with czi.create_czi("slide.czi") as slide:
    slide.write(blue_green_red)
    slide.write_metadata("slide", scale_x=0.25e-6, scale_y=0.25e-6)
with czi.open_czi("slide.czi") as slide:
    stored = slide.pixel_types
Image.fromarray(blue_green_red[..., ::-1].copy()).save("slide.png")

bioio = bioio_czi.Reader("slide.czi")
first = {
    "czifile": czifile.imread("slide.czi"),
    "bioio-czi": bioio.data,
    "bioio-czi with aicspylibczi": bioio_czi.Reader("slide.czi", use_aicspylibczi=True).data,
    "aicspylibczi": CziFile("slide.czi").read_image()[0],
    "SlideIO": slideio.open_slide("slide.czi", "CZI").get_scene(0).read_block(),
    "SlideIO of PNG": slideio.open_slide("slide.png", "GDAL").get_scene(0).read_block(),
}
first = {name: array.reshape(-1, 3)[0].tolist() for name, array in first.items()}
print("stored as", stored, "read as", first, "axes of bioio-czi", version("bioio-czi"), bioio.dims.order)
assert stored == {0: "Bgr24"} and bioio.dims.order.endswith("S"), f"this has changed: {stored} {bioio.dims}"
red_first = [first.pop("czifile"), first.pop("SlideIO of PNG")]
assert red_first == [[220, 90, 30]] * 2, f"this has changed: {red_first}"
assert list(first.values()) == [[30, 90, 220]] * 4, f"this has changed: {first}"
PY
