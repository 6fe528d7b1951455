"""What TIFF files state beside their numbers (OME, ImageJ, resolution tags).

Axes, pixel sizes, time steps, calibration of the values.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError, printable, some_of
from napari_medseg.image import CALIBRATION, ESCAPED, PIXEL, Image, seconds_per, um_per
from napari_medseg.io.afm.scan import nm_per, normal_unit
from napari_medseg.io.pictures import (
    ON_ITS_SIDE,
    ORIENTATION,
    TURNED,
    TURNS,
    UPRIGHT,
    upright,
)
from napari_medseg.io.tiff_ome import Place, Steps, image_numbers, number_of, ome_image, ome_place, ome_steps, signed_of
from napari_medseg.io.tiff_pages import main_page, main_series
from napari_medseg.io.volumes.stored import rescaled

SUFFIXES = (".tif", ".tiff")
INCH, CENTIMETRE = 2, 3  # values of the tag ResolutionUnit
PRINTED = (1.0, 2.54, 72.0, 96.0, 100.0, 150.0, 200.0, 300.0, 600.0)  # per inch: what programs write knowing nothing
FLAT = "The file states the size of pixels but not the distance of planes; volumes are in voxels."
SQUARE = "The file states the pixel size along one side only; the pixels are taken as square."
STRAIGHT_LINE, NONE = 0, 20  # ImageJ's calibration functions (cf)
SIGNED = (-32768.0, 1.0)  # how ImageJ keeps signed numbers of 16 bits in unsigned ones
NO_UNITS = ("gray value", "inverted gray value", "grey value", "none", "unit", "pixel value")
ROUNDING = 0.01  # of a stored number: 16 bits and a line in single precision


@dataclass(frozen=True)
class Stack:
    """One series of a TIFF.

    Parameters
    ----------
    data
        Numbers, colours last.
    axes
        Letters of the axes as the file states them, ``C`` for colours.
    steps
        What is known of pixel sizes and time steps.
    name
        The name of the series, empty where it has none.
    channels
        Names of the channels.
    notes
        Sentences for the user.
    indices
        Where colours were made of the numbers (palette, opacity) and these may be labels: the numbers.
    value_unit
        Unit of the values, may be empty.
    line
        Offset and slope of the straight line by which the values were made of the file's numbers.
    white
        The highest number that the file states for its colours.
    place
        Where its first pixel lies, of axes that say so.
    turn
        The orientation tag by which it was turned upright.
    """

    data: np.ndarray
    axes: str
    steps: Steps
    name: str = ""
    channels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    indices: np.ndarray | None = field(default=None, repr=False)
    value_unit: str = ""
    line: tuple[float, float] = (0.0, 1.0)
    white: float | None = None
    place: Place = field(default_factory=dict)
    turn: int = UPRIGHT


def orientation_of(page: Any) -> int:
    """Return the orientation tag of a page, 1 (upright) where it states none."""
    found = page.tags[ORIENTATION].value if ORIENTATION in page.tags else UPRIGHT
    return int(found) if found in TURNS else UPRIGHT


def turn_of(file: Any, page: Any) -> int:
    """Return how a page of a file is to be turned; programs that write OME and ImageJ files mean none."""
    return UPRIGHT if file.is_ome or file.is_imagej else orientation_of(page)


def turned_steps(steps: Steps, orientation: int) -> Steps:
    """Return the steps of a picture as its orientation tag is shown."""
    if orientation not in ON_ITS_SIDE:
        return steps
    return {**steps, **{new: steps[old] for new, old in ("XY", "YX") if old in steps}}


def turned(stack: Stack, orientation: int) -> Stack:
    """Return a stack as its orientation tag is shown, with a note; steps go with their axes."""
    y = stack.axes.find("YX")
    if y < 0:
        return stack
    return replace(
        stack,
        data=upright(stack.data, orientation, y),
        steps=turned_steps(stack.steps, orientation),
        place={},
        turn=orientation,
        notes=(*stack.notes, TURNED),
        indices=None if stack.indices is None else upright(stack.indices, orientation, y),
    )


def opened(path: Path) -> Any:
    """Open a TIFF; pictures of one size and type that were written one after the other are the planes of one series."""
    import tifffile

    file = tifffile.TiffFile(path)
    kinds = {(series.shape, series.dtype) for series in file.series}
    if len(kinds) < len(file.series) and file.series[0].kind == "shaped":
        file.close()
        return tifffile.TiffFile(path, is_shaped=False)
    return file


def mapped(series: Any) -> np.ndarray:
    """Map the numbers of a series that lie in one piece (``dataoffset``), maybe in another file of an OME-TIFF."""
    file = series.pages[0].parent
    dtype = np.dtype(file.byteorder + series.dtype.char)
    return np.memmap(file.filehandle.path, dtype, "r", series.dataoffset, series.shape)


def refuse_cut(path: Path, tiff: Any) -> None:
    """Refuse a file whose description counts more values than its directories lead to: its end, or a file, is missing.

    Raises
    ------
    ReadError
        If it was written by ImageJ or by tifffile, whose descriptions count, or is an OME-TIFF, and is cut short, or
        another file of the same OME-TIFF is not beside it.
    """
    series = tiff.series[main_series(tiff)]
    if tiff.is_ome:
        _refuse_gaps(path, tiff)
    held, plane = math.prod(series.shape), math.prod(series.keyframe.shape)
    images = (tiff.imagej_metadata or {}).get("images", 1)
    shaped = [known.get("shape") for known in tiff.shaped_metadata or ()][:1]
    stated = images * plane if isinstance(images, int) else held
    if shaped and isinstance(shaped[0], tuple | list) and not series.keyframe.is_reduced:
        stated = max(stated, math.prod(shaped[0]))
    if stated > held:
        raise ReadError(
            f"{path.name} is cut short: it says that it holds {stated // plane} planes and leads to {held // plane}. "
            "Copy or export it again."
        )


def _refuse_gaps(path: Path, tiff: Any) -> None:
    """Refuse an OME-TIFF that lacks planes, which would be read as black ones."""
    for series in tiff.series:
        planes = [] if series.is_truncated else list(series.pages)
        if not (lost := sum(plane is None for plane in planes)):
            continue
        gone = [file.name for file in _named_files(path, tiff.ome_metadata) if not file.is_file()]
        why = f"{some_of(gone)} is not beside it" if gone else "it is cut short, or the recording was stopped"
        raise ReadError(
            f"{path.name} lacks {lost} of the {len(planes)} planes that it describes: {why}. "
            f"{'Copy all files of the image into one folder' if gone else 'Copy or export it again'}."
        )


def _named_files(path: Path, xml: str) -> list[Path]:
    """Return the files in the folder of `path` that an OME-XML, or a part of one, names for its planes."""
    names = re.findall(r'<(?:\w+:)?UUID\b[^>]*\bFileName\s*=\s*"([^"]+)"', xml or "")
    return [path.with_name(Path(html.unescape(name)).name) for name in dict.fromkeys(names)]


def own_order(path: Path, tiff: Any) -> list[int]:
    """Return the numbers of the series, those with planes in `path` itself first: an OME-TIFF may have many files.

    Of any other TIFF one series is read.
    """
    order = list(range(len(tiff.series))) if tiff.is_ome else [main_series(tiff)]
    if not tiff.is_ome or len(_named_files(path, tiff.ome_metadata)) < 2:
        return order
    parts, numbers = _image_texts(tiff.ome_metadata), image_numbers(tiff)
    return sorted(order, key=lambda k: numbers[k] < len(parts) and path not in _named_files(path, parts[numbers[k]]))


def set_of(path: Path) -> list[Path]:
    """Return the files that hold the image that reading `path` gives first, if it is one file of an OME-TIFF of many.

    Any other file stands alone.
    """
    return next((files for files in _sets_of(path) if path in files), [path])


def read_with(path: Path) -> list[Path]:
    """Return the files that hold any of the images that reading `path` gives, itself first."""
    return list(dict.fromkeys((path, *(file for files in _sets_of(path) for file in files))))


def _sets_of(path: Path) -> list[list[Path]]:
    """Return the files of each image of an OME-TIFF that are there."""
    import tifffile

    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return []
    try:
        with tifffile.TiffFile(path) as file:
            text = file.pages[0].description or ""
    except Exception:  # what is damaged is said when it is read
        return []
    named = (_named_files(path, part) for part in _image_texts(text))
    return [[file for file in files if file.is_file()] for files in named]


def _image_texts(xml: str) -> list[str]:
    """Return the elements Image of an OME-XML."""
    return re.findall(r"<(?:\w+:)?Image\b.*?</(?:\w+:)?Image>", xml, re.DOTALL)


def steps_of(tiff: Any, series: int = 0) -> Steps:
    """Return what a TIFF states of the steps along its axes: OME, else ImageJ, else the resolution tags."""
    if tiff.is_ome:
        return ome_steps(ome_image(tiff, series))
    stated = tiff.imagej_metadata or {}
    tags = main_page(tiff).tags
    counts = _resolution(tags)
    if um_per(stated.get("unit")) == um_per("inch") and any(c > 0 and is_printed(25_400 / c) for c in counts):
        stated = {key: value for key, value in stated.items() if key not in ("unit", "yunit", "zunit")}
    steps: Steps = {}
    for axis, count in zip("XY", counts, strict=True):
        unit = um_per(stated.get("yunit", stated.get("unit")) if axis == "Y" else stated.get("unit"))
        if unit is not None and count > 0:
            steps[axis] = unit / count, "micrometer"
    if "X" not in steps or "Y" not in steps:
        steps = resolution_steps(tags)
    unit = um_per(stated.get("zunit", stated.get("unit")))
    if unit is not None and number_of(stated.get("spacing")) > 0:
        steps["Z"] = number_of(stated["spacing"]) * unit, "micrometer"
    second = seconds_per(stated.get("tunit", "s"))
    if second is not None and number_of(stated.get("finterval")) > 0:
        steps["T"] = number_of(stated["finterval"]) * second, "second"
    return steps


def unknown_time_unit(tiff: Any) -> str:
    """Return the unit of ImageJ's time between frames where it is no known one, else ``""``."""
    stated = tiff.imagej_metadata or {}
    unit = str(stated.get("tunit", "s"))
    return unit if number_of(stated.get("finterval")) > 0 and seconds_per(unit) is None else ""


