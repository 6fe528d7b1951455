"""Random geometry of FullNet's training: scale, flip, affine, rotation, elastic and crop in one resampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_medseg.methods.fullnet.ternary import BACKGROUND

AFFINE = 0.3


@dataclass(frozen=True)
class Warp:
    """How samples are drawn.

    Parameters
    ----------
    crop
        Edge of the result in pixels.
    scales
        Range of the zoom; equal ends give a fixed one.
    fill
        Value of the image outside the source, one per channel. Target and weight are 0 there.
    paper
        Keep the authors' elastic quirk (see `bspline_displacement`).
    """

    crop: int
    scales: tuple[float, float]
    fill: tuple[float, float, float] = (0.0, 0.0, 0.0)
    paper: bool = False


def warp(x: np.ndarray, y: np.ndarray, rng: np.random.Generator, settings: Warp) -> tuple[np.ndarray, np.ndarray]:
    """Draw one sample from image x (3, H, W) and target y (2, H, W) = classes (nearest) and weights (linear).

    The authors resample after each step; here all steps are one map, so the image is interpolated once and nothing is
    cut off between steps. The elastic field is drawn on the result's grid.
    """
    source = np.asarray(x.shape[1:])
    scale = rng.uniform(*settings.scales)
    domain = np.maximum(source, np.round(source * scale).astype(int))
    matrix = random_matrix(rng, scale)
    start = [rng.integers(0, n - settings.crop + 1) if n > settings.crop else (n - settings.crop) // 2 for n in domain]
    grid = np.stack(np.meshgrid(*(s + np.arange(settings.crop) for s in start), indexing="ij")).astype(np.float32)
    field = bspline_displacement((int(domain[0]), int(domain[1])), rng, first_third_zero=settings.paper)
    rows, columns = (np.clip(g, 0, n - 1).astype(int) for g, n in zip(grid, domain, strict=True))
    centred = grid + field[:, rows, columns] - ((domain - 1) / 2)[:, None, None]
    places = np.tensordot(matrix, centred, 1) + ((source - 1) / 2)[:, None, None]
    places = places.astype(np.float32)
    channels = [
        ndimage.map_coordinates(channel, places, order=1, cval=fill)
        for channel, fill in zip(x, settings.fill, strict=True)
    ]
    classes = ndimage.map_coordinates(y[0], places, order=0, cval=BACKGROUND)
    weights = ndimage.map_coordinates(y[1], places, order=1, cval=0.0)
    return np.stack(channels), np.stack([classes, weights])


def random_matrix(rng: np.random.Generator, scale: float) -> np.ndarray:
    """Return the (2, 2) map from centred result to centred source: zoom, flip, affine, rotation by up to 90 degrees."""
    flip = np.diag([1.0, rng.choice([-1.0, 1.0])])
    affine = np.eye(2) + rng.uniform(-AFFINE, AFFINE, (2, 2))
    angle = rng.uniform(-np.pi / 2, np.pi / 2)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(flip @ affine @ rotation / scale)


def random_window(x: np.ndarray, y: np.ndarray, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Cut a random window (size, size); a smaller image is padded with zeros (weight 0) at its far edges."""
    missing = [max(size - n, 0) for n in x.shape[1:]]
    if any(missing):
        pad = ((0, 0), (0, missing[0]), (0, missing[1]))
        x, y = np.pad(x, pad), np.pad(y, pad)
    top, left = (int(rng.integers(0, n - size + 1)) for n in x.shape[1:])
    window = (slice(None), slice(top, top + size), slice(left, left + size))
    return np.ascontiguousarray(x[window]), np.ascontiguousarray(y[window])


def bspline_displacement(
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    sd: float = 15.0,
    mesh: int = 6,
    first_third_zero: bool = False,
) -> np.ndarray:
    """Return displacements float32 (2, H, W) in pixels, (dy, dx), of a cubic B-spline (SimpleITK).

    Parameters
    ----------
    shape
        H and W of the image, which is the spline's domain.
    rng
        Source of randomness.
    sd
        Standard deviation of a control point's displacement per axis, in pixels.
    mesh
        Cells per axis; the control grid has ``mesh + 3`` points per axis.
    first_third_zero
        Keep the first third of all parameters at zero, as the FullNet authors' code does (a left-over of a 3D version:
        two thirds of the control points are then not displaced along x).
    """
    import SimpleITK as sitk  # noqa: N813  its own documentation's name

    height, width = shape
    domain = sitk.Image([width, height], sitk.sitkUInt8)
    transform = sitk.BSplineTransformInitializer(domain, [mesh, mesh], order=3)
    parameters = rng.normal(0.0, sd, len(transform.GetParameters()))
    if first_third_zero:
        parameters[: len(parameters) // 3] = 0
    transform.SetParameters(parameters.tolist())
    sampler = sitk.TransformToDisplacementFieldFilter()
    sampler.SetReferenceImage(domain)
    sampler.SetOutputPixelType(sitk.sitkVectorFloat32)
    sampler.SetNumberOfWorkUnits(1)  # the caller's thread is one of several
    return np.ascontiguousarray(sitk.GetArrayFromImage(sampler.Execute(transform)).transpose(2, 0, 1)[::-1])
