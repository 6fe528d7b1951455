#!/usr/bin/env bash
# napari-animated-gif-io writes a film in which a cell bleaches from 4000 to 500 counts as one in which it stays as it
# is.
#
# Each frame is handed over as it comes, and imageio makes 8 bits of 16 by the darkest and the brightest pixel of that
# frame: the cell is 255 in all of them, whatever it was, and a transient, a growing signal or a fading one is gone.
# Frames that become equal by it are left out, so that the bleaching cell on a flat ground is a GIF of one frame, and
# the frames that follow have other numbers. No word is said. The time of a frame, 0.5 s, counts as 0.5 ms in imageio
# and is written as 0: the film plays as fast as it can be shown. 8-bit images keep their values.
# Seen with napari-animated-gif-io 0.1.2, imageio 2.38.1, pillow 13.0.0 (the other reader), numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --no-compile --disable-pip-version-check "napari-animated-gif-io==0.1.2" \
    "imageio==2.38.1" "pillow==13.0.0" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from napari_animated_gif_io import napari_write_image
from PIL import Image

counts = (4000, 3000, 2000, 1000, 500)
flat = np.full((5, 20, 20), 100, np.uint16)  # frame, y, x
for frame, count in enumerate(counts):
    flat[frame, 5:15, 5:15] = count
moving = flat.copy()
for frame in range(5):
    moving[frame, 0, frame] = 150  # something that moves, so that no two frames are equal
films = {"cell alone": flat, "cell and a moving spot": moving, "the same in 8 bits": (moving // 16).astype(np.uint8)}
found = {}
for name, film in films.items():
    napari_write_image("film.gif", film, {})
    with Image.open("film.gif") as gif:
        written = []
        for frame in range(gif.n_frames):
            gif.seek(frame)
            written.append(int(np.asarray(gif.convert("L"))[10, 10]))
        found[name] = (written, gif.info.get("duration"))
print("napari-animated-gif-io", version("napari-animated-gif-io"), "a cell of", counts, "counts; ms per frame:")
for name, seen in found.items():
    print(f"  {name:22}", *seen)
assert found["cell alone"] == ([255], None), f"this has changed: {found}"
assert found["cell and a moving spot"] == ([255] * 5, 0), f"this has changed: {found}"
assert found["the same in 8 bits"] == ([250, 187, 125, 62, 31], 0), f"this has changed: {found}"
PY
