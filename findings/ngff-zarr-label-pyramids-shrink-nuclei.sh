#!/usr/bin/env bash
# ngff-zarr's label pyramids lose 39 % of the area of nuclei at 1/8 of the resolution, and two thirds of them at 1/16.
#
# Its two methods for labels take the most frequent value of 2 x 2 pixels of the level before, and of equally frequent
# ones the smallest, which is the background: something is lost around each object at every level. 484 nuclei of 24
# pixels keep 95, 85 and 61 % of their area at 1/2, 1/4 and 1/8, and 325 are gone at 1/16. What is measured or counted on
# a lower level of an OME-Zarr, as programs for large images do, is too small and too few. At 1/8 the most frequent
# value of whole blocks keeps 94 %, every eighth pixel 100 %.
# Seen with ngff-zarr 0.50.0, itkwasm-downsample 2.0.2, dask 2026.8.0, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "ngff-zarr==0.50.0" \
    "itkwasm-downsample==2.0.2" "dask==2026.8.0" "numpy==2.4.6"
"$work/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import ngff_zarr
import numpy as np

shift = np.random.default_rng(0)
rows, columns = np.mgrid[:1024, :1024]
nuclei = np.zeros((1024, 1024), np.uint16)
for number in range(22 * 22):
    y, x = 30 + 45 * np.array(divmod(number, 22)) + shift.uniform(-8, 8, 2)
    nuclei[(rows - y) ** 2 + (columns - x) ** 2 < 12**2] = number + 1


def share_and_count(labels):
    """Labelled area as a share of the full resolution's, and how many nuclei there are."""
    return round(float(np.mean(labels > 0) / np.mean(nuclei > 0)), 2), len(np.unique(labels)) - 1


image = ngff_zarr.to_ngff_image(nuclei, dims=["y", "x"], scale={"y": 1.0, "x": 1.0})
print("ngff-zarr", version("ngff-zarr"), "keeps of the area and of 484 nuclei at 1/2, 1/4, 1/8 and 1/16:")
for method in (ngff_zarr.Methods.ITKWASM_LABEL_IMAGE, ngff_zarr.Methods.DASK_IMAGE_MODE):
    pyramid = ngff_zarr.to_multiscales(image, scale_factors=[2, 4, 8, 16], method=method)
    kept = [share_and_count(np.asarray(level.data)) for level in pyramid.images[1:]]
    print(" ", method.value, kept)
    assert [share for share, _ in kept] == [0.95, 0.85, 0.61, 0.19], f"this has changed: {kept}"
    assert [count for _, count in kept] == [484, 484, 484, 159], f"this has changed: {kept}"

# by hand at 1/8: the most frequent value of each block of 8 x 8 pixels of the full resolution, and its middle pixel
blocks = nuclei.reshape(128, 8, 128, 8).swapaxes(1, 2).reshape(128 * 128, 64)
most_frequent = np.array([np.bincount(block).argmax() for block in blocks])
by_hand = share_and_count(most_frequent), share_and_count(nuclei[4::8, 4::8])
print("  by hand at 1/8: most frequent of 8 x 8", by_hand[0], "every eighth", by_hand[1])
assert by_hand == ((0.94, 484), (1, 484)), f"the rules by hand: {by_hand}"
PY
