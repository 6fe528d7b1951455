"""Cut a slide into cores with margins, find its tissue, and give every object to one core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from napari_medseg.image import Image
from napari_medseg.inference.tiling import PART_EDGE, PARTS

THUMBNAIL_PIXELS = 4_000_000
SAMPLE_EDGE, SAMPLE_BLOCKS = 512, 10  # 26 million pixels: some seconds of decoding, of a slide that takes minutes
LEAST_SATURATION = 0.05
Box = tuple[slice, slice]


def thumbnail_of(image: Image) -> np.ndarray:
    """Return the smallest level of a slide as uint8 (Y, X, 3), at most four million pixels."""
    level = image.metadata["levels"][-1]
    step = max(1, int(np.ceil(np.sqrt(level.shape[0] * level.shape[1] / THUMBNAIL_PIXELS))))
    return np.asarray(level[::step, ::step])


def sample_of(image: Image) -> Image:
    """Return what the intensities of a whole slide are judged by: the slide, or of a large one regularly spaced blocks.

    The blocks are of full resolution, for coarser levels have less contrast, and stand side by side in one picture.
    """
    height, width = image.spatial_shape
    if height * width <= SAMPLE_BLOCKS**2 * SAMPLE_EDGE**2:
        return image.replace(data=np.asarray(image.data))
    tops, lefts = (np.linspace(0, max(n - SAMPLE_EDGE, 0), SAMPLE_BLOCKS).astype(int) for n in (height, width))
    rows = [
        np.concatenate([np.asarray(image.data[y : y + SAMPLE_EDGE, x : x + SAMPLE_EDGE]) for x in lefts], 1)
        for y in tops
    ]
    return image.replace(data=np.concatenate(rows))


def tissue_sample(image: Image, cores: Sequence[Box]) -> Image:
    """Return 3 x 3 blocks of 192 pixels from the middles of evenly chosen cores, side by side in one picture."""
    edges = [min(PART_EDGE, n) for n in image.spatial_shape]
    blocks = []
    for index in np.linspace(0, len(cores) - 1, PARTS**2).astype(int):
        middles = [(side.start + side.stop) // 2 for side in cores[index]]
        starts = [min(max(m - e // 2, 0), n - e) for m, e, n in zip(middles, edges, image.spatial_shape, strict=True)]
        blocks.append(np.asarray(image.data[tuple(slice(s, s + e) for s, e in zip(starts, edges, strict=True))]))
    rows = [np.concatenate(blocks[k : k + PARTS], 1) for k in range(0, PARTS**2, PARTS)]
    return image.replace(data=np.concatenate(rows))


def tissue_mask(rgb: np.ndarray) -> np.ndarray:
    """Return where a picture (Y, X, 3) is tissue: saturation above Otsu's threshold, widened by two pixels."""
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    top = rgb.max(-1).astype(np.float32)
    saturation = np.divide(top - rgb.min(-1), top, np.zeros_like(top), where=top > 0)
    if np.ptp(saturation) < LEAST_SATURATION:  # of one colour: all tissue or all glass
        return np.asarray(saturation >= LEAST_SATURATION)
    threshold = max(float(threshold_otsu(saturation)), LEAST_SATURATION)
    return np.asarray(ndimage.binary_dilation(saturation > threshold, iterations=2))


def boxes(shape: tuple[int, ...], core: int) -> Iterator[Box]:
    """Yield the cores that cover (Y, X), row by row."""
    for top in range(0, shape[0], core):
        for left in range(0, shape[1], core):
            yield slice(top, min(top + core, shape[0])), slice(left, min(left + core, shape[1]))


def widen(box: Box, by: int, shape: tuple[int, ...]) -> Box:
    """Return `box` with `by` pixels more on every side, inside `shape`."""
    y, x = (slice(max(s.start - by, 0), min(s.stop + by, n)) for s, n in zip(box, shape, strict=True))
    return y, x


def within(core: Box, block: Box) -> Box:
    """Return `core` in the coordinates of `block`."""
    y, x = (slice(c.start - b.start, c.stop - b.start) for c, b in zip(core, block, strict=True))
    return y, x


def centred(labels: np.ndarray, core: Box, open_sides: list[tuple[bool, bool]]) -> tuple[np.ndarray, int, int]:
    """Return the objects whose centre of mass lies in `core` as 1 .. N, N, and how many of them are cut.

    Parameters
    ----------
    labels
        Instances (Y, X) of a tile.
    core
        Its core.
    open_sides
        For each axis, whether the slide goes on before and after the tile.
    """
    flat = labels.ravel()
    area = np.maximum(np.bincount(flat), 1)
    inside = np.bincount(flat) > 0
    inside[0] = False
    edge = np.zeros(len(area), bool)
    for axis, (bounds, (before, after)) in enumerate(zip(core, open_sides, strict=True)):
        index: np.ndarray = np.indices(labels.shape, sparse=True)[axis]
        sums = np.bincount(flat, np.broadcast_to(index, labels.shape).ravel()).astype(np.int64)
        centre = sums // area  # whole numbers: every tile comes to the same answer
        inside &= (centre >= bounds.start) & (centre < bounds.stop)
        edge[labels.take(0, axis)] |= before
        edge[labels.take(-1, axis)] |= after
    numbers = np.where(inside, np.cumsum(inside), 0).astype(np.uint32)
    return numbers[labels], int(inside.sum()), int((inside & edge).sum())
