"""SimpleITK images to and from `Image`: geometry is converted here and nowhere else.

SimpleITK counts axes x, y, z; `Image` counts them slowest first. The world is ITK's (LPS: left, posterior,
superior) with its axes in the array's order, so a world point of a volume is (S, P, L) in mm and the affine of an
axis-aligned volume at the origin is ``diag(dz, dy, dx, 1)``.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError, WriteError
from napari_medseg.image import PIXEL, Image

MILLIMETER = "millimeter"
SHEAR_TOLERANCE = 1e-3
LARGE_BYTES = 2**27
MAX_RATIO = 1100  # no deflated file is smaller than 1/1032 of its content


def check_size(path: Path, reader: Any, n_files: int = 1) -> None:
    """Refuse a header that declares far more voxels than the file can hold, before memory is reserved for them.

    Parameters
    ----------
    path
        The file, or one of `n_files` like it.
    reader
        A SimpleITK ``ImageFileReader`` that has read the file's information.
    n_files
        How many files the volume is made of.

    Raises
    ------
    ReadError
        If it does.
    """
    import SimpleITK as sitk  # noqa: N813

    bits = re.search(r"(\d+)-bit", sitk.GetPixelIDValueAsString(reader.GetPixelIDValue()))
    size = math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * int(bits[1] if bits else 8) // 8
    held = path.stat().st_size
    if size * n_files > LARGE_BYTES and size > MAX_RATIO * held:
        raise ReadError(
            f"{path.name} declares {'x'.join(map(str, reader.GetSize()))} voxels ({size / 2**30:.2g} GiB) in a file of "
            f"{held} bytes. It is damaged or cut short; copy it again."
        )


def affine_of(itk: Any) -> np.ndarray:
    """Return the (n+1, n+1) affine from index (slowest axis first) to world (same axis order) of a SimpleITK image."""
    return compose(itk.GetSpacing(), itk.GetDirection(), itk.GetOrigin())


def compose(spacing: Any, direction: Any, origin: Any) -> np.ndarray:
    """Build the affine from spacing, row-major direction cosines and origin in x, y, z order."""
    n = len(spacing)
    affine = np.eye(n + 1)
    matrix = np.reshape(direction, (n, n)) * np.asarray(spacing, float)
    affine[:n, :n] = matrix[::-1, ::-1]
    affine[:n, n] = np.asarray(origin, float)[::-1]
    return affine


def decompose(affine: np.ndarray) -> tuple[list[float], list[float], list[float]]:
    """Split an affine into SimpleITK's spacing, direction (row-major) and origin, in x, y, z order.

    Raises
    ------
    WriteError
        If the affine shears, which NIfTI, NRRD and MetaImage readers built on ITK cannot hold.
    """
    n = len(affine) - 1
    matrix = np.asarray(affine, float)[:n, :n][::-1, ::-1]
    spacing = np.linalg.norm(matrix, axis=0)
    direction = matrix / spacing
    if not np.allclose(direction.T @ direction, np.eye(n), atol=SHEAR_TOLERANCE):
        raise WriteError(
            "The image's affine shears (its axes are not at right angles), which this format cannot hold. "
            "Resample the image onto a rectangular grid first."
        )
    return spacing.tolist(), direction.ravel().tolist(), np.asarray(affine, float)[:n, n][::-1].tolist()


def geometry_of(image: Image) -> tuple[list[float], list[float], list[float]]:
    """Return SimpleITK's spacing, direction and origin of `image`; without an affine its scale at the origin."""
    affine = image.affine if image.affine is not None else np.diag([*image.scale, 1.0])
    return decompose(affine)


def to_itk(image: Image) -> Any:
    """Turn an `Image` into a SimpleITK image on the same grid, channels as vector components, dtype kept."""
    import SimpleITK as sitk  # noqa: N813

    data = np.asarray(image.data)
    if data.dtype == np.bool_:
        data = data.astype(np.uint8)
    elif data.dtype == np.float16:
        data = data.astype(np.float32)
    if vector := "C" in image.axes:
        data = np.moveaxis(data, image.axes.index("C"), -1)
    itk = sitk.GetImageFromArray(np.ascontiguousarray(data), isVector=vector)
    spacing, direction, origin = geometry_of(image)
    itk.SetSpacing(spacing)
    itk.SetDirection(direction)
    itk.SetOrigin(origin)
    return itk


def from_itk(itk: Any, **fields: Any) -> Image:
    """Turn a SimpleITK image into an `Image` in mm: ``YX``, ``ZYX``, ``TZYX``; vector components in front as ``C``."""
    import SimpleITK as sitk  # noqa: N813

    data = sitk.GetArrayFromImage(itk)
    n = itk.GetDimension()
    if data.dtype.kind not in "buif":
        raise ReadError(f"{fields.get('name', 'The file')} holds {data.dtype} values. Give real intensities or labels.")
    axes = "TZYX"[-n:]
    if data.ndim > n:
        data, axes = np.moveaxis(data, -1, 0), "C" + axes
    units = ("second",) * (n == 4) + (MILLIMETER,) * min(n, 3)
    return Image(data, axes, itk.GetSpacing()[::-1], units, affine_of(itk), **fields)


def without_size(image: Image, note: str) -> Image:
    """Mark an image whose file does not state the voxel size (its steps are 1): units of pixels, and a note."""
    return with_note(image.replace(units=(PIXEL,) * len(image.spatial_axes)), note)


def with_note(image: Image, note: str) -> Image:
    """Return `image` with one more sentence for the user in ``metadata["notes"]``."""
    return image.replace(metadata={**image.metadata, "notes": [*image.metadata.get("notes", []), note]})
