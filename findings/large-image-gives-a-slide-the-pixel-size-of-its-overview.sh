#!/usr/bin/env bash
# large-image gives the slide in an OME-TIFF the pixel size of the image that comes first in the file, its overview.
#
# An OME-TIFF may hold several images, each with a PhysicalSize of its own. The tifffile source of large-image (which
# HistomicsTK and the Digital Slide Archive read by) takes the largest image for the slide, and the size of a pixel from
# the first one. Where the overview comes first, a slide with pixels of 0.25 um has pixels of 5 um and a magnification
# of 2 instead of 40: a region of 0.1 x 0.1 mm is one of 20 x 20 pixels, 5 um wide, a nucleus is 20 times as long as it
# is, and at a magnification of 20, as networks ask for, 400 x 400 pixels are blown up to 3999 x 3999 instead of halved.
# With the slide first this is right; in either order the overview is taken for a second field of the slide. Nothing is
# said. bioio-ome-tiff keeps the images apart.
# Seen with large-image 1.35.6, large-image-source-tifffile 1.35.6, tifffile 2026.3.3 (writing), bioio-ome-tiff 1.4.0
# (the other reader), numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "large-image==1.35.6" \
    "large-image-source-tifffile==1.35.6" "tifffile==2026.3.3" "bioio==3.6.0" "bioio-ome-tiff==1.4.0" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import tifffile
from bioio_ome_tiff import Reader
from large_image_source_tifffile import TifffileFileTileSource

IMAGES = {"overview": ((300, 400), 5.0, 10), "slide": ((1024, 2048), 0.25, 200)}  # pixels, um per pixel, grey value


def write(name, order):
    with tifffile.TiffWriter(name) as file:
        for image in order:
            shape, size, value = IMAGES[image]
            metadata = {"axes": "YX", "Name": image}
            metadata |= {f"PhysicalSize{axis}": size for axis in "XY"}
            metadata |= {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
            file.write(np.full(shape, value, np.uint8), tile=(256, 256), metadata=metadata)


def by_large_image(name):
    """Pixels, um per pixel and magnification of the slide, pixels in 0.1 x 0.1 mm, and of 400 x 400 at 20, and fields."""
    source = TifffileFileTileSource(name)
    about = source.getMetadata()
    region = {"left": 0, "top": 0, "width": 0.1, "height": 0.1, "units": "mm"}
    tile, _ = source.getRegion(region=region, format="numpy")
    region = {"left": 0, "top": 0, "width": 400, "height": 400}
    at_20, _ = source.getRegion(region=region, scale={"magnification": 20}, format="numpy")
    size = round(1000 * about["mm_x"], 3)
    return (about["sizeY"], about["sizeX"]), size, about["magnification"], tile.shape[:2], at_20.shape[:2], source.frames


found, sizes = {}, {}
for first, second in (("overview", "slide"), ("slide", "overview")):
    write(f"{first}.ome.tif", (first, second))
    found[first] = by_large_image(f"{first}.ome.tif")
    reader = Reader(f"{first}.ome.tif")
    sizes[first] = []
    for scene in reader.scenes:
        reader.set_scene(scene)
        sizes[first].append((reader.shape[-2:], reader.physical_pixel_sizes.X))
    print(first, "first: large-image", version("large-image"), *found[first])
    print("  bioio-ome-tiff", version("bioio-ome-tiff"), sizes[first])
apart = [IMAGES[name][:2] for name in ("overview", "slide")]
assert sizes == {"overview": apart, "slide": apart[::-1]}, f"this has changed: {sizes}"
assert found["slide"] == ((1024, 2048), 0.25, 40, (400, 400), (200, 200), 2), f"this has changed: {found}"
assert found["overview"] == ((1024, 2048), 5, 2, (20, 20), (3999, 3999), 2), f"this has changed: {found}"
PY
