"""The passes over pixels that varCE needs on a CPU: gradients are written in place, nothing large is allocated."""

from __future__ import annotations

import numpy as np

from napari_medseg.geodesic.compiled import compiled


@compiled
def gather(p: np.ndarray, target: np.ndarray, instances: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return p of the true class (B, N), pixels (B, I) and mean p (B, I, K) of the instances.

    `p` is (B, K, N), `target` and `instances` are (B, N); I is the largest instance number plus one, and instance 0 is
    no instance.
    """
    batch, channels, pixels = p.shape
    ids = instances.max() + 1 if instances.size else 1
    true, n, mean = np.empty((batch, pixels), p.dtype), np.zeros((batch, ids)), np.zeros((batch, ids, channels))
    for b in range(batch):
        for i in range(pixels):
            true[b, i] = p[b, target[b, i], i]
            k = instances[b, i]
            if k > 0:
                n[b, k] += 1
                for c in range(channels):
                    mean[b, k, c] += p[b, c, i]
        for k in range(ids):
            for c in range(channels):
                mean[b, k, c] /= max(n[b, k], 1)
    return true, n, mean


@compiled
def differentiate(
    p: np.ndarray,
    target: np.ndarray,
    share: np.ndarray,
    instances: np.ndarray,
    mean: np.ndarray,
    factor: np.ndarray,
    only: int,
    alpha: float,
) -> float:
    """Replace probabilities by the gradient with respect to the logits; return the variance term.

    Parameters
    ----------
    p, target, instances, mean
        As in `gather`.
    share
        (B, N), weight of each pixel's cross entropy.
    factor
        (B, I), weight of each instance's sum of squared deviations.
    only
        The channel whose variance counts, -1 for all.
    alpha
        Weight of the variance term.
    """
    batch, channels, pixels = p.shape
    slope = np.zeros(channels)
    term = 0.0
    for b in range(batch):
        planes, ids, weights, classes = p[b], instances[b], share[b], target[b]
        for i in range(pixels):
            k, inner = ids[i], 0.0
            if k > 0:
                for c in range(channels):
                    deviation = planes[c, i] - mean[b, k, c] if only < 0 or c == only else 0.0
                    term += deviation * deviation * factor[b, k]
                    slope[c] = 2 * alpha * deviation * factor[b, k]
                    inner += planes[c, i] * slope[c]
                for c in range(channels):
                    planes[c, i] *= weights[i] + slope[c] - inner
        for c in range(channels):  # without branches, so that the compiler makes it wide
            plane = planes[c]
            for i in range(pixels):
                plane[i] *= weights[i] if ids[i] == 0 else np.float32(1)
                plane[i] -= weights[i] if classes[i] == c else np.float32(0)
    return term
