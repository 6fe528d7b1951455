"""Corrections of volumes: N4 bias correction, orientation, resampling, crop to the brain.

The grid that a step makes is described by its affine alone, so labels find their way back by their positions.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from scipy import ndimage

from napari_medseg.errors import DataError
from napari_medseg.image import Image, mm_per
from napari_medseg.io.volumes.space import MILLIMETER, SHEAR_TOLERANCE, compose, file_matrix, skew_of
from napari_medseg.preprocessing.resampling import resampled
from napari_medseg.preprocessing.settings import VolumeSettings

BACKGROUND_SHARE = 0.05
SIXTHS, MIDDLE = 6.0, 0.5


def preprocess(image: Image, settings: VolumeSettings) -> Image:
    """Return `image` (``ZYX``, ``YX``, with or without ``C``) corrected; float32, affine and scale of the new grid.

    Voxels that were not measured (`Image.measured`) count as background.

    Raises
    ------
    DataError
        If the image has a time axis, or orientation is asked for a 2D image.
    """
    _check(image, settings)
    image = image.replace(data=_filled(image))
    if settings.n4:
        image = _each_channel(image, lambda channel: n4(channel, settings.n4_shrink, settings.n4_iterations))
    if settings.orient != "keep":
        image = _through_itk(image, lambda itk: _orient(itk, settings.orient))
    if settings.resample:
        image = resample(image, settings.resample)
    return crop(image, brain_mask(image), settings.crop_margin) if settings.crop else image


def brain_mask(image: Image) -> np.ndarray:
    """Return the brain (bool, *spatial): what differs from a constant background, else the largest Otsu object.

    The background is constant when most corners hold one value that fills at least 5 % of the first channel
    (a skull-stripped volume, normalised or not); otherwise Otsu's threshold separates air from head.
    """
    data = np.asarray(image.channels_first()[0])
    corners = [data[index] for index in product(*((0, -1),) * data.ndim)]
    values, counts = np.unique(corners, return_counts=True)
    background = values[counts.argmax()]
    outside = data == background
    if counts.max() > len(corners) / 2 and BACKGROUND_SHARE <= outside.mean() < 1:
        return np.asarray(~outside)
    return _otsu_head(data)


def n4(channel: Image, shrink: int = 4, iterations: int = 50) -> np.ndarray:
    """Divide a volume (*spatial) by its bias field, estimated by N4 in the head on a `shrink` times coarser grid."""
    import SimpleITK as sitk  # noqa: N813

    itk = sitk.Cast(to_itk(channel), sitk.sitkFloat32)
    mask = sitk.GetImageFromArray(brain_mask(channel).astype(np.uint8))
    mask.CopyInformation(itk)
    factors = [min(shrink, max(1, n // 8)) for n in itk.GetSize()]
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations([iterations] * 4)
    corrector.Execute(sitk.Shrink(itk, factors), sitk.Shrink(mask, factors))
    field = sitk.Exp(corrector.GetLogBiasFieldAsImage(itk))
    data: np.ndarray = sitk.GetArrayFromImage(itk) / np.maximum(sitk.GetArrayFromImage(field), 1e-6)
    return data.astype(np.float32)


def resample(image: Image, step: float) -> Image:
    """Return `image` with isotropic voxels of `step` mm, as `resampled` makes them.

    Raises
    ------
    DataError
        If its axes are not at right angles.
    """
    check_right_angles(image)
    return resampled(image, (step / (mm_per(image.units[-1]) or 1.0),) * len(image.scale))


def crop(image: Image, mask: np.ndarray, margin: int) -> Image:
    """Cut `image` to the box of `mask` and `margin` voxels around it; the affine moves along."""
    if not mask.any():
        return image
    found = ndimage.find_objects(mask.view(np.uint8))[0]
    box = tuple(
        slice(max(0, s.start - margin), min(n, s.stop + margin)) for s, n in zip(found, mask.shape, strict=True)
    )
    affine = np.array(image.affine if image.affine is not None else np.diag([*image.scale, 1.0]), float)
    affine[:-1, -1] += affine[:-1, :-1] @ [s.start for s in box]
    data = image.channels_first()[(slice(None), *box)]
    return _with_channels_first(image, data, affine=affine)


def unit_range(data: np.ndarray) -> np.ndarray:
    """Map z-scores to [0, 1] as clip(z, -3, 3) / 6 + 0.5, the range that geodesic distances expect."""
    return np.asarray(np.clip(data, -3, 3) / SIXTHS + MIDDLE, np.float32)


def _otsu_head(data: np.ndarray) -> np.ndarray:
    from skimage.filters import threshold_otsu

    if data.min() == data.max():
        return np.ones(data.shape, bool)
    head = data > threshold_otsu(data)
    pieces, count = ndimage.label(head)
    if count > 1:
        head = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
    return np.asarray(ndimage.binary_fill_holes(head), dtype=bool)


def _check(image: Image, settings: VolumeSettings) -> None:
    if "T" in image.axes:
        raise DataError(f"{image.name or 'The image'} has a time axis ({image.axes}). Choose one time point.")
    if settings.orient != "keep" and image.spatial_axes != "ZYX":
        raise DataError(f"Orientation {settings.orient} needs a 3D image; {image.describe()}. Set orientation to keep.")


def _filled(image: Image) -> np.ndarray:
    """Return float32 values with voxels that were not measured set to the smallest measured value."""
    measured = image.measured(np.asarray(image.data))
    data = np.asarray(image.data).astype(np.float32)
    if not measured.all():
        data[~measured] = data[measured].min() if measured.any() else 0.0
    return data


def _orient(itk: Any, orientation: str) -> Any:
    import SimpleITK as sitk  # noqa: N813

    return sitk.DICOMOrient(itk, orientation)


def _each_channel(image: Image, change: Any) -> Image:
    channels = [image.replace(data=c, axes=image.spatial_axes) for c in image.channels_first()]
    return _with_channels_first(image, np.stack([change(c) for c in channels]))


def _with_channels_first(image: Image, data: np.ndarray, **changes: Any) -> Image:
    if "C" not in image.axes:
        return image.replace(data=data[0], **changes)
    return image.replace(data=data, axes="C" + image.spatial_axes, **changes)


def _through_itk(image: Image, change: Any) -> Image:
    check_right_angles(image)
    itk = change(to_itk(image))
    done = from_itk(itk)
    return image.replace(data=done.data, axes=done.axes, scale=done.scale, affine=done.affine)


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
