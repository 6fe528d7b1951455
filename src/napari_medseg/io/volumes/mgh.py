"""MGH and MGZ of FreeSurfer: the header by nibabel, the voxels in full, the colour table of a segmentation.

The place is the centre of the volume with the directions of its axes, in millimetres (RAS); behind the voxels come the
times of the scan and, in segmentations of recent versions, the names and colours of the labels.
"""

from __future__ import annotations

import gzip
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from napari_medseg.errors import ReadError, WriteError
from napari_medseg.image import SECOND, Image
from napari_medseg.io.volumes.segments import described
from napari_medseg.io.volumes.space import (
    MILLIMETER,
    RAS_TO_LPS,
    array_affine,
    decompose,
    extra_axis,
    file_matrix,
    in_unit,
    measured,
    placed,
    timed,
    without_size,
)
from napari_medseg.io.volumes.stored import LEVEL, head_of, is_gzip, read_voxels, tail_of

SUFFIXES = (".mgz", ".mgh")
HEADER, OFFSET = 90, 284
VERSION = 1  # of the lowest byte; newer versions say above it what a file is for
TYPES = {0: "u1", 1: "i4", 3: "f4", 4: "i2", 10: "u2"}
FOOTER = 20  # bytes: TR, flip angle, TE, TI in ms and the field of view
COLOUR_TABLE, REAL_RAS, OLD_GEOMETRY = 1, 2, 20  # the tags that do not state their length
ENTRIES = 100_000
SEGMENTATIONS = re.compile(r"(^|[._+-])(aseg|aparc|wmparc|ribbon|apas|labels?)([._+-]|$)", re.IGNORECASE)
KEPT_AS = ("uint8", "int16", "int32")  # whole numbers that every reader of the format knows


def read(path: Path, name: str, **metadata: Any) -> Image:
    """Read a volume as ``ZYX``, ``TZYX`` or ``CZYX``; with a colour table, or called as segmentations are, as labels.

    Raises
    ------
    ReadError
        If the file is cut or damaged, or holds the values of a surface.
    """
    from nibabel.freesurfer.mghformat import MGHHeader

    raw, packed = head_of(path, HEADER), is_gzip(path)
    version, *sizes, kind = struct.unpack_from(">6i", raw) if len(raw) == HEADER else (0,) * 6
    if version & 0xFF != VERSION:
        raise ReadError(f"{path.name} does not begin as an MGH file does. It is damaged or another kind of file.")
    if kind not in TYPES:
        raise ReadError(f"{path.name} holds values of the MGH type {kind}, which is not read here. Save it as .nii.gz.")
    if sizes[1] == sizes[2] == 1 and sizes[0] > 1:
        raise ReadError(
            f"{path.name} holds values of the {sizes[0]} points of a surface, not a volume. Map it to a volume first "
            "(for example with mri_surf2vol)."
        )
    dtype = np.dtype(">" + TYPES[kind])
    data = read_voxels(path, dtype, sizes[::-1], "gzip" if packed else "raw", OFFSET, packed)
    data = data.astype(dtype.newbyteorder("="), copy=False)
    tail = tail_of(path, OFFSET + data.nbytes)
    names, colours = _colour_table(tail[FOOTER:])
    labels = bool(names or SEGMENTATIONS.search(name)) and data.dtype.kind in "iu" and data.min() >= 0
    seconds = struct.unpack_from(">f", tail)[0] / 1000 if len(tail) >= 4 else 0.0
    axes = "ZYX" if sizes[3] == 1 else ("T" if seconds > 0 else extra_axis(sizes[3], 0.0)) + "ZYX"
    stated = bool(struct.unpack_from(">h", raw, 28)[0])
    affine = MGHHeader(raw, check=False).get_affine()
    lengths = np.maximum(np.linalg.norm(affine[:3, :3], axis=0), 1e-300)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        raise ReadError(f"{path.name} states directions or voxel sizes that span no space. Its header is damaged.")
    affine = np.diag([*RAS_TO_LPS, 1.0]) @ affine
    image = placed(
        data[0] if sizes[3] == 1 else data, axes, array_affine(affine[:3, :3], affine[:3, 3]), (), MILLIMETER,
        name=name, kind="labels" if labels else "image",
        metadata={**metadata, **(described(names, colours) if labels else {})},
    )  # fmt: skip
    image = timed(image, seconds) if "T" in axes else image
    if stated:
        return image
    return without_size(image, f"{path.name} does not state its voxel size and place; sizes and volumes are in voxels.")


