"""Geometry of paths (N, 2): length free of the pixel grid's bias, tortuosity, where paths touch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SMOOTHING_PX = 2.5
SIMPLIFY_PX = 0.05


@dataclass(frozen=True)
class Attachment:
    """End of a path (0 first, 1 last) that lies on the inside of a `host` path."""

    path: int
    end: int
    host: int


def smooth(points: np.ndarray, closed: bool = False, sigma: float = SMOOTHING_PX) -> np.ndarray:
    """Take the staircase of the grid out of a path and return it with few points.

    The filter is twice a Gaussian minus the Gaussian of the Gaussian: it keeps ends and straight lines where they
    are, and shrinks a circle of radius R by (sigma^2 / 2 R^2)^2 only. Closed paths are returned with the first point
    repeated.
    """
    from scipy.ndimage import gaussian_filter1d
    from skimage.measure import approximate_polygon

    points = np.asarray(points, float)
    if len(points) < 4:
        return points
    pad = int(6 * sigma) + 1
    ring = {"mode": "wrap"} if closed else {"mode": "reflect", "reflect_type": "odd"}
    once = gaussian_filter1d(np.pad(points, ((2 * pad, 2 * pad), (0, 0)), **ring), sigma, axis=0, truncate=5)  # type: ignore[call-overload]
    path = (2 * once - gaussian_filter1d(once, sigma, axis=0, truncate=5))[2 * pad : -2 * pad]
    if closed:
        path = np.vstack([path, path[:1]])
    return np.asarray(approximate_polygon(path, SIMPLIFY_PX))


def length(path: np.ndarray, scale: Sequence[float] = (1.0, 1.0)) -> float:
    """Return the length of a polyline (N, 2) in the unit of `scale`."""
    return float(np.linalg.norm(np.diff(np.asarray(path, float) * np.asarray(scale), axis=0), axis=1).sum())


def tortuosity(path: np.ndarray, scale: Sequence[float] = (1.0, 1.0)) -> float:
    """Return length over chord, 1 for a straight path; the chord of a closed path is its largest extent."""
    points = np.asarray(path, float) * np.asarray(scale)
    chord = float(np.linalg.norm(points[-1] - points[0]))
    total = length(points)
    if chord < 0.01 * total:
        chord = float(np.linalg.norm(points - points[0], axis=1).max())
    return max(total / chord, 1.0) if chord > 0 else 1.0


def attachments(
    paths: Sequence[np.ndarray], distance: float = 3.0, scale: Sequence[float] = (1.0, 1.0)
) -> list[Attachment]:
    """List the path ends within `distance` pixels of another path's inside; of several hosts the longest counts."""
    lengths = [length(p, scale) for p in paths]
    found = []
    for index, path in enumerate(paths):
        if len(path) < 2 or np.array_equal(path[0], path[-1]):
            continue
        for end, point in enumerate((path[0], path[-1])):
            hosts = [j for j, other in enumerate(paths) if j != index and _inside(point, other, distance)]
            if hosts:
                found.append(Attachment(index, end, max(hosts, key=lengths.__getitem__)))
    return found


def distance_to(point: np.ndarray, path: np.ndarray) -> float:
    """Return the distance of a point to a polyline (N, 2)."""
    a, step = path[:-1], np.diff(path, axis=0)
    if not len(a):
        return float(np.linalg.norm(path[0] - point))
    along = np.clip(((point - a) * step).sum(1) / np.maximum((step**2).sum(1), 1e-12), 0, 1)
    return float(np.linalg.norm(a + along[:, None] * step - point, axis=1).min())


def _inside(point: np.ndarray, path: np.ndarray, distance: float) -> bool:
    low, high = path.min(0) - distance, path.max(0) + distance
    if (point < low).any() or (point > high).any() or distance_to(point, path) > distance:
        return False
    closed = np.array_equal(path[0], path[-1])
    return closed or float(min(np.linalg.norm(path[0] - point), np.linalg.norm(path[-1] - point))) > distance


def fractal_dimension(mask: np.ndarray) -> float:
    """Return the box-counting dimension of a 2D mask: minus the slope of log N(s) over log s; 0 if it is empty."""
    sizes = 2 ** np.arange(1, max(2, int(np.log2(max(min(mask.shape), 2)))))
    counts = [_boxes(mask, int(size)) for size in sizes]
    if not mask.any() or len(sizes) < 2:
        return 0.0
    return float(-np.polyfit(np.log(sizes), np.log(counts), 1)[0])


def _boxes(mask: np.ndarray, size: int) -> int:
    rows, columns = np.nonzero(mask)
    return len(np.unique(rows // size * mask.shape[1] + columns // size))


def simplify(path: np.ndarray, tolerance: float) -> np.ndarray:
    """Return a path (N, 2) with as few of its points as keep it within `tolerance` pixels (Douglas and Peucker)."""
    from skimage.measure import approximate_polygon

    return np.asarray(approximate_polygon(path, tolerance))
