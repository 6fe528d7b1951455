"""Write images with their geometry and provenance, and tables."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medseg.errors import WriteError, printable, require
from napari_medseg.image import PIXEL, SHORT_UNITS, Image, um_per
from napari_medseg.io.exports import write_geojson, write_rois, write_zarr
from napari_medseg.io.files import disk_errors, expanded, file_stem, replacing, write_bytes, write_text
from napari_medseg.io.geometry import along_axes, as_picture, in_order, measured
from napari_medseg.io.sidecar import beside, place_for

if TYPE_CHECKING:
    from pandas import DataFrame

IMAGEJ_DTYPES = {"uint8", "uint16", "float32"}
IMAGEJ_AXES = "TZCYX"
IMAGEJ_LIMIT = 2**31
UM_PER_CM = 10_000.0
TEXT_CELLS = "MEDSEG_CSV_TEXT"  # environment variable
AS_WRITTEN: dict[str, Any] = {  # how pandas reads tables of ours: a class may be called None or NA
    "keep_default_na": False, "na_values": ["", "nan"],
}  # fmt: skip
NO_XML = re.compile("[\ufffe\uffff]")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how text begins that spreadsheets compute


def write(path: str | Path, image: Image) -> Path:
    """Write `image` in the format of the suffix, and its geometry and metadata to ``<stem>.json``.

    Where another program's JSON has that name, or that of another image, the side-car is ``<name>.json``.

    Labels take the smallest of uint8, uint16 and uint32. ``.tif`` keeps every other dtype and carries ImageJ's
    resolution and unit; ``.png`` takes 8 and 16 bit; ``.npy`` anything; volumes go through `io.volumes`. Labels
    also go out as ``.geojson`` (QuPath), ``_rois.zip`` (ImageJ) and ``.ome.zarr``; these leave another file's side-car
    alone.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    WriteError
        If the suffix is unknown, the values do not fit the format, or the disk refuses.
    MissingDependencyError
        If the package that the format needs is not installed.
    """
    path = expanded(path)
    writer = check_image(path)
    image = in_order(_with_plain_dtype(image))
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    image = PLACED[writer](image, path.name) if writer in PLACED else image
    if writer in EXPORTS and place_for(path).name != f"{file_stem(path)}.json":
        writer(path, image)
        return path
    with beside(path, image) as fill:
        fill(writer(path, image))
    return path


def check_image(path: Path) -> Callable[[Path, Image], str]:
    """Return what writes an image or labels under a name; to be asked before the work whose result is written.

    Raises
    ------
    WriteError
        If the suffix is unknown.
    MissingDependencyError
        If the package that its format needs is not installed.
    """
    writer = next((w for suffix, w in WRITERS.items() if path.name.lower().endswith(suffix)), None)
    if writer is None:
        raise WriteError(f"{path.name}: images are written as {', '.join(WRITERS)}. Choose one of these suffixes.")
    if writer in NEEDS:
        require(NEEDS[writer][0], "export", NEEDS[writer][1])
    return writer


def write_table(path: str | Path, frame: DataFrame) -> Path:
    """Write a table as CSV (UTF-8, units in the headers, missing values empty).

    With ``MEDSEG_CSV_TEXT=1`` in the environment, text that a spreadsheet would compute gets an apostrophe before it.
    """
    if os.environ.get(TEXT_CELLS, "0") != "0":
        frame = frame.map(as_text).rename(columns=as_text)
    text = frame.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # which ends a row for some readers, and is not quoted
        text = frame.map(_with_line_feeds).to_csv(index=False, lineterminator="\n")
    return write_text(path, text)


def write_tables(path: Path, tables: Mapping[str, DataFrame]) -> list[Path]:
    """Write tables: ``.xlsx`` with a sheet each, or ``.csv`` files, the first as `path`, others ``<stem>_<name>.csv``.

    Raises
    ------
    WriteError
        If the suffix is another, or the disk refuses.
    MissingDependencyError
        If Excel files cannot be written here.
    """
    check_table(path)
    if path.suffix.lower() == ".csv":
        paths = [path if k == 0 else path.with_name(f"{path.stem}_{name}.csv") for k, name in enumerate(tables)]
        return [write_table(one, frame) for one, frame in zip(paths, tables.values(), strict=True)]
    import pandas as pd

    content = io.BytesIO()  # a file that the disk refuses would be tried again, with a traceback on the screen
    with pd.ExcelWriter(content, engine="openpyxl") as book:
        for name, frame in tables.items():
            frame.map(_as_cell).rename(columns=_as_cell).to_excel(book, sheet_name=name, index=False)
            for row in book.sheets[name].iter_rows():
                for cell in row:
                    if cell.data_type == "f":  # a name that begins with "=" is text, no formula
                        cell.data_type = "s"
    return [write_bytes(path, content.getvalue())]


def check_table(path: Path) -> None:
    """Refuse a name that no table can be written under; to be asked before the work whose result is written.

    Raises
    ------
    WriteError
        If its suffix is another than ``.csv`` and ``.xlsx``, or the folder of an Excel file is not there.
    MissingDependencyError
        If Excel files cannot be written here.
    """
    if path.suffix.lower() not in (".csv", ".xlsx"):
        raise WriteError(f"{path.name}: tables are written as .csv or .xlsx. Choose one of these suffixes.")
    if path.suffix.lower() == ".csv":
        return
    require("openpyxl", "export", "An Excel file")
    if not path.parent.is_dir():
        raise WriteError(f"{path} could not be written: its folder does not exist. Make it, or choose another.")


def as_text(value: Any) -> Any:
    """Return text that begins like a formula, and is no number, with an apostrophe before it; all else as it is."""
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def from_text(value: str) -> str:
    """Return text without the apostrophe of `as_text`."""
    return value[1:] if value.startswith("'") and as_text(value[1:]) == value else value


def _as_cell(value: object) -> object:
    """Return text without the characters that an Excel file cannot hold."""
    return NO_XML.sub("\ufffd", printable(value)) if isinstance(value, str) else value


def _with_line_feeds(value: Any) -> Any:
    """Return text whose lines end with a line feed alone, as `write_table` quotes it."""
    return value.replace("\r\n", "\n").replace("\r", "\n") if isinstance(value, str) else value


def _with_plain_dtype(image: Image) -> Image:
    data = np.asarray(image.data)
    if image.kind != "labels":
        return image.replace(data=data.astype(np.uint8) if data.dtype == bool else data)
    top = int(data.max()) if data.size else 0
    if data.dtype.kind not in "bui" or (data.size and int(data.min()) < 0) or top > np.iinfo(np.uint32).max:
        raise WriteError(
            f"Labels {image.name!r} must be whole numbers from 0 to 4294967295, got {data.dtype} to {top}."
        )
    return image.replace(data=data.astype(np.min_scalar_type(top)))


def _write_tiff(path: Path, image: Image) -> str:
    """Write the pages of `image` in ImageJ's order, colours last; return the order of axes in the file."""
    import tifffile

    data, axes = image.data, image.axes
    colour = axes.endswith("C") and data.shape[-1] in (3, 4) and data.dtype in (np.uint8, np.uint16)
    if "C" in axes and not colour:
        axes = "".join(axis for axis in IMAGEJ_AXES if axis in image.axes)
        data = np.transpose(data, [image.axes.index(axis) for axis in axes])
    ordered = axes.removesuffix("C") if colour else axes
    imagej = (
        data.dtype.name in (("uint8",) if colour else IMAGEJ_DTYPES)
        and data.nbytes < IMAGEJ_LIMIT
        and ordered == "".join(axis for axis in IMAGEJ_AXES if axis in ordered)
    )
    options: dict[str, Any] = {
        "photometric": "rgb" if colour else "minisblack",
        "metadata": {"axes": axes.replace("C", "S") if colour else axes},
        "compression": "zlib" if image.kind == "labels" else None,
    }
    stated, resolution = _tiff_steps(image, imagej)
    options["metadata"] |= stated
    options |= resolution
    with replacing(path) as part:
        tifffile.imwrite(part, data, imagej=imagej, **options)
    return axes


