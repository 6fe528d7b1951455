"""Open TIFF files, find the files of an OME-TIFF of many, and refuse what is cut short."""

from __future__ import annotations

import html
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError, some_of
from napari_medseg.io.files import decoded
from napari_medseg.io.tiff.ome import image_numbers
from napari_medseg.io.tiff.pages import main_series

TIFF_SUFFIXES = (".tif", ".tiff")
COMPANION = re.compile(r"<(?:\w+:)?BinaryOnly\b[^>]*\bMetadataFile\s*=\s*[\"']([^\"']+)")


def open_tiff(path: Path) -> Any:
    """Open a TIFF; pictures of one size and type that were written one after the other are the planes of one series."""
    import tifffile

    file = tifffile.TiffFile(path)
    if companion := _companion_text(path, file):
        file.close()
        return tifffile.TiffFile(path, omexml=companion)
    kinds = {(series.shape, series.dtype) for series in file.series}
    if len(kinds) < len(file.series) and file.series[0].kind == "shaped":
        file.close()
        return tifffile.TiffFile(path, is_shaped=False)
    return file


def _companion_text(path: Path, tiff: Any) -> str:
    """Return the OME-XML of the companion file that a TIFF names for its own, empty where it names none."""
    companion = _companion(path, tiff)
    return decoded(companion.read_bytes()) if companion is not None and companion.is_file() else ""


def _companion(path: Path, tiff: Any) -> Path | None:
    named = COMPANION.search(tiff.pages[0].description or "")
    return None if named is None else path.with_name(Path(html.unescape(named[1])).name)


def said_of_companion(path: Path, tiff: Any) -> tuple[str, ...]:
    """Say that the file that describes a TIFF is not beside it."""
    companion = _companion(path, tiff)
    if companion is None or companion.is_file():
        return ()
    return (
        f"{path.name} is one part of an image that {companion.name} describes, which is not beside it: its size and "
        "what belongs to it are not known.",
    )


def map_series(series: Any) -> np.ndarray:
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

    if path.suffix.lower() not in TIFF_SUFFIXES or not path.is_file():
        return []
    try:
        with tifffile.TiffFile(path) as file:
            text = _companion_text(path, file) or file.pages[0].description or ""
    except Exception:  # what is damaged is said when it is read
        return []
    named = (_named_files(path, part) for part in _image_texts(text))
    return [[file for file in files if file.is_file()] for files in named]


def _named_files(path: Path, xml: str) -> list[Path]:
    """Return the files in the folder of `path` that an OME-XML, or a part of one, names for its planes."""
    names = re.findall(r'<(?:\w+:)?UUID\b[^>]*\bFileName\s*=\s*"([^"]+)"', xml or "")
    return [path.with_name(Path(html.unescape(name)).name) for name in dict.fromkeys(names)]


def _image_texts(xml: str) -> list[str]:
    """Return the elements Image of an OME-XML."""
    return re.findall(r"<(?:\w+:)?Image\b.*?</(?:\w+:)?Image>", xml, re.DOTALL)
