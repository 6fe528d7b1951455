"""OME-TIFFs whose planes lie in several files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile


def ome_of(files: Sequence[str], size: str, planes: str = "T", images: int = 1) -> str:
    """Return the OME-XML of pictures of 7 x 6 pixels whose planes along an axis lie in a file each."""
    tags = [
        f'<TiffData First{planes}="{k}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{k:08}-0000-0000-0000-'
        f'000000000000</UUID></TiffData>'
        for k, name in enumerate(files)
    ]  # fmt: skip
    each = max(len(tags) // images, 1)
    tags = tags or ["<TiffData/>"]
    parts = [
        f'<Image ID="Image:{k}"><Pixels ID="Pixels:{k}" DimensionOrder="XYZCT" Type="uint16" SizeX="7" SizeY="6" '
        f'SizeC="1" {size}><Channel ID="Channel:{k}:0" SamplesPerPixel="1"/>{"".join(tags[k * each : (k + 1) * each])}'
        "</Pixels></Image>"
        for k in range(images)
    ]
    return f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="$">{"".join(parts)}</OME>'


def write_parts(folder: Path, names: Sequence[str], xml: str) -> None:
    """Write the files of an OME-TIFF; all pixels of file k are k."""
    for k, name in enumerate(names):
        own = xml.replace("$", f"urn:uuid:{k:08}-0000-0000-0000-000000000000")
        tifffile.imwrite(folder / name, np.full((6, 7), k, np.uint16), description=own, metadata=None)
