"""Which of the pictures of a TIFF is the one that is meant: small copies of it may come first."""

from __future__ import annotations

from typing import Any

from napari_medseg.errors import counted, some_of

PLAIN_KINDS = ("generic", "shaped")  # series that tifffile makes of pages whose maker says nothing of their order
SHOWN = (0, 1, 2, 3, 5, 6, 8)  # PhotometricInterpretation of pictures: neither masks nor raw sensor values


def main_series(tiff: Any) -> int:
    """Return the number of the series that is read of a TIFF.

    That is the first, unless it is a small copy of a later one: marked as a reduced picture, or smaller and, to the
    pixel, of the same proportions. Of several such the one with the largest pages is read.
    """
    if not tiff.series or tiff.series[0].kind not in PLAIN_KINDS:
        return 0
    fitting = [k for k, series in enumerate(tiff.series) if k == 0 or _is_small_copy(tiff.series[0], series)]
    return max(fitting, key=lambda k: _area(tiff.series[k]))


def main_page(tiff: Any) -> Any:
    """Return the first page of the series that is read, whose tags say how it is to be shown."""
    number = main_series(tiff)
    return tiff.series[number].keyframe if number else tiff.pages[0]


def said_of_others(tiff: Any, number: int) -> tuple[str, ...]:
    """Say which pictures of other sizes a TIFF holds beside the series that is read."""
    others = [series for k, series in enumerate(tiff.series) if k != number and not series.keyframe.is_reduced]
    sizes, read = some_of(list(dict.fromkeys(map(_size, others)))), _size(tiff.series[number])
    if number:
        beside = f"; {sizes} left out" if sizes else ""
        return (f"The file begins with a smaller copy of its picture: the largest, {read} pixels, is read{beside}.",)
    if not others:
        return ()
    left = counted(len(others), "further picture")
    return (f"{left} ({sizes} pixels) in the file left out; the first, {read}, is read.",)


def _is_small_copy(first: Any, other: Any) -> bool:
    """Whether the pages of a series may be small copies of those of another."""
    small, large = first.keyframe, other.keyframe
    if int(large.photometric) not in SHOWN or large.is_reduced or _area(other) <= _area(first):
        return False
    if small.is_reduced:
        return True
    height, width = large.imagelength, large.imagewidth
    ratio = height / width
    off = min(abs(small.imagelength - small.imagewidth * ratio), abs(small.imagewidth - small.imagelength / ratio))
    return len(other.pages) >= len(first.pages) and off <= 1


def _area(series: Any) -> int:
    return int(series.keyframe.imagelength * series.keyframe.imagewidth)


def _size(series: Any) -> str:
    return f"{series.keyframe.imagewidth} x {series.keyframe.imagelength}"
