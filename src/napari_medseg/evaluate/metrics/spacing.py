"""Lengths on a grid: the steps of its axes, at right angles or sheared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Spacing = Sequence[float] | np.ndarray  # the step of each axis, or the matrix (n, n) of `Image.steps`; empty: 1
SQUARE = 1e-4  # cosine below which two axes are at right angles: what single precision and rounded headers leave


def steps_of(spacing: Spacing, n: int) -> np.ndarray:
    """Return the upper triangular matrix (n, n) that measures as `spacing`: an index d is ``norm(matrix @ d)`` long.

    It is diagonal where the axes are at right angles, whichever way they are turned.
    """
    given = np.asarray(spacing, float)
    if given.ndim < 2:
        return np.diag(given if given.size else np.ones(n))
    sides = np.linalg.norm(given, axis=0)
    off = np.abs(given.T @ given / np.outer(sides, sides) - np.eye(n))
    if off.max() < SQUARE:
        return np.diag(sides)
    matrix = np.linalg.qr(given, mode="r")
    return np.asarray(matrix * np.sign(np.diag(matrix))[:, None])


def sides_of(steps: np.ndarray) -> np.ndarray | None:
    """Return the step of each axis of a matrix of `steps_of`, ``None`` if they are not at right angles."""
    sides = np.diag(steps)
    return sides if np.array_equal(steps, np.diag(sides)) else None
