"""Corruptions of exact nerve masks that imitate inaccurate annotation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from scipy import ndimage

from napari_medseg.errors import DataError

Corruption = Literal["centreline", "radius", "jitter", "delete", "add", "trace"]
CORRELATION_PX = 20.0
COARSE = 10  # noise is drawn at this many points for each length of its correlation
PIECE_PX = 40


def corrupt(mask: np.ndarray, kind: Corruption, level: float, rng: np.random.Generator) -> np.ndarray:
    """Return an inaccurate copy (bool) of a mask (Y, X); level 0 returns it unchanged.

    Parameters
    ----------
    kind
        ``centreline``: 1-pixel centreline (any level). ``radius``: dilation and erosion by up to `level` pixels,
        varying smoothly. ``jitter``: smooth displacement of `level` pixels at most, correlated over 20 pixels.
        ``delete``, ``add``: share `level` of the length left out, or of the area added as false segments.
        ``trace``: what an annotator does at sloppiness `level`: segments left out (5 % per level) and added (2 %),
        the rest a centreline jittered by `level` pixels.

    Raises
    ------
    DataError
        If the kind is unknown.
    """
    corruptions: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
        "centreline": _centreline, "radius": _radius, "jitter": _jitter,
        "delete": _delete, "add": _add, "trace": _trace,
    }  # fmt: skip
    if kind not in corruptions:
        raise DataError(f"There is no corruption {kind!r}. Known: {', '.join(get_args(Corruption))}.")
    mask = np.asarray(mask) > 0
    return corruptions[kind](mask, level, rng) if level > 0 and mask.any() else mask.copy()


def smooth_field(shape: tuple[int, ...], correlation: float, rng: np.random.Generator) -> np.ndarray:
    """Return Gaussian noise of unit SD correlated over `correlation` pixels; slow noise is drawn on a coarser grid."""
    step = max(int(correlation / COARSE), 1)
    noise = rng.standard_normal([-(-n // step) + 1 for n in shape])
    noise = ndimage.gaussian_filter(noise, correlation / 2 / step, mode="wrap")
    noise = ndimage.zoom(noise, step, order=1)[tuple(slice(n) for n in shape)]
    return np.asarray(noise / max(float(noise.std()), 1e-12))


def wander(start: np.ndarray, angle: float, steps: int, rng: np.random.Generator) -> np.ndarray:
    """Walk `steps` pixels from `start` (y, x) in a slowly changing direction."""
    turning = ndimage.gaussian_filter1d(rng.standard_normal(steps), 30, mode="wrap")
    direction = angle + np.cumsum(turning) * 0.05
    return np.asarray(start + np.cumsum(np.stack([np.sin(direction), np.cos(direction)], 1), 0))


def thicken(path: np.ndarray, width: float, shape: tuple[int, ...]) -> np.ndarray:
    """Return the pixels (bool, `shape`) within half of `width` of a path of 1-pixel steps."""
    reach = int(np.ceil(width / 2)) + 1
    drawn = np.zeros(shape, bool)
    offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), -1).reshape(-1, 2)
    dense = np.concatenate([path, (path[1:] + path[:-1]) / 2])
    pixels = np.rint(dense).astype(int)[:, None] + offsets
    keep = ((pixels >= 0) & (pixels < shape)).all(-1) & (((pixels - dense[:, None]) ** 2).sum(-1) <= (width / 2) ** 2)
    drawn[tuple(pixels[keep].T)] = True
    return drawn


def _centreline(mask: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    from napari_medseg.measure.skeleton import thin

    centre: np.ndarray = thin(mask)
    return centre


def _radius(mask: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    outside, inside = (ndimage.distance_transform_edt(part) for part in (~mask, mask))
    signed = np.where(mask, 0.5 - inside, outside - 0.5)
    change = np.clip(smooth_field(mask.shape, 2 * CORRELATION_PX, rng), -1, 1) * level
    return np.asarray(signed <= change)


def _jitter(mask: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    shift = np.stack([smooth_field(mask.shape, CORRELATION_PX, rng) for _ in range(2)]) / 2
    shift *= level / np.maximum(np.linalg.norm(shift, axis=0), 1)
    where = np.indices(mask.shape) + shift
    return np.asarray(ndimage.map_coordinates(mask.astype(np.uint8), where, order=0, mode="nearest") > 0)


def _delete(mask: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """Leave out pieces of about 40 pixels of centreline, and the mask around them, up to the share `level`."""
    from napari_medseg.measure.skeleton import thin, trace

    pixels = [s.pixels for s in trace(thin(mask)).segments]
    pieces = [part for p in pixels for part in np.array_split(p, max(1, round(len(p) / PIECE_PX)))]
    owner = np.zeros(mask.shape, np.int32)
    for index, part in enumerate(pieces, 1):
        owner[tuple(part.T)] = index
    nearest = ndimage.distance_transform_edt(owner == 0, return_distances=False, return_indices=True)
    order = rng.permutation(len(pieces))
    lengths = np.cumsum([len(pieces[i]) for i in order])
    gone = order[: int(np.searchsorted(lengths, level * lengths[-1], side="right"))] + 1
    return np.asarray(mask & ~np.isin(owner[tuple(nearest)], gone))


def _add(mask: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    result, wanted = mask.copy(), mask.sum() * (1 + level)
    width = mask.sum() / max(int(_centreline(mask, 1, rng).sum()), 1)
    for _ in range(100):
        if result.sum() >= wanted:
            break
        start = rng.uniform(0, 1, 2) * mask.shape
        path = wander(start, rng.uniform(0, 2 * np.pi), PIECE_PX, rng)
        result |= thicken(path, width, mask.shape)
    return result


def _trace(mask: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    rough = _add(_delete(mask, 0.05 * level, rng), 0.02 * level, rng)
    centre = _centreline(rough, 1, rng)
    moved = _jitter(ndimage.binary_dilation(centre, np.ones((3, 3))), level, rng)
    return _centreline(moved, 1, rng)
