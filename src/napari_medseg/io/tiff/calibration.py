"""What ImageJ files state of their values: a straight line from the stored numbers, and a unit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_medseg.errors import printable
from napari_medseg.image import CALIBRATION, ESCAPED, Image
from napari_medseg.io.afm.scan import nm_per, normal_unit
from napari_medseg.io.volumes.stored import rescaled

STRAIGHT_LINE, NONE = 0, 20  # ImageJ's calibration functions (cf)
SIGNED = (-32768.0, 1.0)  # how ImageJ keeps signed numbers of 16 bits in unsigned ones
NO_UNITS = ("gray value", "inverted gray value", "grey value", "none", "unit", "pixel value")
ROUNDING = 0.01  # of a stored number: 16 bits and a line in single precision


@dataclass(frozen=True)
class Calibration:
    """What an ImageJ file states of its values: ``offset + slope * number`` in `unit`.

    Parameters
    ----------
    line
        Offset and slope.
    unit
        Unit of the values, may be empty.
    notes
        Sentences for the user, where the numbers are kept although the file states another function.
    """

    line: tuple[float, float] = (0.0, 1.0)
    unit: str = ""
    notes: tuple[str, ...] = ()

    def values(self, numbers: Any) -> Any:
        """Return the values of numbers: whole ones if all that can occur are, else float32; of mapped ones lazily."""
        offset, slope = self.line
        if self.line == (0.0, 1.0):
            return numbers
        if not isinstance(numbers, np.memmap):
            return rescaled(numbers, slope, offset)
        import dask.array as da

        planes = da.from_array(numbers, (*(1,) * (numbers.ndim - 2), *numbers.shape[-2:]))
        dtype = self.dtype(numbers.dtype)
        return planes.map_blocks(lambda block: rescaled(np.asarray(block), slope, offset), dtype=dtype)

    def dtype(self, stored: np.dtype) -> np.dtype:
        """Return the type of the values of numbers of a type."""
        return np.asarray(self.values(np.zeros(1, stored))).dtype

    @property
    def reverses(self) -> bool:
        """Whether larger numbers are smaller values."""
        return self.line[1] < 0


def calibration_of(tiff: Any, page: Any) -> Calibration:
    """Return what an ImageJ file states of the values of a page's numbers, as ImageJ takes it.

    Numbers of 8 and 16 bits have a function, others their unit alone, colours neither; lengths become nanometres, as
    those of scans. Where the function is no straight line the numbers are kept, without a unit, and a note says so.
    """
    stated = tiff.imagej_metadata or {}
    if page.samplesperpixel > 1 or page.dtype is None or tiff.is_ome:
        return Calibration()
    said, unit, factor = _value_unit(stated.get("vunit", ""))
    if page.dtype not in (np.uint8, np.uint16, np.int16):
        return Calibration((0.0, factor), unit)
    function = stated.get("cf", STRAIGHT_LINE if "c0" in stated else NONE)
    if function == NONE:
        return Calibration()
    try:
        offset, slope = float(stated["c0"]), float(stated["c1"])
    except (KeyError, TypeError, ValueError):
        offset, slope = math.nan, math.nan
    why = ""
    if function != STRAIGHT_LINE:
        why = f"is no straight line (ImageJ's function {function if isinstance(function, int) else 'unknown'})"
    elif not (math.isfinite(offset) and math.isfinite(slope)) or slope == 0:
        why = "lacks the offset or slope of its straight line (c0, c1)"
    elif stated.get("zeroclip", False):
        why = "is no straight line (ImageJ's zeroclip sets negative values to 0)"
    if why:
        what = f"The calibration in {said}" if said else "The calibration of its values"
        return Calibration(notes=(f"{what} that the file states {why}: the numbers are kept as stored.",))
    if page.dtype == np.int16:  # ImageJ counts from the lowest number
        offset -= SIGNED[0] * slope
    return Calibration((offset * factor, slope * factor), unit)


def _value_unit(stated: object) -> tuple[str, str, float]:
    """Return a unit of values as stated (empty for ImageJ's default), as used (lengths in nm), and that in this."""
    text = ESCAPED.sub(lambda found: chr(int(found[1], 16)), str(stated))
    unit = normal_unit(printable(text))
    if unit.lower() in NO_UNITS:
        return "", "", 1.0
    factor = nm_per(unit)
    return (unit, unit, 1.0) if factor is None else (unit, "nm", factor)


def as_stored_numbers(image: Image) -> Image:
    """Return an image as the numbers that its file stores, which labels are whatever the file says of its values.

    Numbers that ImageJ keeps as signed ones of 16 bits are their values, unless some of these are negative.
    """
    offset, slope = image.metadata.get(CALIBRATION, (0.0, 1.0))
    signed = (offset, slope) == SIGNED and image.data.min(initial=0) >= 0
    if image.kind == "labels" or (offset, slope) == (0.0, 1.0) or signed:
        return image
    known = {name: value for name, value in image.metadata.items() if name != CALIBRATION}
    numbers = (image.data.astype(np.float64) - offset) / slope
    whole = np.rint(numbers)
    if np.abs(numbers - whole).max(initial=0) <= ROUNDING:  # not where floating numbers hold fractions, or none
        numbers = whole.astype(np.int64)
    return image.replace(data=numbers, value_unit="", metadata=known)
