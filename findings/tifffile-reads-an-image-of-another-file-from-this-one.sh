#!/usr/bin/env bash
# tifffile reads the second image of an OME-TIFF of two files from the bytes of the first file, where it lies in one piece.
#
# An OME-TIFF may be a set of files: the metadata of each say by UUID and FileName in which file the planes of which
# image lie. tifffile lists both images from either file, and its pages come from the right one; but where the planes of
# an image lie behind each other (as imwrite writes a stack), asarray() of the series reads that many bytes from the
# file that was opened, at the place where the data begin in the other. Files of one layout begin alike, so the first
# image comes out twice, without a word; from the other file the second does. Page by page, and with planes that do not
# lie behind each other (compressed ones), the right pictures come out.
# Seen with tifffile 2026.3.3, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "tifffile==2026.3.3" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
import numpy as np
import tifffile

UUIDS = [f"urn:uuid:{k:08}-0000-4000-8000-000000000000" for k in range(2)]


def metadata(own, names):
    """OME-XML in which image k, three planes in depth, lies in file k."""
    images = ""
    for k, name in enumerate(names):
        planes = "".join(
            f'<TiffData IFD="{z}" FirstZ="{z}" FirstC="0" FirstT="0" PlaneCount="1">'
            f'<UUID FileName="{name}">{UUIDS[k]}</UUID></TiffData>'
            for z in range(3)
        )
        images += (
            f'<Image ID="Image:{k}" Name="image {k}"><Pixels ID="Pixels:{k}" DimensionOrder="XYZCT" Type="uint16" '
            f'SizeX="7" SizeY="6" SizeZ="3" SizeC="1" SizeT="1"><Channel ID="Channel:{k}:0" SamplesPerPixel="1"/>'
            f"{planes}</Pixels></Image>"
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="'
        "http://www.openmicroscopy.org/Schemas/OME/2016-06 http://www.openmicroscopy.org/Schemas/OME/2016-06/ome.xsd"
        f'" UUID="{UUIDS[own]}">{images}</OME>'
    )


right = [[0, 1, 2], [10, 11, 12]]  # values of the planes of each image
found = {}
for compression in (None, "zlib"):
    names = [f"{compression}_{k}.ome.tif" for k in range(2)]
    for k, name in enumerate(names):
        planes = np.broadcast_to(np.array(right[k], np.uint16)[:, None, None], (3, 6, 7))
        tifffile.imwrite(
            name, planes, description=metadata(k, names), metadata=None, photometric="minisblack", compression=compression
        )
    for k, name in enumerate(names):
        with tifffile.TiffFile(name) as file:
            assert len(file.series) == 2, f"this has changed: {len(file.series)} images"
            whole = [series.asarray()[:, 0, 0].tolist() for series in file.series]
            paged = [[int(page.asarray()[0, 0]) for page in series.pages] for series in file.series]
        found[compression, k] = whole
        print("tifffile", tifffile.__version__, name, "whole:", whole, "page by page:", paged)
        assert paged == right, f"this has changed: {paged}"
assert found["zlib", 0] == found["zlib", 1] == right, f"this has changed: {found}"
assert found[None, 0] == [right[0], right[0]], f"this has changed: {found}"
assert found[None, 1] == [right[1], right[1]], f"this has changed: {found}"
PY
