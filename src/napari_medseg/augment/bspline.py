"""Elastic deformation by a cubic B-spline with normal displacements of its control points (SimpleITK)."""

from __future__ import annotations

import numpy as np


def bspline_displacement(
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    sd: float = 15.0,
    mesh: int = 6,
    first_third_zero: bool = False,
) -> np.ndarray:
    """Return displacements float32 (2, H, W) in pixels, (dy, dx).

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