def _tiff_steps(image: Image, imagej: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ImageJ's metadata on the steps of an image (none without `imagej`), and its resolution tags.

    ImageJ counts pixels per its unit, the tags by themselves per centimetre.
    """
    known = dict(zip(image.spatial_axes, zip(image.scale, image.units, strict=True), strict=True))
    microns = {axis: step * (um_per(unit) or 0.0) for axis, (step, unit) in known.items() if axis in "XYZ"}
    sized = bool(microns.get("X") and microns.get("Y"))
    unit = known["X"][1] if sized else PIXEL
    per_unit = (um_per(unit) or 1.0) if imagej else UM_PER_CM
    resolution: dict[str, Any] = {}
    if sized:
        counts = per_unit / microns["X"], per_unit / microns["Y"]
        resolution = {"resolution": counts, "resolutionunit": "NONE" if imagej else "CENTIMETER"}
    if not imagej:
        return {}, resolution
    stated: dict[str, Any] = {"unit": SHORT_UNITS.get(unit, unit).replace("px", PIXEL)}
    if sized and microns.get("Z"):
        stated["spacing"] = microns["Z"] / per_unit
    if known.get("T", (0.0, ""))[1] == "second":
        stated["finterval"] = known["T"][0]
    return stated, resolution


def _write_png(path: Path, image: Image) -> str:
    from PIL import Image as Pillow

    data = image.data
    gray = image.axes == "YX" and data.dtype in (np.uint8, np.uint16)
    colour = image.axes == "YXC" and data.dtype == np.uint8 and data.shape[-1] in (3, 4)
    if not (gray or colour):
        raise WriteError(
            f"{path.name}: PNG holds 8- or 16-bit gray or 8-bit colour pictures, not {data.dtype} with axes "
            f"{image.axes}. Write it as .tif."
        )
    with replacing(path) as part:
        Pillow.fromarray(data).save(part, format="PNG")
    return image.axes


def _write_npy(path: Path, image: Image) -> str:
    with replacing(path) as part, part.open("wb") as file:
        data = np.ascontiguousarray(image.data)
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(data))
        file.write(data.data)  # says what a full disk refuses, as `np.save` does not
    return image.axes


def _write_volume(path: Path, image: Image) -> str:
    from napari_medseg.io.volumes import reader as mri

    mri.write(path, measured(image, path.name))
    return image.axes


NEEDS = {write_rois: ("roifile", "An ImageJ ROI archive"), write_zarr: ("zarr", "OME-Zarr")}
EXPORTS = (write_geojson, write_rois, write_zarr)
PLACED = {write_geojson: as_picture, write_rois: as_picture, write_zarr: along_axes}
WRITERS: dict[str, Callable[[Path, Image], str]] = {
    ".tif": _write_tiff,
    ".tiff": _write_tiff,
    ".png": _write_png,
    ".npy": _write_npy,
    ".nii.gz": _write_volume,
    ".nii": _write_volume,
    ".nrrd": _write_volume,
    ".mha": _write_volume,
    ".mgz": _write_volume,
    ".mgh": _write_volume,
    ".geojson": write_geojson,
    ".zip": write_rois,
    ".zarr": write_zarr,
}
