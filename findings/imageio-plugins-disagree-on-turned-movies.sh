#!/usr/bin/env bash
# imageio turns the movie of a phone upright with one plugin and leaves it lying with the other, so that labels do not
# fit.
#
# Phones on slit lamps and microscopes store frames as the sensor gives them, and a matrix that says how to turn them.
# The FFMPEG plugin, OpenCV and decord obey it; the pyav plugin and PyAV itself do not, and which plugin imageio takes
# depends on what is installed. A frame of 32 x 64 pixels is 64 x 32 for the one and 32 x 64 for the other, with the
# bright corner at another place; square frames do not even differ in shape. PyAV has the angle in frame.rotation, the
# pyav plugin raw bytes of the matrix among the metadata of a frame.
# Seen with imageio 2.38.1, imageio-ffmpeg 0.8.1, PyAV 18.1.0, opencv-python-headless 5.0.0.93, decord 0.6.0, numpy
# 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "imageio==2.38.1" "imageio-ffmpeg==0.8.1" "av==18.1.0" \
    "opencv-python-headless==5.0.0.93" "decord==0.6.0" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
import struct
from pathlib import Path

import av
import cv2
import decord
import imageio
import imageio.v3 as iio
import numpy as np

frame = np.full((32, 64, 3), 20, np.uint8)
frame[:16, :16] = 230  # the bright corner, at the top left as stored
with av.open("lying.mp4", "w") as movie:
    stream = movie.add_stream("libx264", rate=25, options={"crf": "0"})
    stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
    for _ in range(4):
        movie.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
    movie.mux(stream.encode())

# The track header's matrix for a turn by 90 degrees clockwise: (x, y) goes to (32 - y, x).
content = bytearray(Path("lying.mp4").read_bytes())
begin = content.index(b"tkhd") + 44
identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
assert content[begin : begin + 36] == identity
content[begin : begin + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 32 << 16, 0, 1 << 30)
Path("turned.mp4").write_bytes(content)


def seen(image):
    """Shape and the quarter that holds the bright corner."""
    y, x = np.argwhere(image[..., 1] > 125).mean(axis=0)
    rows, columns = image.shape[:2]
    return (rows, columns), ("top" if y < rows / 2 else "bottom") + (" left" if x < columns / 2 else " right")


with av.open("turned.mp4") as movie:
    first = next(movie.decode(video=0))
    found = {
        "imageio, pyav": seen(iio.imread("turned.mp4", plugin="pyav", index=0)),
        "PyAV": seen(first.to_ndarray(format="rgb24")),
        "imageio, FFMPEG": seen(iio.imread("turned.mp4", plugin="FFMPEG", index=0)),
        "OpenCV": seen(cv2.VideoCapture("turned.mp4").read()[1]),
        "decord": seen(decord.VideoReader("turned.mp4")[0].asnumpy()),
    }
print("imageio", imageio.__version__, "rotation by PyAV:", first.rotation, "first frame:", found)
results = list(found.values())
assert results[:2] == [((32, 64), "top left")] * 2, f"this has changed: {found}"
assert results[2:] == [((64, 32), "top right")] * 3, f"this has changed: {found}"
assert first.rotation == -90, f"this has changed: {first.rotation}"
PY
