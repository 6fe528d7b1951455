"""Generated sample images with their exact references; nothing is downloaded.

`SAMPLES` names one function per field, ``"module:function"`` inside this package; each returns a tuple of `Image`,
the picture first, then its reference labels.
"""

from __future__ import annotations

import importlib

from napari_medseg.errors import DataError
from napari_medseg.image import Image

SAMPLES: dict[str, str] = {
    "afm": "afm:afm_scan",
    "ccm": "ccm:ccm_image",
    "histology": "histology:stained_tissue",
    "ihc": "histology:bundled_tissue",
    "mri": "mri:brain_volume",
    "video": "video:nerve_video",
}
KINDS = ("afm", "ccm", "histology", "mri", "video")  # written as files by `samples.folders`


def load_sample(name: str) -> list[Image]:
    """Generate the sample `name` of `SAMPLES` with its default seed and size.

    Raises
    ------
    DataError
        If there is no such sample.
    """
    if name not in SAMPLES:
        raise DataError(f"There is no sample {name!r}. Known samples: {', '.join(SAMPLES)}.")
    module, function = SAMPLES[name].split(":")
    images: tuple[Image, ...] = getattr(importlib.import_module(f"napari_medseg.samples.{module}"), function)()
    return list(images)
