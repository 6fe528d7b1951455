#!/usr/bin/env bash
# Pillow reads a gray TIFF that lies on its side as scrambled pixels when it is opened by its path, rightly as bytes.
#
# Pillow turns a TIFF with an orientation tag when it is loaded. An uncompressed gray one that is opened by its path is
# mapped into memory, and mapped pixels are not turned, while the size is: a mask of 12 columns and 10 rows gives an array
# that is neither the stored nor the turned picture. The same file with compression, in colours, or from a buffer is
# right, so a mask may be scrambled beside its picture that is not.
# Seen with Pillow 13.0.0 and numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "pillow==13.0.0" "numpy==2.4.6"
"$work/venv/bin/python" - "$work/mask.tif" <<'PY'
import io
import sys
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

ORIENTATION, ROTATED = 274, 6
stored = np.arange(120, dtype=np.uint8).reshape(10, 12)
shown = np.rot90(stored, -1)


def read(pixels, by_path, **options):
    tags = Image.Exif()
    tags[ORIENTATION] = ROTATED
    Image.fromarray(pixels).save(sys.argv[1], exif=tags, **options)
    picture = Image.open(sys.argv[1] if by_path else io.BytesIO(Path(sys.argv[1]).read_bytes()))
    picture.load()
    return np.asarray(picture)


mapped, buffered = read(stored, True), read(stored, False)
packed = read(stored, True, compression="tiff_deflate")
colours = read(np.repeat(stored[..., None], 3, 2), True)[..., 0]
print("Pillow", PIL.__version__, "by path", mapped.shape, mapped[0, :4], "from bytes", buffered.shape, buffered[0, :4])
assert all(np.array_equal(found, shown) for found in (buffered, packed, colours)), "this has changed"
assert not np.array_equal(mapped, shown), "this has changed: the mapped picture is turned"
assert mapped.shape != stored.shape or not np.array_equal(mapped, stored), "this has changed: the picture is as stored"
PY
