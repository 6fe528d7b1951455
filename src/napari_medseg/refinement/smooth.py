"""Mean-field smoothing of a changed region along image edges, without torch.

The model is that of CRF-Net (Wang et al. 2019) with the bilateral kernel on the 3^n neighbourhood and Potts costs; the
trained network has its own CRF-Net. Arrays of a changed region are small, so plain numpy is faster than torch threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

MAX_LOGIT = 6.0
APPEARANCE, SMOOTHNESS = 3.0, 1.0
THETA = 0.05
ITERATIONS = 2

Pair = tuple[tuple[slice, ...], tuple[slice, ...]]


def mean_field(
    logits: np.ndarray, mask: np.ndarray, rival: np.ndarray, features: np.ndarray, strokes: np.ndarray, n_classes: int
) -> np.ndarray:
    """Return labels uint8 (*spatial) after two mean-field iterations.

    Parameters
    ----------
    logits
        Log-odds (*spatial) of the class `rival` against the class `mask` (uint8); other classes are ruled out.
    features
        Intensities float32 (C, *spatial) in [0, 1].
    strokes
        Scribbles uint8 (*spatial): k + 1 fixes class k.
    n_classes
        Classes, background included.
    """
    unary = np.full((n_classes, *logits.shape), -MAX_LOGIT, np.float32)
    np.put_along_axis(unary, mask[None].astype(np.intp), 0.0, 0)
    odds = np.where(rival == mask, 0, logits).astype(np.float32)
    np.put_along_axis(unary, rival[None].astype(np.intp), odds[None], 0)
    painted = strokes > 0
    fixed = np.moveaxis(np.eye(n_classes, dtype=np.float32)[np.maximum(strokes, 1) - 1], -1, 0)
    weights = [(here, there, _weight(features, here, there)) for here, there in _neighbours(logits.shape)]
    current = unary
    for _ in range(ITERATIONS):
        q = np.exp(current - current.max(0))
        q /= q.sum(0)
        np.copyto(q, fixed, where=painted)
        support = np.zeros_like(q)
        for here, there, weight in weights:
            support[(slice(None), *here)] += weight * q[(slice(None), *there)]
            support[(slice(None), *there)] += weight * q[(slice(None), *here)]
        current = unary + support  # Potts: a constant minus the support of the other classes
    return np.asarray(np.where(painted, np.maximum(strokes, 1) - 1, current.argmax(0)), np.uint8)


def _neighbours(shape: tuple[int, ...]) -> Iterator[Pair]:
    """Yield the two views of every pair of neighbours, once for each direction and its opposite."""
    for step in product((-1, 0, 1), repeat=len(shape)):
        if step <= (0,) * len(shape) or any(s and n == 1 for s, n in zip(step, shape, strict=True)):
            continue
        here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(step, shape, strict=True))
        there = tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(step, shape, strict=True))
        yield here, there


def _weight(features: np.ndarray, here: tuple[slice, ...], there: tuple[slice, ...]) -> np.ndarray:
    """Return the weight (*spatial of the views) of each pair; all weights of an inner voxel add up to at most 4."""
    difference = features[(slice(None), *here)] - features[(slice(None), *there)]
    near = np.exp(np.einsum("c...,c...->...", difference, difference) / np.float32(-2 * THETA**2))
    n_pairs = 3 ** (features.ndim - 1) - 1
    return np.asarray((APPEARANCE * near + SMOOTHNESS) / n_pairs, np.float32)
