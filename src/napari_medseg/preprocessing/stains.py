"""Colour normalisation of H&E images: Macenko et al. (ISBI 2009) and Reinhard et al. (2001)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_medseg.errors import DataError

OD_FLOOR = 0.15
PERCENTILE = 1.0
MIN_PIXELS = 50


@dataclass(frozen=True)
class Stains:
    """Optical-density vectors (2, 3) of haematoxylin and eosin, and their 99th-percentile concentrations (2,)."""

    vectors: np.ndarray
    strength: np.ndarray


TARGET = Stains(np.array([[0.4805, 0.7613, 0.4353], [0.2606, 0.7987, 0.5423]]), np.array([2.141, 1.125]))


@dataclass(frozen=True)
class LabStatistics:
    """Mean and SD of the CIELAB channels, each (3,)."""

    mean: np.ndarray
    std: np.ndarray


LAB_TARGET = LabStatistics(np.array([65.8, 24.6, -8.2]), np.array([16.2, 8.4, 5.2]))


def rgb8(image: np.ndarray, top: float | None = None) -> np.ndarray:
    """Return (H, W, 3) uint8 from RGB or RGBA of 8 or 16 bit or float; `top` is the value of white.

    By default it is `known_white`. NaN and infinite values are refused (`DataError`).
    """
    if image.ndim != 3 or image.shape[2] not in (3, 4):
        raise DataError(f"A stained image needs red, green and blue (H, W, 3); this one is {image.shape}.")
    image = image[..., :3]
    if image.dtype == np.uint8 and top in (None, 255):
        return image
    _require_finite(image)
    top = known_white(image) if top is None else top
    return np.asarray(np.clip(np.rint(image * (255.0 / top)), 0, 255), np.uint8)


WHITES = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)  # cameras of 8, 10, 12, 14 and 16 bits
BRIGHTEST = 99.9  # percentile of fractions: a few pixels may be brighter than white
PERCENT = 105.0  # what percentages may reach, as fractions do
OVERSHOOT = 2.0  # correcting the illumination lets fractions rise above 1, but not twice as high


def white_level(image: np.ndarray) -> float:
    """Guess the value of white: 1 for fractions, else the highest value of the narrowest camera that fits.

    Bright-field pictures show bare glass or nearly so; a picture whose values all lie below 1/16 of the range of its
    numbers was kept in more bits than its camera has.
    """
    if image.dtype == np.uint8:
        return 255.0
    if not image.size:
        return WHITES[-1]
    if image.dtype.kind != "f":
        highest = float(image.max())
        return next((white for white in WHITES if highest <= white), highest)
    _require_finite(image)
    highest = float(np.percentile(image, BRIGHTEST))
    if highest <= OVERSHOOT:
        return 1.0
    return next((white for white in WHITES if highest <= white * 1.05), highest)


def known_white(image: np.ndarray, stated: float | None = None) -> float:
    """Return the value of white of colours: what their file states, else `white_level` where that can be right.

    Raises
    ------
    DataError
        If nothing is stated and the values may be percentages as well as dark bytes, or are more than 16 bits wide.
    """
    white = 255.0 if image.dtype == np.uint8 else stated or white_level(image)
    if stated or (white in (1.0, 255.0) and not _maybe_percent(image)) or white in WHITES[1:]:
        return float(white)
    raise DataError(
        f"Nothing says what value white has in this picture of {image.dtype}, whose values reach {image.max():.6g}: "
        "stains cannot be told from it. Save it as 8 or 16 bits for each colour, or as fractions from 0 to 1."
    )


def _maybe_percent(image: np.ndarray) -> bool:
    """Whether values other than bytes reach 100 at most, and are no fractions: of bytes they would be dark."""
    return image.dtype.kind == "f" and OVERSHOOT < np.percentile(image, BRIGHTEST) <= PERCENT


def said_of_white(image: np.ndarray, stated: float | None = None) -> list[str]:
    """Say which value of white is assumed of the colours (..., 3 or 4) of a picture whose file states none."""
    if image.dtype == np.uint8 or stated or not image.size:
        return []
    return [f"The file does not state the value of white; {known_white(image):g} is assumed."]


def _require_finite(image: np.ndarray) -> None:
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise DataError("The image holds NaN or infinite values. Replace them first.")


def optical_density(rgb: np.ndarray) -> np.ndarray:
    """Return OD = -ln((I + 1) / 255), float64 of the same shape."""
    return np.asarray(_OD[rgb])


_OD = -np.log((np.arange(256) + 1.0) / 255.0)


def fit_macenko(rgb: np.ndarray) -> Stains | None:
    """Estimate the stains of uint8 (..., 3); ``None`` where there is too little stained tissue.

    The extreme directions (1st and 99th angle percentile) in the plane of the two largest principal components of the
    optical densities above 0.15 are the stain vectors; the one with more red absorption is haematoxylin.
    """
    od = optical_density(rgb.reshape(-1, 3))
    stained = od[(od > OD_FLOOR).all(1)]
    if len(stained) < MIN_PIXELS:
        return None
    plane = np.linalg.eigh(np.cov(stained.T))[1][:, 1:]
    plane = plane * np.where(plane.sum(0) < 0, -1, 1)
    projected = stained @ plane
    angles = np.arctan2(projected[:, 1], projected[:, 0])
    extremes = np.percentile(angles, [PERCENTILE, 100 - PERCENTILE])
    vectors = np.stack([plane @ [np.cos(a), np.sin(a)] for a in extremes])
    vectors = vectors[np.argsort(-vectors[:, 0])]
    if np.linalg.matrix_rank(vectors, tol=1e-3) < 2:
        return None
    strength = np.percentile(_unmix(od, vectors), 100 - PERCENTILE, axis=0)
    return Stains(vectors, strength) if (strength > 0).all() else None


def _unmix(od: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.asarray(od @ np.linalg.pinv(vectors))


def concentrations(rgb: np.ndarray, stains: Stains = TARGET) -> np.ndarray:
    """Return least-squares haematoxylin and eosin concentrations float64 (..., 2) of uint8 (..., 3)."""
    return _unmix(optical_density(rgb), stains.vectors)


def apply_macenko(rgb: np.ndarray, source: Stains | None, target: Stains = TARGET) -> np.ndarray:
    """Bring uint8 (..., 3) from the stains of `source` to those of `target`; without `source` nothing changes."""
    if source is None:
        return rgb
    mixing = np.linalg.pinv(source.vectors) * (target.strength / source.strength) @ target.vectors
    od = optical_density(rgb) @ mixing
    return np.asarray(np.clip(255 * np.exp(-od), 0, 255), np.uint8)


def macenko(rgb: np.ndarray, target: Stains = TARGET) -> np.ndarray:
    """Normalise a whole image uint8 (H, W, 3) to `target`."""
    return apply_macenko(rgb, fit_macenko(rgb), target)


def fit_reinhard(rgb: np.ndarray) -> LabStatistics | None:
    """Measure mean and SD of the CIELAB channels of uint8 (..., 3); ``None`` where too little is stained."""
    from skimage.color import rgb2lab

    if np.count_nonzero((optical_density(rgb) > OD_FLOOR).all(-1)) < MIN_PIXELS:
        return None  # bare glass would be given the colour of tissue, and its noise the contrast
    lab = rgb2lab(rgb.reshape(-1, 1, 3)).reshape(-1, 3)
    return LabStatistics(lab.mean(0), lab.std(0))


def apply_reinhard(rgb: np.ndarray, source: LabStatistics | None, target: LabStatistics = LAB_TARGET) -> np.ndarray:
    """Shift and scale the CIELAB channels of uint8 (H, W, 3) from `source` to `target`; values are truncated.

    Without `source` nothing changes.
    """
    from skimage.color import lab2rgb, rgb2lab

    if source is None:
        return rgb
    std = np.where(source.std > 0, source.std, 1.0)
    lab = (rgb2lab(rgb) - source.mean) * (target.std / std) + target.mean
    lab[..., 0] = np.clip(lab[..., 0], 0, 100)
    return np.asarray(np.clip(_quiet_lab2rgb(lab2rgb, lab) * 255, 0, 255), np.uint8)


def _quiet_lab2rgb(lab2rgb: Any, lab: np.ndarray) -> np.ndarray:
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*negative Z values.*")
        return np.asarray(lab2rgb(lab))


def reinhard(rgb: np.ndarray, target: LabStatistics = LAB_TARGET) -> np.ndarray:
    """Normalise a whole image uint8 (H, W, 3) to `target`."""
    return apply_reinhard(rgb, fit_reinhard(rgb), target)


def mix_stain(x: np.ndarray, mean: np.ndarray, std: np.ndarray, most: float, rng: np.random.Generator) -> np.ndarray:
    """Change the colours of a sample's stains and of its glass: another laboratory's dyes and lamp.

    Parameters
    ----------
    x
        (3, Y, X) float32, (RGB / 255 - `mean`) / `std`.
    most
        Largest share of each colour's optical density that another colour gains or loses, and largest optical density
        that is added to, or half of it taken from, each colour of the glass.
    """
    mean, std = (np.reshape(v, (3, 1, 1)) for v in (mean, std))
    mixing = np.eye(3) + rng.uniform(-most, most, (3, 3)) * ~np.eye(3, dtype=bool)
    density = -np.log(np.clip(x * std + mean, 1 / 255, 1))
    density = np.tensordot(mixing, density, 1) + rng.uniform(-most / 2, most, (3, 1, 1))
    return np.asarray((np.exp(-np.clip(density, 0, None)) - mean) / std, np.float32)


def jitter_stain(x: np.ndarray, mean: np.ndarray, std: np.ndarray, most: float, rng: np.random.Generator) -> np.ndarray:
    """Change how strongly a sample is stained: a factor on its optical density, and half as much on each channel.

    Parameters
    ----------
    x
        (3, Y, X) float32, (RGB / 255 - `mean`) / `std`.
    most
        Largest logarithm of the common factor.
    """
    mean, std = (np.reshape(v, (3, 1, 1)) for v in (mean, std))
    factor = np.exp(rng.uniform(-most, most) + rng.uniform(-most / 2, most / 2, (3, 1, 1)))
    return np.asarray((np.clip(x * std + mean, 1 / 255, 1) ** factor - mean) / std, np.float32)
