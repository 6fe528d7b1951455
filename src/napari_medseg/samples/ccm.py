"""Generated corneal confocal images with exact nerve masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_medseg.image import Image
from napari_medseg.io.ccm import FIELD_PX, FIELD_UM
from napari_medseg.samples.ccm_drawing import CornealRanges, Painter
from napari_medseg.samples.ccm_traces import Corruption, corrupt

BLACK = 8.0  # grey value of no light
VISIBLE_SDS = 1.2  # half of a nerve's width in SDs of its profile: full width at half maximum


def ccm_image(seed: int = 0, size: int = 384, ranges: CornealRanges | None = None) -> tuple[Image, Image]:
    """Draw a corneal image: nerves that fade and branch on bright grain, with all that is easily taken for nerves.

    What is drawn, and between which ends, says `CornealRanges`.

    Returns
    -------
    image
        uint8 (Y, X) with the HRT3-RCM pixel size, 400/384 um.
    labels
        uint8 exact mask: 1 where the nerve is, as wide as its profile at half maximum.
    """
    rng = np.random.default_rng([seed, size])
    painter = Painter(size, ranges or CornealRanges(), rng)
    fibres = painter.fibres()
    light, grain = painter.light(), painter.grain()
    bright = painter.glow(fibres) + painter.cells() + painter.streaks() + painter.texture()
    picture = BLACK + light * np.clip(1 + grain.std() * bright, 0.1, None) * grain
    line, width = painter.centreline(fibres)
    data = np.rint(np.clip(picture, 1, 255)).astype(np.uint8)
    step = FIELD_UM / FIELD_PX
    image = Image(data, "YX", (step,) * 2, ("micrometer",) * 2, name=f"nerves_{seed}", metadata={"generated": True})
    return image, image.labels_like(_widened(line, width).astype(np.uint8), f"nerves_{seed}_mask")


def _widened(line: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Return the pixels within the half width of a centreline's nearest pixel."""
    if not line.any():
        return line
    far, nearest = ndimage.distance_transform_edt(~line, return_indices=True)
    return np.asarray(far <= np.clip(VISIBLE_SDS * width[tuple(nearest)], 1.0, 3.0))


def ccm_folder(
    folder: str | Path,
    count: int = 8,
    size: int = 384,
    seed: int = 0,
    kind: Corruption = "trace",
    level: float = 0.0,
) -> Path:
    """Write `count` generated pairs ``S<nn>_OD_1_org.tif`` / ``_lab.tif``, labels corrupted, and ``exact/`` masks.

    Returns
    -------
    Path
        The folder, ready for training.
    """
    from tifffile import imwrite

    folder = Path(folder)
    (folder / "exact").mkdir(parents=True, exist_ok=True)
    for index in range(count):
        image, labels = ccm_image(seed + index, size)
        rough = corrupt(labels.data, kind, level, np.random.default_rng([seed + index, 1]))
        stem = f"S{index + 1:02}_OD_1"
        imwrite(folder / f"{stem}_org.tif", image.data)
        imwrite(folder / f"{stem}_lab.tif", rough.astype(np.uint8))
        imwrite(folder / "exact" / f"{stem}_lab.tif", labels.data)
    return folder
