"""Siemens mosaics: one sheet with all slices of a volume side by side (their number and normal are in private tags)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError

NUMBER_OF_IMAGES = (0x0019, 0x100A)
IN_GRID, GRID_MAKER = (0x0065, 0x1050), "UIH"  # sheets of United Imaging


@dataclass(frozen=True)
class Sheet:
    """The tiles of a mosaic: their `size` (rows, columns), `orientation` (6,) and `positions` (3,) in mm."""

    size: tuple[int, int]
    orientation: np.ndarray
    positions: list[np.ndarray]


def refuse_grid(path: Path, data: Any) -> None:
    """Raise `ReadError` for a sheet of United Imaging, whose tiles would pass for one large slice."""
    made_there = str(data.get("Manufacturer", "") or "").upper().startswith(GRID_MAKER)
    if made_there and _number(data, IN_GRID) > 1:
        raise ReadError(
            f"{path.name} is a grid of United Imaging (all slices of a volume on one sheet), not unfolded here. "
            "Convert it with dcm2niix and open the .nii.gz."
        )


def layout(path: Path, data: Any) -> Sheet:
    """Return where the tiles of a mosaic lie in the patient.

    The file's position is that of a slice as large as the sheet, so it is moved by half the difference in size.

    Raises
    ------
    ReadError
        If the private header that says so is missing (anonymised).
    """
    from nibabel.nicom import csareader

    try:
        csa = csareader.get_csa_header(data, "image")
    except Exception:  # a private header of another kind
        csa = None
    count = (csareader.get_n_mosaic(csa) if csa else None) or _number(data)
    normal = csareader.get_slice_normal(csa) if csa else None
    spacing = data.get("SpacingBetweenSlices") or data.get("SliceThickness")
    if not count or normal is None or not spacing or "ImagePositionPatient" not in data:
        raise ReadError(
            f"{path.name} is a Siemens mosaic (all slices of a volume on one sheet) without the private header that "
            "says how to unfold it. Convert it with the header kept (for example by dcm2niix before anonymising)."
        )
    edge = math.ceil(math.sqrt(count))
    sheet = np.array([int(data.Rows), int(data.Columns)])
    tile = sheet // edge
    turned = np.array([float(v) for v in data.ImageOrientationPatient])
    steps = np.array([float(v) for v in data.PixelSpacing])
    moved = (sheet - tile) / 2 * steps
    first = np.array([float(v) for v in data.ImagePositionPatient]) + turned[:3] * moved[1] + turned[3:] * moved[0]
    positions = [first + k * float(spacing) * np.asarray(normal, float) for k in range(count)]
    return Sheet((int(tile[0]), int(tile[1])), turned, positions)


def tiles(sheet: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut a sheet (rows, columns) into its tiles (n, *size), row by row."""
    down, across = sheet.shape[0] // size[0], sheet.shape[1] // size[1]
    cut = sheet[: down * size[0], : across * size[1]].reshape(down, size[0], across, size[1])
    return cut.swapaxes(1, 2).reshape(-1, *size)


def _number(data: Any, tag: tuple[int, int] = NUMBER_OF_IMAGES) -> int:
    try:
        value = data[tag].value
        return int(value.decode("ascii", "replace").strip("\0 ") if isinstance(value, bytes) else value)
    except (KeyError, TypeError, ValueError):
        return 0
