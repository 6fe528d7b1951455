"""Masks of lines from maps of evidence: hysteresis threshold and shortest line."""

from __future__ import annotations

import numpy as np

from napari_medseg.evaluate.metrics.tolerance import centreline


def keep_lines(evidence: np.ndarray, low: float, high: float, shortest: int = 0) -> np.ndarray:
    """Return the pieces (bool) above `low` that reach above `high` and whose centreline has `shortest` pixels.

    Pieces are 8- or 26-connected. With `high` no more than `low` there is one threshold.

    Parameters
    ----------
    evidence
        Probability or strength (*spatial).
    """
    from scipy.ndimage import label

    mask = np.asarray(evidence) > low
    pieces, n = label(mask, np.ones((3,) * mask.ndim))
    keep = np.ones(n + 1, bool)
    if high > low:
        keep = np.bincount(pieces[np.asarray(evidence) > high], minlength=n + 1) > 0
    if shortest > 1:
        keep &= np.bincount(pieces[centreline(mask)], minlength=n + 1) >= shortest
    keep[0] = False
    return np.asarray(keep[pieces])
