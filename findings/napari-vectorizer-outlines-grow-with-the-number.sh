#!/usr/bin/env bash
# napari-vectorizer outlines a nucleus of 100 pixels as 90.5 if its number is 1, as 119 if its number is 1000, and makes
# one polygon of nuclei that touch.
#
# The widget draws the contour at 0.5 through the numbers of the labels themselves. Between background and nucleus n the
# contour lies 0.5 / n of the way, so that the higher the number, the further outside the outline runs; between nuclei 1
# and 2 nothing crosses 0.5. In an image of 1000 equal nuclei their areas so rise from the first to the last. Nothing
# else in the layer shows it: a mask with the values 0 and 1 is outlined right, but for cut corners.
# Seen with napari-vectorizer 0.0.5, napari 0.9.2, PyQt6 6.11.0 (needed to import it), scikit-image 0.26.0, numpy 2.4.6,
# Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-deps "napari-vectorizer==0.0.5"
"$work/venv/bin/pip" install -q --disable-pip-version-check "napari==0.9.2" \
    "PyQt6==6.11.0" "PyQt6-Qt6==6.11.2" "scikit-image==0.26.0" "numpy==2.4.6"
QT_QPA_PLATFORM=offscreen "$work/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from napari_vectorizer._widget import vectorizer_worker


def areas(labels):
    """Areas of the polygons that the widget draws with its own settings."""
    polygons = vectorizer_worker.__wrapped__(labels, contours_tolerance=0.5, polygon_tolerance=0.5)
    turned = ((*p.T, *np.roll(p, 1, axis=0).T) for p in polygons)
    return [round(abs(float(y @ right - x @ down)) / 2, 1) for y, x, down, right in turned]


nucleus = np.zeros((30, 40), np.int32)
nucleus[10:20, 10:20] = 1
touching = nucleus.copy()
touching[10:20, 20:30] = 2
by_number = {n: areas(n * nucleus) for n in (1, 2, 10, 1000)}
print("napari-vectorizer", version("napari-vectorizer"), "area of a nucleus of 100 pixels by its number:", by_number)
print("  two such nuclei that touch:", areas(touching))
assert by_number == {1: [90.5], 2: [109.1], 10: [117.0], 1000: [119.0]}, f"this has changed: {by_number}"
assert areas(touching) == [199.9], f"this has changed: {areas(touching)}"
PY
