#!/usr/bin/env bash
# imageio's FFMPEG plugin returns 11 frames of a movie that has 8, while its own counter and its pyav plugin say 8.
#
# Cameras that drop frames write movies of variable frame rate. ffmpeg is called with its default of a constant rate, so
# frames are repeated where the camera paused; where frames follow fast, they are shifted. Everything counted per frame
# (positions of objects, labels drawn on frame 5) belongs to another frame than in PyAV or OpenCV, and an object seems to
# rest where nothing was recorded. output_params=["-fps_mode", "passthrough"] gives the recorded frames.
# Seen with imageio 2.38.1, imageio-ffmpeg 0.8.1, PyAV 18.1.0, numpy 2.2.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "imageio==2.38.1" "imageio-ffmpeg==0.8.1" "av==18.1.0" "numpy==2.2.6"
"$work/venv/bin/python" - "$work/nerve.mkv" <<'PY'
import sys
from fractions import Fraction

import av
import imageio
import imageio.v3 as iio
import imageio_ffmpeg
import numpy as np

path = sys.argv[1]
times_ms = [0, 100, 200, 600, 700, 710, 720, 800]  # a pause of 0.4 s, then three frames at once
with av.open(path, "w") as movie:
    stream = movie.add_stream("ffv1", rate=10)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
    stream.codec_context.time_base = Fraction(1, 1000)
    for number, time in enumerate(times_ms):
        picture = av.VideoFrame.from_ndarray(np.full((48, 64), number, np.uint8), format="gray")
        picture.pts, picture.time_base = time, Fraction(1, 1000)
        movie.mux(stream.encode(picture))
    movie.mux(stream.encode())

ffmpeg = iio.imread(path, plugin="FFMPEG")[:, 0, 0, 0].tolist()
pyav = iio.imread(path, plugin="pyav")[:, 0, 0, 0].tolist()
counted = imageio_ffmpeg.count_frames_and_secs(path)[0]
print("imageio", imageio.__version__, "imageio-ffmpeg", imageio_ffmpeg.__version__, "counts", counted, "frames")
print("  numbers of the frames with plugin FFMPEG:", ffmpeg, "\n  and with plugin pyav:", pyav)
frames = imageio_ffmpeg.read_frames(path, output_params=["-fps_mode", "passthrough"])
next(frames)
assert counted == 8 and pyav == list(range(8)), f"this has changed: {counted} {pyav}"
assert len(ffmpeg) == 11 and ffmpeg[3:5] == [2, 2], f"this has changed: {ffmpeg}"
assert [frame[0] for frame in frames] == pyav, "this has changed: passthrough"
PY
