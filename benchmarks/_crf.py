"""Conditional random field as post-processing: dense if ``pydensecrf`` is installed, else in a window."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch

from napari_medseg.evaluate.metrics.compare import get_metric

try:
    import pydensecrf.densecrf as dense
except ImportError:
    dense = None

POSTPROCESSOR = "dense CRF" if dense else "window CRF"
ITERATIONS = 5
WINDOW = 11
LEAST = 1e-6
Weights = tuple[float, float, float, float]
GRID: tuple[Weights, ...] = tuple(product((0.5, 3.0), (1.0,), (1.0, 4.0), (5.0,)))
"""Weight and range (pixels) of smoothness, weight and range of appearance."""
GREY_SD = 0.5


def best_crf(cases: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Weights:
    """Return the weights of the best Dice over cases of image, probability and exact mask."""
    dice = get_metric("dice")
    return max(GRID, key=lambda w: sum(dice(crf(image, p, w), truth, (1.0, 1.0)) for image, p, truth in cases))


def crf(image: np.ndarray, probability: np.ndarray, weights: Weights) -> np.ndarray:
    """Return the mask (bool, Y X) that mean-field inference makes of a nerve probability.

    The kernels are ``w1 exp(-d^2 / 2 s1^2)`` and ``w2 exp(-d^2 / 2 s2^2 - |dI|^2 / 2 t^2)`` with t half an SD of the
    grey values, as in the spatial constraint.
    """
    p = np.clip(probability, LEAST, 1 - LEAST)
    grey = (image - image.mean()) / max(float(image.std()), LEAST)
    return (_dense if dense else _window)(grey, np.stack([1 - p, p]), weights)


def _dense(grey: np.ndarray, p: np.ndarray, weights: Weights) -> np.ndarray:
    w1, s1, w2, s2 = weights
    height, width = grey.shape
    field = dense.DenseCRF2D(width, height, 2)
    field.setUnaryEnergy(np.ascontiguousarray(-np.log(p).reshape(2, -1), np.float32))
    field.addPairwiseGaussian(sxy=s1, compat=w1)
    y, x = np.indices(grey.shape)
    features = np.stack([x / s2, y / s2, grey / GREY_SD]).reshape(3, -1).astype(np.float32)
    field.addPairwiseEnergy(np.ascontiguousarray(features), compat=w2)
    q = np.array(field.inference(ITERATIONS)).reshape(2, height, width)
    return np.asarray(q[1] > q[0])


def _window(grey: np.ndarray, p: np.ndarray, weights: Weights) -> np.ndarray:
    """Mean field with the messages of an 11 x 11 window, each kernel normalised to a sum of 1."""
    w1, s1, w2, s2 = weights
    image = torch.from_numpy(grey.astype(np.float32))
    unary = torch.from_numpy(np.log(p).astype(np.float32))
    reach = WINDOW // 2
    offsets = [o for o in product(range(-reach, reach + 1), repeat=2) if o != (0, 0)]
    total = torch.zeros(2, *image.shape)
    pairs = []
    for dy, dx in offsets:
        near = torch.roll(image, (dy, dx), (0, 1))
        distance = float(dy * dy + dx * dx)
        inside = _inside(image.shape, dy, dx)
        smooth = inside * float(np.exp(-distance / 2 / s1**2))
        alike = inside * torch.exp(-((image - near) ** 2) / 2 / GREY_SD**2 - distance / 2 / s2**2)
        total[0] += smooth
        total[1] += alike
        pairs.append((dy, dx, smooth, alike))
    weighted = [(dy, dx, w1 * a / (total[0] + LEAST) + w2 * b / (total[1] + LEAST)) for dy, dx, a, b in pairs]
    q = torch.softmax(unary, 0)
    for _ in range(ITERATIONS):
        message = torch.zeros_like(q)
        for dy, dx, weight in weighted:
            message += weight * torch.roll(q, (dy, dx), (1, 2))
        q = torch.softmax(unary + message, 0)
    return np.asarray((q[1] > q[0]).numpy())


def _inside(shape: torch.Size, dy: int, dx: int) -> torch.Tensor:
    """Return 1 where the neighbour that a roll by (dy, dx) brings lies in the image, else 0."""
    y, x = np.indices(shape)
    near_y, near_x = y - dy, x - dx
    inside = (near_y >= 0) & (near_y < shape[0]) & (near_x >= 0) & (near_x < shape[1])
    return torch.from_numpy(inside.astype(np.float32))
