"""SimpleITK images to and from `Image`, for its filters; files are read and written without it.

The world is ITK's (LPS) with its axes in the array's order, as `napari_medseg.io.volumes.space` says.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io.volumes.space import MILLIMETER, SHEAR_TOLERANCE, compose, file_matrix, skew_of

__all__ = ["affine_of", "check_right_angles", "from_itk", "to_itk"]


def affine_of(itk: Any) -> np.ndarray:
    """Return the (n+1, n+1) affine from index (slowest axis first) to world (same axis order) of a SimpleITK image."""
    return compose(itk.GetSpacing(), itk.GetDirection(), itk.GetOrigin())


def check_right_angles(image: Image) -> None:
    """Refuse a sheared grid, which some filters do not understand.

    Raises
    ------
    DataError
        If the axes of `image` are not at right angles.
    """
    if skew_of(file_matrix(image)[0]) > SHEAR_TOLERANCE:
        raise DataError(
            f"The axes of {image.name or 'the image'} are not at right angles (a sheared grid), which turning and "
            "resampling need. Set orientation to keep and resampling to 0, or resample it to a straight grid first."
        )


def to_itk(image: Image) -> Any:
    """Turn an `Image` (``YX``, ``ZYX``) into a SimpleITK image on the same grid, channels as components, dtype kept.

    A shear stays in the direction, which resampling understands; for other filters see `check_right_angles`.
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
