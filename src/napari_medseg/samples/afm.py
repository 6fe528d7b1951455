"""Generated contact-mode AFM scans of cells on glass, with the exact cell mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_medseg.image import Image
from napari_medseg.io.write import write

PIXEL_UM = 0.2
PIXELS_PER_CELL = 110**2


def afm_scan(seed: int = 0, size: int = 256) -> tuple[Image, Image]:
    """Generate a height image with the defects of a real scan, and its exact mask.

    Cells are lobed domes of 0.6 to 1.8 um with filopodia 1 to 2 pixels wide; over them lie tilt, bowl, line offsets,
    scars and noise. Cells are of the same size in pixels whatever `size`, larger scans hold more of them.

    Parameters
    ----------
    seed
        Equal seeds give equal scans.
    size
        Edge of the scan in pixels of 0.2 um.

    Returns
    -------
    tuple of Image
        Height (size, size) float32 in nm, and mask (size, size) uint8, 1 in cells.
    """
    rng = np.random.default_rng(seed)
    n_cells = max(1, round(size * size / PIXELS_PER_CELL + rng.uniform(-0.5, 0.5)))
    centres = _spread(rng, n_cells, size)
    topography, mask = np.zeros((size, size)), np.zeros((size, size), bool)
    for centre in centres:
        height, cell = _cell(rng, centre, size)
        topography, mask = np.maximum(topography, height), mask | cell
    scan = ndimage.gaussian_filter(topography, 0.5) + _defects(rng, size)
    image = Image(
        scan.astype(np.float32),
        "YX",
        (PIXEL_UM, PIXEL_UM),
        ("micrometer", "micrometer"),
        name=f"afm_scan_{seed}",
        channels=("Height",),
        value_unit="nm",
        metadata={"sample": "afm", "seed": seed},
    )
    return image, image.labels_like(mask.astype(np.uint8), name=f"afm_scan_{seed}_mask")


def afm_folder(folder: str | Path, n: int = 12, size: int = 256, seed: int = 0) -> Path:
    """Write a training folder of `n` scans: ``images/*.tif`` in nm and ``labels/*.png`` with 0 and 255.

    Raises
    ------
    WriteError
        If the folder cannot be written.
    """
    folder = Path(folder)
    for k in range(n):
        image, mask = afm_scan(seed + k, size)
        stem = f"scan_{seed + k:03d}"
        write(folder / "images" / f"{stem}.tif", image.replace(name=stem))
        write(folder / "labels" / f"{stem}.png", mask.replace(data=mask.data * np.uint8(255), name=stem))
    return folder


def _spread(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """Return `n` centres (y, x), each the farthest from the others among a few random ones."""
    chosen = [rng.uniform(0.15, 0.85, 2) * size]
    while len(chosen) < n:
        candidates = rng.uniform(0.05, 0.95, (12, 2)) * size
        gaps = np.linalg.norm(candidates[:, None] - np.array(chosen)[None], axis=-1).min(axis=1)
        chosen.append(candidates[int(gaps.argmax())])
    return np.array(chosen)


def _cell(rng: np.random.Generator, centre: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the height (nm) and mask of one cell: a lobed dome with a nucleus and filopodia."""
    y, x = np.mgrid[:size, :size] - centre[:, None, None]
    angle, radius = np.arctan2(y, x), np.hypot(y, x)
    lobes = sum(rng.normal(0, 0.25 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in range(2, 7))
    reach = rng.uniform(18, 30) * np.clip(1 + lobes, 0.45, 1.8)
    body = radius < reach
    inside = ndimage.distance_transform_edt(body)
    top = rng.uniform(600, 1800)
    nucleus = np.exp(-((radius / (0.35 * reach.mean())) ** 2))
    height = body * (120 + top * (0.5 * (1 - np.exp(-inside / 6)) + 0.5 * nucleus))
    arms = np.zeros_like(body)
    for _ in range(rng.integers(4, 9)):
        arms |= _filopodium(rng, centre, reach, angle, size)
    arms &= ~body
    return np.maximum(height, arms * rng.uniform(90, 220)), body | arms


def _filopodium(
    rng: np.random.Generator, centre: np.ndarray, reach: np.ndarray, angle: np.ndarray, size: int
) -> np.ndarray:
    """Draw a process 1 or 2 pixels wide that leaves the cell outwards and bends a little."""
    direction = rng.uniform(-np.pi, np.pi)
    edge = reach.ravel()[int(np.abs(angle - direction).argmin())]
    steps = np.arange(0, rng.uniform(10, 35), 0.5)
    bend = np.cumsum(rng.normal(0, 0.04, steps.size))
    along = np.stack([np.sin(direction + bend), np.cos(direction + bend)]) * 0.5
    path = centre[:, None] + np.array([[np.sin(direction)], [np.cos(direction)]]) * (edge - 2) + np.cumsum(along, 1)
    drawn = np.zeros((size, size), bool)
    for shift in range(int(rng.integers(1, 3))):
        rows, columns = np.round(path).astype(int) + shift * (np.abs(np.cos(direction)) > 0.7) * np.array([[1], [0]])
        columns = columns + shift * (np.abs(np.cos(direction)) <= 0.7)
        fits = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
        drawn[rows[fits], columns[fits]] = True
    return drawn


def _defects(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return tilt, bowl, line offsets, scars and noise in nm."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    surface = 2000 + rng.uniform(-150, 150) * x + rng.uniform(-150, 150) * y + rng.uniform(50, 150) * (x**2 + y**2)
    surface += rng.normal(0, 6, (size, 1)) + rng.normal(0, 4, (size, size))
    for _ in range(rng.poisson(size / 64)):
        row, start, length = rng.integers(size), rng.integers(size), rng.integers(20, 60)
        surface[row, start : start + length] += rng.choice([-1, 1]) * rng.uniform(60, 200)
    return np.asarray(surface)
