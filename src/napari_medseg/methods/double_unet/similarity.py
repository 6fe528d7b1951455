"""Which pictures show one scene: frames of one film that must not be split between training and validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image as Pillow
from scipy import ndimage
from scipy.sparse.csgraph import connected_components

SAME_SCENE = 0.5  # correlation; unlike scenes of one modality stay below, the same scene is above 0.95
EDGE = 48  # pixels of a fingerprint along each axis
SHIFT = 6  # of these pixels by which two pictures of one scene may be moved
FINE, COARSE = 1.0, 6.0  # sigma in these pixels: between them lies the structure that is compared
DARK = 4  # of 255: borders are at most that


def similarity_groups(pictures: Sequence[np.ndarray], threshold: float = SAME_SCENE) -> np.ndarray:
    """Return a group number for each picture; pictures joined by a chain of `similarity` >= `threshold` share one.

    Parameters
    ----------
    pictures
        Grey (Y, X) or colour (Y, X, C) pictures of any size.
    threshold
        Smallest similarity of two pictures of one scene.
    """
    if not len(pictures):
        return np.zeros(0, np.int64)
    found = similarity(np.stack([fingerprint(picture) for picture in pictures]))
    return np.asarray(connected_components(found >= threshold, directed=False)[1], np.int64)


def fingerprint(picture: np.ndarray) -> np.ndarray:
    """Return the structure of a picture as float32 (48, 48) of mean 0 and norm 1; a blank picture gives zeros.

    Dark borders are cut off, the rest is resized, and the difference of two Gaussians (sigma 1 and 6) of the square
    root keeps edges but neither brightness nor shading.
    """
    grey = np.asarray(picture, np.float32)
    grey = grey.mean(2) if grey.ndim == 3 else grey
    grey = _without_border(grey - grey.min())
    small = np.asarray(Pillow.fromarray(grey).resize((EDGE, EDGE), Pillow.Resampling.BOX))
    root = np.sqrt(np.maximum(small, 0))
    bands = ndimage.gaussian_filter(root, FINE) - ndimage.gaussian_filter(root, COARSE)
    bands -= bands.mean()
    norm = float(np.linalg.norm(bands))
    return np.asarray(bands / norm if norm > 1e-4 else np.zeros_like(bands), np.float32)


def similarity(prints: np.ndarray) -> np.ndarray:
    """Return the largest correlation (N, N) of fingerprints (N, 48, 48) over shifts of up to 6 and mirroring."""
    window = np.r_[-SHIFT : SHIFT + 1]
    spectra = np.fft.rfft2(prints)
    result = np.empty((len(prints),) * 2, np.float32)
    for k, one in enumerate(prints):
        seen = np.conj(np.fft.rfft2(np.stack([one, one[:, ::-1]])))
        products = np.fft.irfft2(spectra[:, None] * seen, s=one.shape)
        result[k] = products[..., window[:, None], window].max((1, 2, 3))
    return np.maximum(result, result.T)


def _without_border(grey: np.ndarray) -> np.ndarray:
    """Cut off rows and columns that are dark but for a few pixels (borders, logos)."""
    scale = 255 / max(float(grey.max()), 1e-6)
    lit = grey * scale > DARK
    rows, columns = np.flatnonzero(lit.mean(1) > 0.15), np.flatnonzero(lit.mean(0) > 0.15)
    if not len(rows) or not len(columns):
        return grey
    return grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
