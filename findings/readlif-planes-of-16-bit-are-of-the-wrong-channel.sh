#!/usr/bin/env bash
# readlif gives the third channel of a 16-bit LIF image where get_plane is asked for the second; get_frame is right.
#
# It counts the bytes of a plane twice: the way to channel c is made of bytes, and is then multiplied by the bytes of a
# pixel. At 8 bits the two are the same, and get_frame, for images whose planes are xy, counts planes; but get_plane is
# the only way to xz and xt scans, and takes any axis. Of 2 channels, the second is the first of the next slice: nuclei
# are measured in the wrong stain. The last slices have too few bytes left and raise an error, all others are quiet.
# Use get_frame where planes are xy, liffile otherwise.
# Seen with readlif 0.6.6, pillow 13.0.0, liffile 2026.2.16, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "readlif==0.6.6" "pillow==13.0.0" "liffile==2026.2.16" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
import struct
from importlib.metadata import version

import liffile
import numpy as np
from readlif.reader import LifFile

SLICES, CHANNELS, ROWS, COLUMNS = 3, 4, 6, 8
CHANNEL = (
    '<ChannelDescription DataType="0" ChannelTag="0" Resolution="{}" NameOfMeasuredQuantity="" Min="0" Max="1" Unit="" '
    'LUTName="Gray" IsLUTInverted="0" BytesInc="{}" BitInc="0"/>'
)
AXIS = (
    '<DimensionDescription DimID="{}" NumberOfElements="{}" Origin="0" Length="1e-5" Unit="m" BitInc="0" '
    'BytesInc="{}"/>'
)


def save_lif(pixels):
    """Write planes in the order z, c, y, x, as LAS does: a header in XML, then blocks of memory that it names."""
    size = pixels.itemsize
    plane = size * ROWS * COLUMNS
    channels = "".join(CHANNEL.format(8 * size, c * plane) for c in range(CHANNELS))
    axes = (1, COLUMNS, size), (2, ROWS, size * COLUMNS), (3, SLICES, CHANNELS * plane)
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="slide" UniqueID="a"><Memory Size="0" MemoryBlockID="M0"/>'
        '<Children><Element Name="nuclei" UniqueID="b"><Data><Image><ImageDescription>'
        f"<Channels>{channels}</Channels><Dimensions>{''.join(AXIS.format(*axis) for axis in axes)}</Dimensions>"
        f'</ImageDescription></Image></Data><Memory Size="{pixels.nbytes}" MemoryBlockID="M1"/><Children/></Element>'
        "</Children></Element></LMSDataContainerHeader>"
    )
    with open("nuclei.lif", "wb") as file:
        file.write(struct.pack("<IIBI", 0x70, 5 + 2 * len(xml), 0x2A, len(xml)) + xml.encode("utf-16-le"))
        for name, memory in (("M0", b""), ("M1", pixels.tobytes())):
            file.write(struct.pack("<IIBQBI", 0x70, 14 + 2 * len(name), 0x2A, len(memory), 0x2A, len(name)))
            file.write(name.encode("utf-16-le") + memory)


def stacks(dtype):
    """What three readers find in slice 0 and 1; each pixel holds 10 times its slice plus its channel."""
    pixels = np.zeros((SLICES, CHANNELS, ROWS, COLUMNS), dtype)
    pixels += np.add.outer(10 * np.arange(SLICES), np.arange(CHANNELS)).astype(dtype)[..., None, None]
    save_lif(pixels)
    with liffile.LifFile("nuclei.lif") as file:
        right = file.images[0].asarray()[:2, :, 0, 0].tolist()
    image = LifFile("nuclei.lif").get_image(0)
    frames = [[np.asarray(image.get_frame(z=z, c=c)).max().item() for c in range(4)] for z in range(2)]
    planes = [[np.asarray(image.get_plane(None, c, {3: z})).max().item() for c in range(4)] for z in range(2)]
    return right, frames, planes


for dtype in (np.uint8, np.uint16):
    right, frames, planes = stacks(dtype)
    print(np.dtype(dtype), "liffile", version("liffile"), right)
    print("  readlif", version("readlif"), "get_frame", frames, "get_plane", planes)
    assert right == frames == [[0, 1, 2, 3], [10, 11, 12, 13]], f"this has changed: {right}, {frames}"
    wrong = right if dtype == np.uint8 else [[0, 2, 10, 12], [10, 12, 20, 22]]
    assert planes == wrong, f"this has changed: {planes}"
PY
