"""SimpleITK images to and from `Image`, for its filters; files are read and written without it.

The world is ITK's (LPS) with its axes in the array's order, as `napari_medseg.io.volumes.space` says.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io.volumes.space import MILLIMETER, compose, decompose, file_matrix

__all__ = ["affine_of", "from_itk", "geometry_of", "to_itk"]


def affine_of(itk: Any) -> np.ndarray:
    """Return the (n+1, n+1) affine from index (slowest axis first) to world (same axis order) of a SimpleITK image."""
    return compose(itk.GetSpacing(), itk.GetDirection(), itk.GetOrigin())


def geometry_of(image: Image) -> tuple[list[float], list[float], list[float]]:
    """Return SimpleITK's spacing, row-major direction and origin of `image`; without an affine its scale at the origin.

    Raises
    ------
    WriteError
        If its axes are not at right angles.
    """
    matrix, origin = file_matrix(image)
    spacing, direction = decompose(matrix, "the filter")
    return spacing, direction, origin.tolist()


def to_itk(image: Image) -> Any:
    """Turn an `Image` (``YX``, ``ZYX``) into a SimpleITK image on the same grid, channels as components, dtype kept.

    A shear stays in the direction, which resampling understands; filters that need right angles ask `geometry_of`.
    """
    import SimpleITK as sitk  # noqa: N813

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    data = np.asarray(image.data)
    if data.dtype == np.bool_:
        data = data.astype(np.uint8)
    elif data.dtype == np.float16:
        data = data.astype(np.float32)
    if vector := "C" in image.axes:
        data = np.moveaxis(data, image.axes.index("C"), -1)
    itk = sitk.GetImageFromArray(np.ascontiguousarray(data), isVector=vector)
    matrix, origin = file_matrix(image)
    spacing = np.linalg.norm(matrix, axis=0)
    itk.SetSpacing(spacing.tolist())
    itk.SetDirection((matrix / spacing).ravel().tolist())
    itk.SetOrigin(origin.tolist())
    return itk


def from_itk(itk: Any, **fields: Any) -> Image:
    """Turn a SimpleITK image into an `Image` in mm: ``YX``, ``ZYX``; vector components in front as ``C``."""
    import SimpleITK as sitk  # noqa: N813

    data = sitk.GetArrayFromImage(itk)
    n = itk.GetDimension()
    if data.dtype.kind not in "buif" or n > 3:
        raise DataError(f"{fields.get('name', 'The image')} holds {data.dtype} values in {n} axes. Give a volume.")
    axes = "ZYX"[-n:]
    if data.ndim > n:
        data, axes = np.moveaxis(data, -1, 0), "C" + axes
    return Image(data, axes, itk.GetSpacing()[::-1], (MILLIMETER,) * n, affine_of(itk), **fields)