def place_of(tiff: Any, series: int, steps: Steps) -> tuple[Place, tuple[str, ...]]:
    """Return where a TIFF says that its first pixel lies, and what is to be said of it.

    OME states positions of planes, ImageJ which pixel is the origin, the tags XPosition, YPosition where a page lies.
    """
    if tiff.is_ome:
        return ome_place(ome_image(tiff, series), steps)
    stated, place = tiff.imagej_metadata or {}, Place()
    for axis in "XYZ" if stated else "":
        origin = signed_of(stated.get(f"{axis.lower()}origin"))
        place |= {axis: -origin * steps[axis][0]} if origin and axis in steps else {}
    page = main_page(tiff)
    um = _microns_of_unit(page.tags) or 0.0
    for axis in "XY" if not stated and {"X", "Y"} <= steps.keys() else "":
        name = f"{axis}Position"
        place |= {axis: _fraction(page.tags[name].value) * um} if name in page.tags else {}
    return {axis: value for axis, value in place.items() if value}, ()


def resolution_steps(tags: Any) -> Steps:
    """Return the pixel size of the tags XResolution, YResolution and ResolutionUnit.

    Resolutions of screens and printers, which programs write that know nothing, are no pixel size.
    """
    um = _microns_of_unit(tags)
    counts = _resolution(tags)
    if um is None or any(count <= 0 or is_printed(um / count) for count in counts):
        return {}
    return {axis: (um / count, "micrometer") for axis, count in zip("XY", counts, strict=True)}


