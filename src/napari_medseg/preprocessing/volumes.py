"""Prepare MR volumes: orientation, N4 bias correction, resampling, brain crop, z-score; and the way back.

The grid that a step makes is described by its affine alone, so `restore` needs nothing but the original image.
"""

from __future__ import annotations

from itertools import product
from typing import Any, Literal

import numpy as np
from pydantic import Field
from scipy import ndimage

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io.grids import same_grid
from napari_medseg.io.volumes.space import MILLIMETER, SHEAR_TOLERANCE, compose, file_matrix, mm_per, skew_of
from napari_medseg.preprocessing.resampling import resampled
from napari_medseg.settings import Settings

BACKGROUND_SHARE = 0.05
SIXTHS, MIDDLE = 6.0, 0.5


class MriSettings(Settings):
    """Steps of `preprocess`, in the order in which they are done; the defaults suit skull-stripped volumes."""

    orient: Literal["keep", "RAS", "LPS"] = Field(
        "keep", title="Orientation", description="Flip and permute the axes to this anatomical orientation"
    )
    n4: bool = Field(False, title="N4 bias correction", description="Remove the smooth bias field inside the brain")
    n4_shrink: int = Field(4, ge=1, le=16, title="N4 shrink", description="Estimate on a grid this much coarser")
    n4_iterations: int = Field(
        50, ge=1, le=500, title="N4 iterations", description="Iterations on each of the 4 levels"
    )
    resample: float = Field(
        0.0, ge=0, le=20, title="Resample (mm)", description="Isotropic voxel size; 0 keeps the voxels",
        json_schema_extra={"step": 0.1},
    )  # fmt: skip
    crop: bool = Field(True, title="Crop to brain", description="Cut to the box of the brain")
    crop_margin: int = Field(4, ge=0, le=100, title="Crop margin", description="Voxels kept around the brain's box")
    zscore: bool = Field(True, title="Z-score", description="Mean 0 and SD 1 inside the brain, 0 outside")
    clip_low: float = Field(
        0.5, ge=0, lt=50, title="Clip below (%)", description="Percentile to which darker voxels are raised",
        json_schema_extra={"step": 0.1},
    )  # fmt: skip
    clip_high: float = Field(
        99.5, gt=50, le=100, title="Clip above (%)", description="Percentile to which brighter voxels are lowered",
        json_schema_extra={"step": 0.1},
    )  # fmt: skip


def preprocess(image: Image, settings: MriSettings | None = None) -> Image:
    """Return `image` (``ZYX``, ``YX``, with or without ``C``) prepared; float32, affine and scale of the new grid.

    Voxels that are not finite count as background.

    Raises
    ------
    DataError
        If the image has a time axis, or orientation is asked for a 2D image.
    """
    settings = settings or MriSettings()
    _check(image, settings)
    image = image.replace(data=_finite(np.asarray(image.data)))
    if settings.n4:
        image = _each_channel(image, lambda channel: n4(channel, settings.n4_shrink, settings.n4_iterations))
    if settings.orient != "keep":
        image = _through_itk(image, lambda itk: _orient(itk, settings.orient))
    if settings.resample:
        image = resample(image, settings.resample)
    mask = brain_mask(image) if settings.crop or settings.zscore else None
    if settings.zscore and mask is not None:
        image = _each_channel(image, lambda c: zscore(c, mask, settings.clip_low, settings.clip_high))
    return crop(image, mask, settings.crop_margin) if settings.crop and mask is not None else image


def restore(result: Image, original: Image) -> Image:
    """Bring labels (nearest) or probabilities (linear) of a prepared image back onto `original`'s grid.

    Outside the prepared box the result is 0. dtype is kept.
    """
    if result.kind == "labels" and same_grid(result, original):
        return original.labels_like(np.asarray(result.data), result.name)
    import SimpleITK as sitk  # noqa: N813

    reference = to_itk(original.labels_like(np.zeros(original.spatial_shape, np.uint8)))
    method = sitk.sitkNearestNeighbor if result.kind == "labels" else sitk.sitkLinear
    back = sitk.Resample(to_itk(result), reference, sitk.Transform(), method, 0.0)
    data = from_itk(back).data
    if result.kind == "labels":
        return original.labels_like(data, result.name)
    axes = ("C" if "C" in result.axes else "") + original.spatial_axes
    return original.replace(data=data, axes=axes, channels=result.channels, name=result.name)


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


def zscore(channel: Image, mask: np.ndarray, low: float = 0.5, high: float = 99.5) -> np.ndarray:
    """Return (clipped - mean) / SD inside `mask`, 0 outside; mean and SD of the clipped values inside `mask`."""
    data = np.asarray(channel.data, np.float32)
    inside = data[mask]
    if not inside.size:
        return np.zeros_like(data)
    inside = np.clip(inside, *np.percentile(inside, (low, high)))
    out = np.zeros_like(data)
    out[mask] = (inside - inside.mean()) / max(float(inside.std()), 1e-6)
    return out


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


def _check(image: Image, settings: MriSettings) -> None:
    if "T" in image.axes:
        raise DataError(f"{image.name or 'The image'} has a time axis ({image.axes}). Choose one time point.")
    if settings.orient != "keep" and image.spatial_axes != "ZYX":
        raise DataError(f"Orientation {settings.orient} needs a 3D image; {image.describe()}. Set orientation to keep.")


def _finite(data: np.ndarray) -> np.ndarray:
    """Return float32 data with voxels that are not finite set to the smallest finite value."""
    data = data.astype(np.float32)
    finite = np.isfinite(data)
    if not finite.all():
        data[~finite] = data[finite].min() if finite.any() else 0.0
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
