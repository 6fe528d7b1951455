#!/usr/bin/env bash
# imageio returns frame 2 when asked for frame 12 of a movie that begins at 0.4 s, and frame 0 for 2 to 10.
#
# Movies that were cut, or whose sound begins first, do not begin at 0. To find a frame by its index imageio's pyav
# plugin divides the time at which it arrives by the time between frames, and takes the first frame, at 0.4 s, for
# number 10: the index is off by all the frames that would have come before. Objects drawn or measured by index belong
# to other frames, without a word. Reading the whole movie or iterating gives the right ones, as do OpenCV by index
# and PyAV; so does the plugin where the same movie begins at 0.
# Seen with imageio 2.38.1, PyAV 18.1.0, opencv-python-headless 5.0.0.93, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "imageio==2.38.1" "av==18.1.0" "opencv-python-headless==5.0.0.93" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
from fractions import Fraction

import av
import cv2
import imageio
import imageio.v3 as iio
import numpy as np

GREYS = np.arange(20, 244, 14)  # of the 16 frames, one after another


def write(name, begin):
    """Write a movie of 25 frames per second that begins at a time in ms."""
    with av.open(name, "w") as movie:
        stream = movie.add_stream("libx264", rate=25, options={"crf": "0", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, grey in enumerate(GREYS):
            frame = av.VideoFrame.from_ndarray(np.full((32, 64, 3), grey, np.uint8), "rgb24")
            frame.pts, frame.time_base = begin + 40 * number, Fraction(1, 1000)
            movie.mux(stream.encode(frame))
        movie.mux(stream.encode())


def frames_of(values):
    """Which of the frames each of the images is."""
    return [int(np.abs(GREYS - image.mean()).argmin()) for image in values]


def by_opencv(name):
    movie = cv2.VideoCapture(name)
    for index in range(len(GREYS)):
        movie.set(cv2.CAP_PROP_POS_FRAMES, index)
        yield movie.read()[1]


found = {}
for name, begin in {"from_0.mp4": 0, "from_400.mp4": 400}.items():
    write(name, begin)
    found[begin] = {
        "imageio by index": frames_of(iio.imread(name, plugin="pyav", index=index) for index in range(len(GREYS))),
        "imageio whole": frames_of(iio.imread(name, plugin="pyav")),
        "imageio iterating": frames_of(iio.imiter(name, plugin="pyav")),
        "OpenCV by index": frames_of(by_opencv(name)),
    }
    with av.open(name) as movie:
        times = [float(frame.time) for frame in movie.decode(video=0)]
    assert np.allclose(times, begin / 1000 + 0.04 * np.arange(len(GREYS))), f"this has changed: {times}"
    print("imageio", imageio.__version__, "movie from", begin, "ms, frames:", found[begin])
right = list(range(len(GREYS)))
assert all(frames == right for frames in found[0].values()), f"this has changed: {found[0]}"
by_index = found[400].pop("imageio by index")
assert by_index == [0, 1] + [0] * 9 + [1, 2, 3, 4, 5], f"this has changed: {by_index}"
assert all(frames == right for frames in found[400].values()), f"this has changed: {found[400]}"
PY