def is_printed(microns: float) -> bool:
    """Whether a pixel size is that of a screen or a printer: 72, 96, 300 per inch, or that in whole ones per cm."""
    return any(math.isclose(25_400 / microns, count, rel_tol=0.015) for count in PRINTED)


def _resolution(tags: Any) -> tuple[float, float]:
    """Return the pixels per unit along X and Y, 0 where it is not stated."""
    x, y = (_fraction(tags[name].value) if name in tags else 0.0 for name in ("XResolution", "YResolution"))
    return x, y or x


def _microns_of_unit(tags: Any) -> float | None:
    """Return the micrometres of the tag ResolutionUnit, ``None`` where it is none of length."""
    unit = int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else INCH
    return {INCH: 25_400.0, CENTIMETRE: 10_000.0}.get(unit)


def _fraction(value: Any) -> float:
    """Return a rational number of a tag, 0 for what is none."""
    return value[0] / value[1] if isinstance(value, tuple) and len(value) == 2 and value[1] else 0.0


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


def with_units(steps: Steps, axes: str) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Return scale and units of `axes` (without ``C``), 1 pixel where nothing is known."""
    known = [steps.get(axis, (1.0, PIXEL)) for axis in axes]
    return tuple(step for step, _ in known), tuple(unit for _, unit in known)


def affine_of(place: Place, scale: Sequence[float], units: Sequence[str], axes: str) -> np.ndarray | None:
    """Return the (n+1, n+1) matrix of a picture at a place, ``None`` at the origin or where no pixel size is known."""
    first = [place.get(axis, 0.0) if unit == "micrometer" else 0.0 for axis, unit in zip(axes, units, strict=True)]
    if not any(first):
        return None
    affine = np.diag([*scale, 1.0])
    affine[:-1, -1] = first
    return affine
