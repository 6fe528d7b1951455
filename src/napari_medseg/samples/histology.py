"""Stained tissue: a generated H&E tile with its exact nuclei, and scikit-image's bundled immunohistochemistry."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_medseg.image import Image
from napari_medseg.preprocessing.stains import TARGET

PIXEL_UM = 0.25
GAP = 1.5  # pixels kept free between nuclei


def stained_tissue(seed: int = 0, size: int = 512) -> tuple[Image, Image]:
    """Return a generated H&E tile, RGB (size, size, 3) uint8 of 0.25 um pixels, and its exact nuclei, uint16."""
    return nuclei_tile(seed, size)


def bundled_tissue() -> tuple[Image]:
    """Return scikit-image's bundled immunohistochemistry image, RGB (512, 512, 3) uint8, without reference."""
    return (immunohistochemistry(),)


def nuclei_tile(seed: int = 0, size: int = 512, per_megapixel: int = 1600) -> tuple[Image, Image]:
    """Generate elliptical nuclei with chromatin texture in fibrous stroma, as light absorbed by two stains.

    Nuclei of 12 to 28 pixels are placed at random without overlap; some touch within two pixels.
    """
    rng = np.random.default_rng(seed)
    labels = _place(rng, size, max(1, round(per_megapixel * size * size / 1e6)))
    inside = ndimage.gaussian_filter((labels > 0).astype(float), 0.7)
    tone = np.append(0.0, rng.uniform(0.7, 1.3, int(labels.max())))[labels]
    chromatin = 1 + 0.35 * _noise(rng, size, 1.5)
    haematoxylin = inside * np.maximum(ndimage.gaussian_filter(tone, 0.7) * chromatin, 0.1) * 1.5
    haematoxylin += 0.18 * (1 + 0.5 * _noise(rng, size, 6))
    fibres = np.sin(18 * _noise(rng, size, 40) + 4 * _noise(rng, size, 8))
    eosin = (0.55 + 0.2 * _noise(rng, size, 20) + 0.15 * fibres) * (1 - 0.5 * inside)
    amounts = np.clip(np.stack([haematoxylin, eosin], -1), 0, None)
    rgb = 255 * np.exp(-amounts @ TARGET.vectors) + rng.normal(0, 2.0, (size, size, 3))
    units = ("micrometer", "micrometer")
    image = Image(
        np.clip(rgb, 0, 255).astype(np.uint8),
        "YXC",
        (PIXEL_UM, PIXEL_UM),
        units,
        name=f"nuclei_{seed}",
        channels=("red", "green", "blue"),
        metadata={"generated": "napari_medseg.samples.histology", "seed": seed},
    )
    return image, image.labels_like(labels, f"nuclei_{seed}_label")


def immunohistochemistry() -> Image:
    """Return scikit-image's bundled colon tissue (DAB and haematoxylin), pixel size unknown."""
    from skimage.data import immunohistochemistry as load

    return Image(
        load(),
        "YXC",
        name="immunohistochemistry",
        channels=("red", "green", "blue"),
        metadata={"source": "scikit-image data.immunohistochemistry"},
    )


def _place(rng: np.random.Generator, size: int, wanted: int) -> np.ndarray:
    labels = np.zeros((size, size), np.uint16)
    taken = np.zeros((size, size), bool)
    rows, columns = np.indices((41, 41)) - 20
    placed = 0
    for _ in range(6 * wanted):
        centre = rng.integers(0, size, 2)
        a, b, angle = rng.uniform(7, 14), rng.uniform(6, 9), rng.uniform(0, np.pi)
        u, v = columns * np.cos(angle) + rows * np.sin(angle), rows * np.cos(angle) - columns * np.sin(angle)
        radius = 1 + 0.08 * np.sin(3 * np.arctan2(v, u) + rng.uniform(0, 6))
        y, x = (slice(max(c - 20, 0), min(c + 21, size)) for c in centre)
        part = (slice(y.start - centre[0] + 20, y.stop - centre[0] + 20),
                slice(x.start - centre[1] + 20, x.stop - centre[1] + 20))  # fmt: skip
        nucleus = ((u / (a * radius)) ** 2 + (v / (b * radius)) ** 2 < 1)[part]
        room = ((u / (a * radius + GAP)) ** 2 + (v / (b * radius + GAP)) ** 2 < 1)[part]
        if taken[y, x][room].any():
            continue
        placed += 1
        labels[y, x][nucleus] = placed
        taken[y, x] |= nucleus
        if placed == wanted:
            break
    return labels


def _noise(rng: np.random.Generator, size: int, sigma: float) -> np.ndarray:
    field = ndimage.gaussian_filter(rng.standard_normal((size, size)), sigma, mode="wrap")
    return np.asarray(field / field.std())
