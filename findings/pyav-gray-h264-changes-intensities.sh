#!/usr/bin/env bash
# A grey movie that PyAV writes as H.264 with pix_fmt "gray" comes back with other intensities: 20 becomes 5, 230 is 249.
#
# The grey values go into the file as they are, but the stream does not say that they span 0..255, and every reader takes
# them for the 16..235 of video: contrast grows by 16 %, all below 16 turns black and all above 235 white. Measured
# fluorescence or blood flow is wrong although the encoder is lossless. pix_fmt "yuv420p", or color_range = 2 on the
# codec context, keeps the values. Seen with PyAV 18.1.0 (libx264), OpenCV 5.0.0, numpy 2.2.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "av==18.1.0" "opencv-python-headless==5.0.0.93" "numpy==2.2.6"
"$work/venv/bin/python" - "$work/nerve.mp4" <<'PY'
import sys

import av
import cv2
import numpy as np

path, levels = sys.argv[1], [0, 10, 20, 60, 128, 230, 250]


def written_and_read(pix_fmt, color_range=None):
    with av.open(path, "w") as movie:
        stream = movie.add_stream("libx264", rate=10, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        if color_range is not None:
            stream.codec_context.color_range = color_range
        for level in levels:
            picture = av.VideoFrame.from_ndarray(np.full((48, 64), level, np.uint8), format="gray")
            movie.mux(stream.encode(picture))
        movie.mux(stream.encode())
    with av.open(path) as movie:
        return [int(frame.to_ndarray(format="gray")[24, 32]) for frame in movie.decode(video=0)]


gray = written_and_read("gray")
other = cv2.VideoCapture(path)
opencv = [int(other.read()[1][24, 32, 0]) for _ in levels]
print("PyAV", av.__version__, "writes", levels, "as gray and reads", gray, "- OpenCV", cv2.__version__, "reads", opencv)
full, yuv = written_and_read("gray", color_range=2), written_and_read("yuv420p")
print("with color_range = 2:", full, "as yuv420p:", yuv)
assert gray == [0, 0, 5, 51, 130, 249, 255], f"this has changed: {gray}"
assert np.allclose(opencv, gray, atol=1), f"this has changed: {opencv}"
assert full == levels and np.allclose(yuv, levels, atol=1), f"this has changed: {full} {yuv}"
PY
