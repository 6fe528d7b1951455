"""NRRD (``.nrrd``; ``.nhdr`` with its voxels beside it): every field that says where, how large and what a voxel is.

Field names are those of the format's definition (teem.sourceforge.net/nrrd/format.html). Segmentations of 3D Slicer
(``.seg.nrrd``) keep the names and colours of their segments.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from napari_medseg.errors import ReadError, WriteError
from napari_medseg.image import SECOND, SEGMENT_COLOURS, SEGMENT_NAMES, Image
from napari_medseg.io.volumes.nrrd_header import Header, number_of, read_header
from napari_medseg.io.volumes.nrrd_place import other_axis, other_step, place_of, space_axes
from napari_medseg.io.volumes.segments import Segment, labels_of
from napari_medseg.io.volumes.space import (
    MICROMETER,
    MILLIMETER,
    file_matrix,
    in_unit,
    measured,
    placed,
    timed,
    with_note,
    without_size,
)
from napari_medseg.io.volumes.stored import LEVEL, little_endian, read_voxels

SUFFIXES = (".nrrd", ".nhdr")
SEGMENTS = ".seg.nrrd"
TYPES = {
    "i1": "signed char,int8,int8_t", "u1": "uchar,unsigned char,uint8,uint8_t",
    "i2": "short,short int,signed short,signed short int,int16,int16_t",
    "u2": "ushort,unsigned short,unsigned short int,uint16,uint16_t", "i4": "int,signed int,int32,int32_t",
    "u4": "uint,unsigned int,uint32,uint32_t",
    "i8": "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t",
    "u8": "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t", "f4": "float", "f8": "double",
}  # fmt: skip
TYPE_OF = {name: code for code, names in TYPES.items() for name in names.split(",")}
NAME_OF = {"i1": "int8", "u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int32", "u4": "uint32",
           "i8": "int64", "u8": "uint64", "f4": "float", "f8": "double"}  # fmt: skip
ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2", "ascii": "text",
             "text": "text", "txt": "text"}  # fmt: skip
COLOUR_KINDS = {"rgb-color": 3, "rgba-color": 4, "3-color": 3, "4-color": 4}


def read(path: Path, name: str, **metadata: Any) -> list[Image]:
    """Read a volume as ``ZYX``, ``TZYX`` or ``CZYX``, colours as last axis; a ``.seg.nrrd`` as labels.

    Segments that overlap come as one label image each.

    Raises
    ------
    ReadError
        If a field is missing or cannot be true, or the voxels are cut or damaged.
    """
    header = read_header(path)
    notes: list[str] = []
    stored = _voxels(header, notes)
    if {"old min", "oldmin", "old max", "oldmax"} & header.fields.keys():
        notes.append("The file states which values its numbers stand for (old min, old max); it is not applied.")
    image = with_note(_image(header, stored, name, metadata), *notes)
    segments = _segments(header)
    if not segments:
        return [image]
    layers = image.channels_first()
    masks = [layers[min(s.layer, len(layers) - 1)] == s.value for s in segments]
    plain = image.replace(data=layers[0], axes=image.spatial_axes, channels=(), kind="labels")
    return labels_of(plain, [Segment(i + 1 if len(layers) > 1 else s.value, s.name, mask, s.colour)
                             for i, (s, mask) in enumerate(zip(segments, masks, strict=True))])  # fmt: skip


def voxel_files(path: Path) -> list[Path]:
    """Return the files besides the header's own that the voxels are in.

    Raises
    ------
    ReadError
        If the header is none.
    """
    return _files(read_header(path))


def write(stream: IO[bytes], name: str, image: Image) -> None:
    """Write `image` as NRRD, packed; the voxels are in the file itself whatever its suffix.

    Micrometres are written as such, other lengths as millimetres; without a unit neither size nor place is stated. A
    label map named ``.seg.nrrd`` says what its segments are called and their colours, as 3D Slicer does.

    Raises
    ------
    WriteError
        If the image has both time and channels, or its unit is no length.
    """
    if {"C", "T"} <= set(image.axes):
        raise WriteError(f"{name}: NRRD has no place for time and channels ({image.axes}). Write it as .nii.gz.")
    if known := measured(image):
        unit = MICROMETER if image.units[-1] == MICROMETER else MILLIMETER
        image = in_unit(image, unit, "NRRD")
    data = np.asarray(image.data)
    data = data.astype({"b": np.uint8}.get(data.dtype.kind, np.float32 if data.dtype == np.float16 else data.dtype))
    axes = image.axes[::-1]
    kinds = {"C": "RGB-color" if image.axes.endswith("C") and image.n_channels == 3 else "list", "T": "time"}
    lines = ["NRRD0005", f"type: {NAME_OF[data.dtype.str[1:]]}", f"dimension: {data.ndim}"]
    lines += [
        f"sizes: {' '.join(map(str, data.shape[::-1]))}",
        f"kinds: {' '.join(kinds.get(a, 'domain') for a in axes)}",
    ]
    if known:
        lines += _stated_place(image, axes, unit)
    lines += ["endian: little", "encoding: gzip"]
    if name.lower().endswith(SEGMENTS) and image.axes == "ZYX" and image.kind == "labels":
        lines += _stated_segments(image, data)
    stream.write(("\n".join(lines) + "\n\n").encode("utf-8"))
    with gzip.GzipFile("", "wb", LEVEL, stream, mtime=0) as packed:
        packed.write(little_endian(data))


def _voxels(header: Header, notes: list[str]) -> np.ndarray:
    """Return the stored values, slowest axis first."""
    path, fields = header.path, header.fields
    if (code := TYPE_OF.get(fields.get("type", "").lower())) is None:
        raise ReadError(
            f"{path.name} holds values of type {fields.get('type', 'unknown')!r}, not numbers of 1 to 8 bytes."
        )
    word = fields.get("encoding", "raw").lower()
    if (encoding := ENCODINGS.get(word)) is None:
        raise ReadError(f"{path.name} is packed as {word!r}, which is not read here. Save it as gzip or raw.")
    order = {"big": ">", "little": "<"}.get(fields.get("endian", "little").lower(), "<")
    dtype = np.dtype(order + code)
    shape = header.sizes[::-1]
    line_skip, byte_skip = int(fields.get("line skip", 0) or 0), int(fields.get("byte skip", 0) or 0)
    files = _files(header)
    if not files:
        return _read_one(path, dtype, shape, encoding, (header.begin, line_skip, byte_skip), notes)
    if missing := [f.name for f in files if not f.is_file()]:
        raise ReadError(f"{path.name} keeps its voxels in {missing[0]}, which is not there. Copy that file beside it.")
    per_file = (shape[0] // len(files), *shape[1:]) if len(files) > 1 else shape
    if len(files) > 1 and shape[0] % len(files):
        raise ReadError(f"{path.name} names {len(files)} files for {shape[0]} slices. The header is damaged.")
    return np.concatenate([_read_one(f, dtype, per_file, encoding, (0, line_skip, byte_skip), notes) for f in files])


def _read_one(
    path: Path, dtype: np.dtype, shape: tuple[int, ...], encoding: str, skips: tuple[int, int, int], notes: list[str]
) -> np.ndarray:
    """Read the voxels behind `skips`: bytes of header, lines, bytes (-1: the end of the file)."""
    begin, line_skip, byte_skip = skips
    if line_skip > 0:
        with path.open("rb") as file:
            file.seek(begin)
            for _ in range(line_skip):
                file.readline()
            begin = file.tell()
    if byte_skip < 0 and encoding == "raw":
        begin = -1
    elif byte_skip > 0 and encoding in ("gzip", "bzip2"):
        raise ReadError(
            f"{path.name} skips bytes of a packed stream (byte skip), which is not read here. Save it as raw."
        )
    else:
        begin += max(byte_skip, 0)
    stored = read_voxels(path, dtype, shape, encoding, begin, notes=notes)
    return stored.astype(dtype.newbyteorder("="), copy=False)


def _files(header: Header) -> list[Path]:
    """Return the files with the voxels of a detached header: one, a list, or a pattern with its numbers."""
    stated = header.fields.get("data file", "")
    folder = header.path.parent
    if not stated:
        return []
    if stated.upper().startswith("LIST"):
        return [folder / line for line in header.keys.get("\nfiles", "").splitlines()]
    parts = stated.split()
    if "%" in stated and len(parts) >= 4 and all(re.fullmatch(r"-?\d+", p) for p in parts[1:4]):
        first, last, step = map(int, parts[1:4])
        stop = last + (1 if step > 0 else -1)
        return [folder / (parts[0] % i) for i in range(first, stop, step or 1)][:10000]
    return [folder / stated]


def _image(header: Header, stored: np.ndarray, name: str, metadata: dict[str, Any]) -> Image:
    """Give the values their axes, steps, units and place."""
    notes: list[str] = []
    spatial = space_axes(header)
    others = [i for i in range(len(header.sizes)) if i not in spatial]
    if not 2 <= len(spatial) <= 3 or len(others) > 1:
        raise ReadError(
            f"{header.path.name} has {len(header.sizes)} axes ({'x'.join(map(str, header.sizes))}), {len(spatial)} of "
            "them of space; an image has 2 or 3 of space and at most one of time or channels. Export it as such."
        )
    letters = {i: "XYZ"[k] for k, i in enumerate(spatial)}
    other = others[0] if others else None
    kind = header.words("kinds")[other].lower() if other is not None and len(header.words("kinds")) > other else ""
    step = 0.0
    if other is not None:
        step = other_step(header, other)
        letters[other] = other_axis(header, other, kind, step)
        if not kind and "space directions" not in header.fields:
            notes.append(f"The file does not say what its axis of {header.sizes[other]} is.")
    axes = "".join(letters[i] for i in range(len(header.sizes)))[::-1]
    colour = kind in COLOUR_KINDS and header.sizes[other or 0] == COLOUR_KINDS[kind] and stored.dtype.itemsize <= 2
    wanted = ("" if colour or "C" not in axes else "C") + "".join(a for a in "TZYX" if a in axes) + "C" * colour
    data = stored.transpose([axes.index(a) for a in wanted])
    affine, steps, unit = place_of(header, spatial, notes)
    if affine is not None and len(affine) > len(spatial) + 1:  # a plane upright in space: a volume of one slice
        data, wanted = np.expand_dims(data, wanted.index("Y")), wanted.replace("Y", "ZY")
    image = placed(
        np.ascontiguousarray(data), wanted, affine, steps, unit or MILLIMETER, name=name,
        metadata={**metadata, **({"notes": notes} if notes else {})},
        channels=("red", "green", "blue", "alpha")[: data.shape[-1]] if colour else (),
    )  # fmt: skip
    if "T" in wanted:
        image = timed(image, step)
    if not unit:
        note = f"{header.path.name} does not state its voxel size; sizes and volumes are in voxels."
        return without_size(image, note)
    return image


def _stated_place(image: Image, axes: str, unit: str) -> list[str]:
    """Return the lines with the place of `image`, whose axes in the file are `axes`, fastest first."""
    matrix, origin = file_matrix(image)
    n = len(matrix)
    vectors = iter(matrix.T)
    directions = [_vector(next(vectors)) if a in "XYZ" else "none" for a in axes]
    space = "left-posterior-superior" if n == 3 else None
    lines = [f"space: {space}" if space else f"space dimension: {n}", f"space directions: {' '.join(directions)}"]
    lines += [f"space origin: {_vector(origin)}"]
    if "T" in axes and image.units[0] == SECOND:
        lines += ["spacings: " + " ".join(repr(image.scale[0]) if a == "T" else "nan" for a in axes)]
        lines += ["units: " + " ".join('"s"' if a == "T" else '""' for a in axes)]
    return [*lines, "space units: " + " ".join([f'"{"um" if unit == MICROMETER else "mm"}"'] * n)]


def _stated_segments(image: Image, labels: np.ndarray) -> list[str]:
    """Return the keys by which 3D Slicer knows the segments of a label map, with their names where they are known."""
    names, colours = image.metadata.get(SEGMENT_NAMES, {}), image.metadata.get(SEGMENT_COLOURS, {})
    extent = " ".join(f"0 {n - 1}" for n in labels.shape[::-1])
    lines = []
    for index, label in enumerate(int(v) for v in np.unique(labels) if v):
        said = " ".join(str(names.get(str(label), f"Segment_{label}")).split())
        fields = {"ID": f"Segment_{label}", "Name": said, "LabelValue": label, "Layer": 0, "Extent": extent}
        if (colour := colours.get(str(label))) is not None:
            fields["Color"] = " ".join(f"{value / 255:.6g}" for value in colour[:3])
        lines += [f"Segment{index}_{key}:={value}" for key, value in fields.items()]
    return lines


def _vector(values: np.ndarray) -> str:
    return f"({','.join(repr(float(v)) for v in values)})"


@dataclass(frozen=True)
class _Stated:
    layer: int
    value: int
    name: str
    colour: list[int]


def _segments(header: Header) -> list[_Stated]:
    """Return the segments that a file of 3D Slicer names."""
    found = []
    for i in range(len(header.keys)):
        if f"Segment{i}_ID" not in header.keys:
            break
        value, layer = header.keys.get(f"Segment{i}_LabelValue", "1"), header.keys.get(f"Segment{i}_Layer", "0")
        name = header.keys.get(f"Segment{i}_Name", header.keys[f"Segment{i}_ID"])
        shares = [number_of(word) for word in header.keys.get(f"Segment{i}_Color", "").split()]
        colour = [round(255 * share) for share in shares if np.isfinite(share)]
        found.append(_Stated(int(number_of(layer)), int(number_of(value)), name, colour))
    return found
