"""TIFF files with a time axis as movies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.image import CALIBRATION, WHITE, Image
from napari_medseg.io.movies.film import Frames, film_image
from napari_medseg.io.movies.index import as_rate
from napari_medseg.io.pictures import is_empty, on_white
from napari_medseg.io.tiff.calibration import Calibration, calibration_of
from napari_medseg.io.tiff.colours import (
    ASSOCIATED,
    MINISWHITE,
    PALETTE,
    UNASSOCIATED,
    WHITE_IS_ZERO,
    holds_rgb,
    stated_white,
)
from napari_medseg.io.tiff.files import map_series, open_tiff, own_order, refuse_cut
from napari_medseg.io.tiff.ome import ome_image, states_one_side, uneven_times
from napari_medseg.io.tiff.steps import ONE_SIDE_STATED, affine_of, place_of, steps_of, unknown_time_unit, with_units

INDEXED = "The frames have a palette of colours: their numbers are read, not the colours that these stand for."


def has_time_axis(path: Path) -> bool:
    """Whether a TIFF has several times, and no depth."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            axes, shape = tiff.series[0].axes, tiff.series[0].shape
    except Exception:  # tifffile raises anything on a damaged file; it is no movie then
        return False
    return "T" in axes and "Z" not in axes and shape[axes.index("T")] > 1


def read_tiff(path: Path) -> list[Image]:
    """Read the series of a TIFF as movies; their first axis is time, whatever the file calls it."""
    with open_tiff(path) as file:
        order = own_order(path, file)
        if len(order) == 1 and len(file.series) > 1:
            sizes = sorted({series.shape for series in file.series})
            raise ReadError(f"{path.name} holds pages of different sizes {sizes}; a movie needs one frame size.")
        refuse_cut(path, file)
        return [_tiff_film(path, file, number) for number in order]


def _tiff_film(path: Path, file: Any, number: int) -> Image:
    series, page = file.series[number], file.series[number].keyframe
    axes, shape = series.axes, series.shape
    colour = axes.endswith("S") and shape[-1] in (3, 4)
    leading = len(axes) - 2 - colour
    inner = "C" if leading == 2 and "C" in axes[:2] else ""
    if axes[leading : leading + 2] != "YX" or leading > 1 + len(inner) or (colour and inner):
        raise ReadError(f"{path.name} holds frames with the axes {axes} {shape}; expected gray or colour over time.")
    if colour and not holds_rgb(page):
        raise ReadError(
            f"{path.name} holds frames in colours of the kind {page.photometric.name}, which are not read. Save them "
            "as RGB."
        )
    steps = steps_of(file, number)
    frame_shape = (*shape[leading : leading + 2], *((3,) if colour else ()))
    outer = bool(inner) and axes[0] == "C"  # one channel after the other
    frames = shape[int(outer)] if leading else 1
    planes = shape[int(not outer)] if inner else 1
    shape = (frames, *((planes,) if inner else ()), *frame_shape)
    data = Frames(_tiff_frame(series, planes, frames if outer else 0, colour), shape, page.dtype)
    known = calibration_of(file, page)
    if known.line != (0.0, 1.0):
        data = data.mapped(lambda _, frame: known.values(np.asarray(frame)), known.dtype(page.dtype))
    seconds = steps.get("T", (0.0, ""))[0]
    rate = str(as_rate(1 / seconds)) if seconds else ""
    image = film_image(data, path, seconds or None, {"fps": rate, "frames": frames}, channels=inner)
    pixels, units = with_units({axis: step for axis, step in steps.items() if axis in "YX"}, "YX")
    place, said = place_of(file, number, steps)
    described = ome_image(file, number) if file.is_ome else {}
    white = stated_white(page, described)
    notes = [*said, *_notes(file, page, bool(seconds), described, known)]
    line: dict[str, Any] = {CALIBRATION: list(known.line)} if known.line != (0.0, 1.0) else {}
    line |= {WHITE: white} if white else {}
    scale, units = (image.scale[0], *pixels), (image.units[0], *units)
    return image.replace(
        scale=scale,
        units=units,
        affine=affine_of(place, scale, units, image.spatial_axes),
        name=f"{path.stem}_{described.get('Name') or number}" if number else path.stem,
        value_unit=known.unit,
        metadata={**image.metadata, **line, **({"notes": notes} if notes else {})},
    )


def _notes(file: Any, page: Any, timed: bool, described: Mapping[str, Any], known: Calibration) -> Iterator[str]:
    """Yield what is to be said of a series: its times, its pixels, and what its numbers mean."""
    if not timed and (file.imagej_metadata or {}).get("fps"):
        yield "The file states the speed of the player (fps), not the time between frames, which is not known."
    if not timed and (unit := unknown_time_unit(file)):
        yield f"The time between frames is stated in {unit!r}, no known unit of time; it is not known."
    yield from uneven_times(described)
    if states_one_side(described):
        yield ONE_SIDE_STATED
    if int(page.photometric) == MINISWHITE and not known.reverses:
        yield WHITE_IS_ZERO
    if int(page.photometric) == PALETTE and not file.is_imagej:
        yield INDEXED
    yield from known.notes


def _tiff_frame(series: Any, planes: int, apart: int, colour: bool) -> Callable[[int], np.ndarray]:
    """Return a function from frame number to frame: mapped where the file is contiguous, else decoded page by page.

    The planes of a frame follow each other, or are so many pages `apart`. Pages may lie in other files of an OME-TIFF.
    """
    import tifffile

    if series.dataoffset is not None and not series.keyframe.is_tiled:
        whole = map_series(series)
        whole = whole.reshape(-1, *whole.shape[-2 - colour :])
        pages: list[tuple[str, int]] = []
    else:
        pages = [(page.parent.filehandle.path, page.index) for page in series.pages]

    inner = series.shape[-2 - colour :]
    each = math.prod(series.shape[: -2 - colour]) // max(len(pages), 1)  # planes of a page: samples kept apart

    extra = [int(sample) for sample in series.keyframe.extrasamples] if colour else []
    clear = inner[-1] == 4 and extra[:1] and extra[0] in (ASSOCIATED, UNASSOCIATED)

    def plane(k: int) -> np.ndarray:
        if pages:
            name, index = pages[k // each]
            page = tifffile.imread(name, key=index).reshape(-1, *inner)[k % each]
        else:
            page = whole[k]
        if clear and not is_empty(np.asarray(page)):
            return on_white(np.asarray(page), extra[0] == ASSOCIATED)
        return np.asarray(page)[..., :3] if colour else np.asarray(page)

    if planes == 1:
        return plane
    return lambda k: np.stack([plane(k + c * apart if apart else k * planes + c) for c in range(planes)])
