"""Generated brain-like FLAIR volumes with one bright, irregular lesion and its exact mask.

Skull-stripped head on a zero background: cortex, white matter and dark ventricles, a smooth bias field, texture and
Rician noise. The lesion's border follows a random smooth field and fades over about one voxel, and its contrast varies,
so that an intensity threshold alone does not find it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_medseg.image import Image
from napari_medseg.io.volumes import reader as mri_io

SPACING = (1.5, 1.0, 1.0)
WHITE, GREY, FLUID, LESION = 320.0, 420.0, 150.0, 620.0
NOISE = 18.0
MIN_LESION_VOXELS = 12


def brain_volume(
    seed: int = 0, shape: tuple[int, ...] = (48, 64, 56), spacing: tuple[float, ...] = SPACING
) -> tuple[Image, Image]:
    """Generate a FLAIR-like volume (int16) and its lesion mask (uint8, 1 = lesion), ``ZYX``, in mm."""
    rng = np.random.default_rng(seed)
    data, mask = (a.reshape(shape) for a in _paint(rng, tuple(n for n in shape if n > 1)))
    affine = np.diag([*spacing, 1.0])
    affine[: len(shape), -1] = [-(n - 1) / 2 * s for n, s in zip(shape, spacing, strict=True)]
    axes = "ZYX"[-len(shape) :]
    image = Image(data, axes, spacing, ("millimeter",) * len(shape), affine, name=f"brain_{seed}", channels=("FLAIR",),
                  metadata={"source": "generated", "seed": seed})  # fmt: skip
    return image, image.labels_like(mask, f"brain_{seed}_label")


def slice_2d(seed: int = 0, shape: tuple[int, int] = (160, 160)) -> tuple[Image, Image]:
    """Generate one FLAIR-like slice (int16) and its lesion mask (uint8), ``YX``, 1 mm pixels."""
    return brain_volume(seed, shape, (1.0, 1.0))


def mri_folder(
    folder: str | Path, n: int = 4, *, ndim: int = 3, shape: tuple[int, ...] | None = None, seed: int = 0
) -> Path:
    """Write `n` generated cases as ``images/case_000.nii.gz`` and ``labels/case_000.nii.gz``; return the folder."""
    folder = Path(folder)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    shape = shape or ((32, 48, 40) if ndim == 3 else (96, 96))
    for i in range(n):
        image, mask = brain_volume(seed + i, shape, SPACING[-ndim:])
        mri_io.write(folder / "images" / f"case_{i:03}.nii.gz", image)
        mri_io.write(folder / "labels" / f"case_{i:03}.nii.gz", mask)
    return folder


def _paint(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    grid = [np.linspace(-1, 1, n, dtype=np.float32) for n in shape]
    grid = list(np.meshgrid(*grid, indexing="ij", copy=False))
    size = min(shape)
    brain = _radius(grid, 0.0, rng.uniform(0.78, 0.9, len(shape))) + 0.06 * _field(rng, shape, size / 14) < 1
    depth = ndimage.distance_transform_edt(brain)
    folds = _field(rng, shape, size / 30)
    white = brain & (depth > size * (0.07 + 0.03 * folds))
    fluid = brain & (_radius(grid, rng.uniform(-0.05, 0.05, len(shape)), rng.uniform(0.12, 0.24, len(shape))) < 1)
    clean = np.where(brain, GREY, 0.0) + white * (WHITE - GREY)
    clean = np.where(fluid, FLUID, clean).astype(np.float32)
    place = white & ~fluid
    lesion = _lesion(rng, grid, shape, place if place.any() else brain)
    level = LESION * rng.uniform(0.85, 1.05) + 45 * _field(rng, shape, size / 20)
    soft = ndimage.gaussian_filter(lesion.astype(np.float32), 0.6)
    clean = ndimage.gaussian_filter(clean, 0.6) * (1 - soft) + level * soft
    bias = 1 + 0.12 * _field(rng, shape, size / 4)
    signal = clean * bias + 14 * _field(rng, shape, 1.2)
    noisy = np.hypot(signal + rng.normal(0, NOISE, shape), rng.normal(0, NOISE, shape))
    return np.where(brain, np.clip(noisy, 1, 3000), 0).astype(np.int16), lesion.astype(np.uint8)


def _lesion(rng: np.random.Generator, grid: list[np.ndarray], shape: tuple[int, ...], where: np.ndarray) -> np.ndarray:
    """Return the largest piece of an irregular blob of random place and size inside `where`."""
    inner = np.argwhere(ndimage.binary_erosion(where, iterations=max(1, min(shape) // 20)))
    if not len(inner):
        inner = np.argwhere(where)
    centre = [axis[tuple(inner[rng.integers(len(inner))])] for axis in grid]
    radii = rng.uniform(0.2, 0.36, len(shape))
    rough = 0.5 * _field(rng, shape, min(shape) / 12)
    for growth in (1.0, 1.5, 2.2):
        blob = (_radius(grid, centre, radii * growth) + rough < 1) & ndimage.binary_dilation(where, iterations=2)
        pieces, count = ndimage.label(blob)
        if count and (sizes := np.bincount(pieces.ravel())[1:]).max() >= MIN_LESION_VOXELS:
            largest: np.ndarray = pieces == 1 + sizes.argmax()
            return largest
    return np.asarray(blob, dtype=bool)


def _radius(grid: list[np.ndarray], centre: object, radii: object) -> np.ndarray:
    """Return the normalised distance from an ellipsoid's centre (1 on its surface)."""
    n = len(grid)
    centres, lengths = np.broadcast_to(centre, n), np.broadcast_to(radii, n)  # type: ignore[call-overload]
    total = sum(((axis - c) / r) ** 2 for axis, c, r in zip(grid, centres, lengths, strict=True))
    return np.asarray(np.sqrt(total))


def _field(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Return a smooth random field of mean 0 and SD 1 with correlation length `sigma` voxels."""
    coarse = max(1.0, sigma / 2)
    small = tuple(max(4, round(n / coarse)) for n in shape)
    field = ndimage.gaussian_filter(rng.standard_normal(small, dtype=np.float32), sigma / coarse, mode="reflect")
    field = ndimage.zoom(field, [n / m for n, m in zip(shape, small, strict=True)], order=1)
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), dtype=np.float32)