def write(stream: IO[bytes], name: str, image: Image) -> None:
    """Write `image` in millimetres, packed if `name` ends in ``.mgz``; without a unit neither size nor place is stated.

    Raises
    ------
    WriteError
        If its axes are not at right angles, its unit is no length, or it has both time and channels.
    """
    import nibabel

    if {"C", "T"} <= set(image.axes) or "Z" not in image.axes:
        raise WriteError(
            f"{name}: MGH holds volumes, or several of one place, not the axes {image.axes}. Write it as .nii.gz."
        )
    timed_steps = "T" in image.axes and image.units[0] == SECOND
    if "T" in image.axes and not timed_steps:
        raise WriteError(f"{name}: MGH tells time points by their step, which is not known here. Write it as .nii.gz.")
    known = measured(image)
    image = in_unit(image, MILLIMETER, "MGH") if known else image
    data = np.asarray(image.data)
    data = np.moveaxis(data, -1, 0) if image.axes.endswith("C") else data
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = file_matrix(image)
    decompose(affine[:3, :3], "MGH")
    made = nibabel.MGHImage(_held(data, name).transpose(), np.diag([*RAS_TO_LPS, 1.0]) @ affine)
    made.header["goodRASFlag"] = int(known)
    if timed_steps:
        made.header["tr"] = image.scale[0] * 1000
    if name.lower().endswith(".mgz"):
        with gzip.GzipFile("", "wb", LEVEL, stream, mtime=0) as packed:
            made.to_stream(packed)
    else:
        made.to_stream(stream)


def _held(data: np.ndarray, name: str) -> np.ndarray:
    """Return values as one of the four types that every reader knows, if they fit."""
    if data.dtype.kind == "f":
        return data.astype(np.float32)
    if data.dtype.name in KEPT_AS:
        return data
    low, high = (int(data.min()), int(data.max())) if data.size else (0, 0)
    for known in KEPT_AS:
        info = np.iinfo(known)
        if info.min <= low and high <= info.max:
            return data.astype(known)
    raise WriteError(f"{name} cannot hold the numbers {low} to {high}: MGH has 32 bits. Write it as .nii.gz.")


def _colour_table(tail: bytes) -> tuple[dict[str, str], dict[str, list[int]]]:
    """Return names and colours (0 to 255) of the labels, empty where the tags behind the voxels hold none."""
    try:
        entries = list(_entries(_Tags(tail)))
    except struct.error:
        return {}, {}
    return {str(k): name for k, name, _ in entries}, {str(k): colour for k, _, colour in entries}


class _Tags:
    """The bytes behind the voxels, read one after the other."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def numbers(self, form: str) -> tuple[int, ...]:
        found = struct.unpack_from(">" + form, self.content, self.at)
        self.at += struct.calcsize(">" + form)
        return found

    def text(self) -> str:
        begin = self.at + 4
        self.at = begin + max(self.numbers("i")[0], 0)
        return self.content[begin : self.at].split(b"\0")[0].decode("utf-8", "replace")


def _entries(tags: _Tags) -> Iterator[tuple[int, str, list[int]]]:
    """Yield number, name and colour of each label of the first colour table, without the background."""
    while tags.at < len(tags.content):
        (tag,) = tags.numbers("i")
        if tag == COLOUR_TABLE:
            break
        length = 4 if tag == REAL_RAS else 0 if tag == OLD_GEOMETRY else max(tags.numbers("q")[0], 0)
        tags.at += length
    else:
        return
    (count,) = tags.numbers("i")
    numbered = count < 0  # the second version, whose entries say their numbers
    if numbered:
        tags.numbers("i")
    tags.text()
    if numbered:
        (count,) = tags.numbers("i")
    for k in range(min(count, ENTRIES)):
        number = tags.numbers("i")[0] if numbered else k
        name, colour = tags.text(), tags.numbers("4i")
        if number > 0:
            yield number, name, list(colour[:3])
