"""Where the voxels of a volume lie: the one place in which the conventions of file formats meet.

Files count axes x, y, z (fastest first); `Image` counts them slowest first. The world is LPS (left, posterior,
superior: DICOM's, ITK's and MetaImage's) with its axes in the array's order, so a world point of a volume is (S, P, L)
and the affine of a volume along the axes, with its first voxel at the origin, is ``diag(dz, dy, dx, 1)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_medseg.errors import DataError, WriteError
from napari_medseg.image import PIXEL, SECOND, Image, mm_per
from napari_medseg.io.geometry import framed, of_axes

MILLIMETER, MICROMETER = "millimeter", "micrometer"
RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
SHEAR_TOLERANCE = 1e-3  # radians off a right angle that formats without shear may carry: a matrix of 3 decimals
ROUNDING_SKEW = 1e-4  # below it even float32 matrices differ from right angles
MAX_CHANNELS = 16  # of an axis that states no time step; more are taken for time points


def length_unit(millimetres: float) -> tuple[str, float]:
    """Return the unit to use for a length of so many mm, millimetres or micrometres, and how many of them it is."""
    return (MICROMETER, millimetres * 1e3) if millimetres <= 1e-3 else (MILLIMETER, millimetres)


def compose(spacing: Any, direction: Any, origin: Any) -> np.ndarray:
    """Build the affine from spacing, row-major direction cosines and origin in x, y, z order."""
    n = len(spacing)
    return array_affine(np.reshape(direction, (n, n)) * np.asarray(spacing, float), origin)


def array_affine(matrix: Any, origin: Any) -> np.ndarray:
    """Return the (n+1, n+1) affine of an array from the steps of its axes.

    Parameters
    ----------
    matrix
        (n, n): column k is the step along file axis k (x, y, z) in the world (x, y, z).
    origin
        (n,) place of the first voxel in the world (x, y, z).
    """
    n = len(matrix)
    affine = np.eye(n + 1)
    affine[:n, :n] = np.asarray(matrix, float)[::-1, ::-1]
    affine[:n, n] = np.asarray(origin, float)[::-1]
    return affine


def file_matrix(image: Image) -> tuple[np.ndarray, np.ndarray]:
    """Return `array_affine`'s (matrix, origin) of an image's axes of space; without an affine its scale at the origin.

    A picture (``YX``) gives (2, 2) and (2,).
    """
    affine = image.affine if image.affine is not None else np.diag([*image.scale, 1.0])
    skipped = int(image.spatial_axes.startswith("T"))
    affine = np.asarray(affine, float)[skipped:, skipped:]
    return affine[:-1, :-1][::-1, ::-1], affine[:-1, -1][::-1]


def skew_of(matrix: np.ndarray) -> float:
    """Return how far (radians) the columns of a matrix are from right angles at most."""
    unit = matrix / np.linalg.norm(matrix, axis=0)
    return float(np.abs(unit.T @ unit - np.eye(len(unit))).max())


def decompose(matrix: np.ndarray, what: str = "this format") -> tuple[list[float], list[float]]:
    """Split `file_matrix`'s matrix into spacing and row-major direction cosines.

    Raises
    ------
    WriteError
        If its axes are not at right angles.
    """
    if skew_of(matrix) > SHEAR_TOLERANCE:
        raise WriteError(
            f"The image's affine shears (its axes are not at right angles), which {what} cannot hold. "
            "Write it as .nii.gz or .nrrd, or resample it onto a rectangular grid first."
        )
    spacing = np.linalg.norm(matrix, axis=0)
    return spacing.tolist(), (matrix / spacing).ravel().tolist()


def placed(
    data: np.ndarray, axes: str, affine: np.ndarray | None, steps: Sequence[float], unit: str, **fields: Any
) -> Image:
    """Return an image whose axes of space have `affine` (n+1, n+1), or only `steps` (slowest first) if it is ``None``.

    A time axis in front (``T``) gets the step 1 without a unit, to be set by `timed`. A skew is noted.
    """
    space = axes.replace("C", "").replace("T", "")
    scale = tuple(np.linalg.norm(affine[:-1, :-1], axis=0)) if affine is not None else tuple(map(float, steps))
    notes = list(fields.get("metadata", {}).get("notes", []))
    if affine is not None and (skew := skew_of(affine[:-1, :-1])) > ROUNDING_SKEW:
        notes.append(_said_skew(skew))
    fields["metadata"] = {**fields.get("metadata", {}), **({"notes": notes} if notes else {})}
    units = (unit,) * len(space)
    if "T" in axes:
        scale, units = (1.0, *scale), (PIXEL, *units)
        affine = None if affine is None else _with_time(affine)
    return Image(data, axes, scale, units, affine, **fields)


def timed(image: Image, seconds: float) -> Image:
    """Return `image` with a time step; a step of 0 is not known."""
    if not (np.isfinite(seconds) and seconds > 0):
        return image
    affine = None if image.affine is None else np.array(image.affine, float)
    if affine is not None:
        affine[0, 0] = seconds
    return image.replace(scale=(seconds, *image.scale[1:]), units=(SECOND, *image.units[1:]), affine=affine)


def at_time(image: Image, time: int) -> Image:
    """Return one time point of an image, counted from 0, with a note which one it is.

    Raises
    ------
    DataError
        If it has no time axis, or no such time point.
    """
    if "T" not in image.axes:
        raise DataError(f"{image.name or 'The image'} has no time points ({image.describe()}). Leave out --time.")
    axis, count = image.axes.index("T"), image.spatial_shape[image.spatial_axes.index("T")]
    if not 0 <= time < count:
        raise DataError(f"{image.name or 'The image'} has the time points 0 to {count - 1}, not {time}. Give another.")
    k = image.spatial_axes.index("T")
    kept = [i for i in range(len(image.scale)) if i != k]
    note = f"Time point {time} (counted from 0) of {count}."
    return image.replace(
        data=image.data[(slice(None),) * axis + (time,)],
        axes=image.axes.replace("T", ""),
        scale=tuple(image.scale[i] for i in kept),
        units=tuple(image.units[i] for i in kept),
        affine=None if image.affine is None else of_axes(image.affine, kept),
        metadata={**framed(image, kept), "notes": [*image.metadata.get("notes", ()), note]},
    )


def without_size(image: Image, note: str) -> Image:
    """Mark an image whose file does not state the size of its voxels: steps of 1 pixel, no place, and a note."""
    time = int(image.spatial_axes.startswith("T"))
    n = len(image.spatial_axes) - time
    scale, units = (*image.scale[:time], *(1.0,) * n), (*image.units[:time], *(PIXEL,) * n)
    return with_note(image.replace(scale=scale, units=units, affine=None), note)


def with_note(image: Image, *notes: str) -> Image:
    """Return `image` with more sentences for the user in ``metadata["notes"]``."""
    known = [*image.metadata.get("notes", []), *notes]
    return image.replace(metadata={**image.metadata, "notes": known}) if notes else image


def in_unit(image: Image, unit: str, what: str) -> Image:
    """Return `image` with its steps in millimetres or micrometres, whatever their unit of length.

    Raises
    ------
    WriteError
        If an axis of space has no unit of length.
    """
    time = int(image.spatial_axes.startswith("T"))
    sizes = {mm_per(u) for u in image.units[time:]}
    if None in sizes or len(sizes) != 1:
        raise WriteError(
            f"{what} holds {unit}s, and {image.name!r} has the units {', '.join(image.units)}. "
            "Give all axes of space one unit of length, or write it as .tif."
        )
    factor = (sizes.pop() or 1.0) / (mm_per(unit) or 1.0)
    scale = (*image.scale[:time], *(s * factor for s in image.scale[time:]))
    affine = None if image.affine is None else np.array(image.affine, float)
    if affine is not None:
        affine[time:-1] *= factor
    units = (*image.units[:time], *(unit,) * (len(scale) - time))
    return image.replace(scale=scale, units=units, affine=affine)


def measured(image: Image) -> bool:
    """Whether the axes of space have a unit."""
    return PIXEL not in image.units[int(image.spatial_axes.startswith("T")) :]


def extra_axis(n: int, step: float) -> str:
    """Return what a fourth axis of `n` volumes is: time if it states a step besides 0 and 1 or is long, or channels."""
    return "T" if (step not in (0.0, 1.0) and np.isfinite(step)) or n > MAX_CHANNELS else "C"


def _with_time(affine: np.ndarray) -> np.ndarray:
    whole = np.eye(len(affine) + 1)
    whole[1:, 1:] = affine
    return whole


def _said_skew(skew: float) -> str:
    if skew <= SHEAR_TOLERANCE:
        return f"The axes are {skew:.2g} rad off right angles, as rounded matrices are; they are kept as stated."
    return (
        f"The axes are {np.degrees(np.arcsin(min(skew, 1.0))):.1f} degrees off right angles (a sheared grid); "
        "distances are measured along the axes, volumes with the shear."
    )
