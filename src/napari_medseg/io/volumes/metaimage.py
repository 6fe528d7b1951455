"""MetaImage (``.mha``; ``.mhd`` with its voxels in another file): the place and the unit as the header states them.

A MetaImage is in millimetres unless ``DistanceUnits`` says otherwise; other programs read it as millimetres whatever it
says, so it is written in millimetres only.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from napari_medseg.errors import ReadError, WriteError
from napari_medseg.image import SECOND, Image, mm_per
from napari_medseg.io.volumes.space import (
    MILLIMETER,
    array_affine,
    decompose,
    extra_axis,
    file_matrix,
    in_unit,
    length_unit,
    measured,
    placed,
    timed,
    with_note,
    without_size,
)
from napari_medseg.io.volumes.stored import LEVEL, little_endian, read_voxels

SUFFIXES = (".mha", ".mhd")
HEADER_BYTES = 2**16
UNSTATED = ("", "?")  # units of length that mean none: millimetres, as other programs take them
TIMED, FRAMES = "The fourth axis is time.", "The fourth axis is frames of unknown time."
PLACES = ("Origin", "Offset", "Position")  # names of one thing: of several ITK takes the first of these
SLOPE, OFFSET = "ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset"
TYPES = {"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
         "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
         "MET_DOUBLE": "f8"}  # fmt: skip
NAMES = {code: name for name, code in TYPES.items() if name not in ("MET_LONG", "MET_ULONG")}


def read(path: Path, name: str, **metadata: Any) -> Image:
    """Read a volume as ``ZYX``, ``TZYX`` or ``CZYX``, a picture as ``YX``; three components of a byte are colours.

    Raises
    ------
    ReadError
        If a field is missing or cannot be true, or the voxels are cut, damaged or in a file that is not there.
    """
    fields, begin = _fields(path)
    n = _whole(path, fields, "NDims")
    if not 2 <= n <= 4:
        raise ReadError(f"{path.name} declares {n} axes; expected 2 to 4. Export it as a volume.")
    sizes = [_whole(path, fields, "DimSize", i) for i in range(n)]
    channels = int(_numbers(fields, "ElementNumberOfChannels", 1)[0])
    if (code := TYPES.get(fields.get("ElementType", "").removesuffix("_ARRAY"))) is None:
        raise ReadError(f"{path.name} holds values of type {fields.get('ElementType', 'unknown')!r}, not real numbers.")
    shape = (*sizes[::-1], channels) if channels != 1 else tuple(sizes[::-1])
    notes: list[str] = []
    data = _voxels(path, fields, begin, code, shape, notes)
    return with_note(_image(path, fields, data, n, channels, name, metadata), *notes)


def voxel_files(path: Path) -> list[Path]:
    """Return the files besides the header's own that the voxels are in.

    Raises
    ------
    ReadError
        If the header does not say so.
    """
    fields, begin = _fields(path)
    return [] if _is_local(fields) else _files(path, fields["ElementDataFile"], begin)


def write(stream: IO[bytes], name: str, image: Image) -> None:
    """Write `image` in millimetres, packed, the voxels in the file itself; without a unit no size is stated.

    Raises
    ------
    WriteError
        If its axes are not at right angles, or their unit is no length.
    """
    known = measured(image)
    image = in_unit(image, MILLIMETER, "MetaImage") if known else image
    data = np.asarray(image.data)
    data = data.astype({"b": np.uint8}.get(data.dtype.kind, np.float32 if data.dtype == np.float16 else data.dtype))
    if "T" in image.axes and "Z" not in image.axes:
        raise WriteError(
            f"{name}: MetaImage has no place for a movie of pictures ({image.axes}). Write it as .nrrd or .tif."
        )
    channels = image.n_channels
    if "C" in image.axes:
        data = np.moveaxis(data, image.axes.index("C"), -1)
    n = len(image.spatial_axes)
    fields = {"ObjectType": "Image", "NDims": n, "BinaryData": True, "BinaryDataByteOrderMSB": False}
    packed = zlib.compress(little_endian(data), LEVEL)
    fields |= {"CompressedData": True, "CompressedDataSize": len(packed)}
    if known:
        fields |= _stated_place(image, n)
    fields |= {"Comment": TIMED if image.units[0] == SECOND else FRAMES} if "T" in image.axes else {}
    fields |= {"DimSize": _spaced(image.spatial_shape[::-1])}
    fields |= {"ElementNumberOfChannels": channels} if "C" in image.axes else {}
    fields |= {"ElementType": NAMES[data.dtype.str[1:]], "ElementDataFile": "LOCAL"}
    stream.write("".join(f"{key} = {value}\n" for key, value in fields.items()).encode("ascii"))
    stream.write(packed)


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields of the header and where it ends: behind the line of ``ElementDataFile``."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    end = re.search(rb"(?m)^\s*ElementDataFile\s*=\s*([^\r\n]*)\r?\n?", head)
    if end is None:
        raise ReadError(f"{path.name} names no ElementDataFile. It is no MetaImage, or its header is damaged.")
    lines = head[: end.end()].decode("latin-1").splitlines()
    pairs = (re.split("[=:]", line, maxsplit=1) for line in lines if re.search("[=:]", line))
    return {key.strip(): value.strip() for key, value in pairs}, end.end()


def _voxels(
    path: Path, fields: Mapping[str, str], begin: int, code: str, shape: tuple[int, ...], notes: list[str]
) -> np.ndarray:
    """Return the stored values (slowest axis first, components last)."""
    big = _true(fields, "BinaryDataByteOrderMSB") or _true(fields, "ElementByteOrderMSB")
    dtype = np.dtype((">" if big else "<") + code)
    encoding = "zlib" if _true(fields, "CompressedData") else "raw"
    if not _true(fields, "BinaryData", True):
        encoding = "text"
    if _is_local(fields):
        own = read_voxels(path, dtype, shape, encoding, begin, notes=notes)
        return own.astype(dtype.newbyteorder("="), copy=False)
    files = _files(path, fields["ElementDataFile"], begin)
    for file in files:
        if not file.is_file():
            raise ReadError(
                f"{path.name} keeps its voxels in {file.name}, which is not there. Copy that file beside it."
            )
    if len(files) > 1 and len(files) != shape[0]:
        raise ReadError(f"{path.name} names {len(files)} files for {shape[0]} slices. The header is damaged.")
    part = shape if len(files) == 1 else (1, *shape[1:])
    skip = int(_numbers(fields, "HeaderSize", 0)[0])
    read = [read_voxels(file, dtype, part, encoding, skip, notes=notes) for file in files]
    return np.concatenate(read).astype(dtype.newbyteorder("="), copy=False)


def _is_local(fields: Mapping[str, str]) -> bool:
    return fields["ElementDataFile"].upper() == "LOCAL"


def _files(path: Path, stated: str, begin: int) -> list[Path]:
    """Return the files with the voxels: one, a list, or a pattern with its first and last number and step."""
    words = stated.split()
    if words and words[0].upper() == "LIST":
        names = path.read_bytes()[begin:].decode("utf-8", "replace").splitlines()
        return [path.parent / name.strip() for name in names if name.strip()]
    if "%" in stated and len(words) >= 3 and all(word.isdigit() for word in words[1:4]):
        first, last, step = (*map(int, words[1:4]), 1)[:3]
        return [path.parent / (words[0] % i) for i in range(first, last + 1, max(step, 1))][:10000]
    return [path.parent / stated]


def _image(
    path: Path, fields: Mapping[str, str], data: np.ndarray, n: int, channels: int, name: str, metadata: dict[str, Any]
) -> Image:
    """Give the values their `n` axes, steps and place; where there are several `channels`, these are the last axis."""
    sized = next((key for key in ("ElementSpacing", "ElementSize") if key in fields), "")
    spacing = _numbers(fields, sized, *(1.0,) * n)
    direction = _numbers(fields, ("TransformMatrix", "Rotation", "Orientation"), *np.eye(n).ravel())
    origin = _numbers(fields, PLACES, *(0.0,) * n)
    if len(spacing) != n or len(direction) != n * n or len(origin) != n:
        raise ReadError(
            f"{path.name} states a place or a voxel size for another number of axes than {n}. It is damaged."
        )
    if not (spacing > 0).all() or not np.isfinite([*spacing, *direction, *origin]).all():
        raise ReadError(
            f"{path.name} gives a voxel size of 0: set the true size in mm (for example in ITK-SNAP or 3D Slicer)."
            if (spacing == 0).any() else f"{path.name} gives a place or a voxel size that is no number. It is damaged."
        )  # fmt: skip
    stated = fields.get("DistanceUnits", "mm")
    known = 1.0 if stated in UNSTATED else mm_per(stated)
    unit, factor = length_unit(known or 1.0)
    space = min(n, 3)
    matrix = np.reshape(direction, (n, n)).T[:space, :space] * spacing[:space] * factor
    if abs(np.linalg.det(matrix / np.maximum(np.linalg.norm(matrix, axis=0), 1e-300))) < 1e-3:
        raise ReadError(f"{path.name} states directions that do not span space. Its header is damaged.")
    timed_by_name = channels != 1 or fields.get("Comment") in (TIMED, FRAMES)
    fourth = "T" if timed_by_name else extra_axis(data.shape[0], spacing[-1])
    axes = {2: "YX", 3: "ZYX", 4: fourth + "ZYX"}[n]
    colour = channels in (3, 4) and data.dtype == np.uint8
    if channels != 1 and not colour:
        data = np.moveaxis(data, -1, 0)
    axes = axes + "C" if colour else ("C" if channels != 1 else "") + axes
    image = placed(
        np.ascontiguousarray(data), axes, array_affine(matrix, origin[:space] * factor), (), unit, name=name,
        metadata=metadata, channels=("red", "green", "blue", "alpha")[:channels] if colour else (),
    )  # fmt: skip
    if "T" in axes and fields.get("Comment") != FRAMES:
        image = timed(image, float(spacing[-1]))
    if _numbers(fields, SLOPE, 1.0)[0] != 1 or _numbers(fields, OFFSET, 0.0)[0] != 0:
        image = with_note(image, f"The file states how its numbers become intensities ({SLOPE}); it is not applied.")
    image = with_note(image, *_other_places(fields))
    if known is None:
        return without_size(image, f"{stated!r} is no unit of length; sizes and volumes are in voxels.")
    if not sized:
        return without_size(image, f"{path.name} does not state its voxel size; sizes and volumes are in voxels.")
    return image


def _other_places(fields: Mapping[str, str]) -> list[str]:
    """Say that a header states more than one place of its first voxel."""
    stated = {key: fields[key] for key in PLACES if key in fields}
    if len(stated) < 2 or len({tuple(_numbers(fields, key)) for key in stated}) < 2:
        return []
    said = ", ".join(f"{key} = {value}" for key, value in stated.items())
    used = next(iter(stated))
    return [f"The header states several places of its first voxel ({said}); {used} is used, as ITK does."]


def _stated_place(image: Image, n: int) -> dict[str, Any]:
    matrix, origin = file_matrix(image)
    spacing, cosines = decompose(matrix, "MetaImage")
    k = len(matrix)
    direction, offset = np.eye(n), np.zeros(n)
    direction[:k, :k], offset[:k] = np.reshape(cosines, (k, k)), origin
    steps = [*spacing, *image.scale[: n - k]]
    return {"TransformMatrix": _spaced(direction.T.ravel()), "Offset": _spaced(offset), "DistanceUnits": "mm",
            "ElementSpacing": _spaced(steps)}  # fmt: skip


def _numbers(fields: Mapping[str, str], keys: str | tuple[str, ...], *default: float) -> np.ndarray:
    key = next((k for k in ((keys,) if isinstance(keys, str) else keys) if k in fields), None)
    words = fields[key].split() if key else default
    try:
        return np.array([float(word) for word in words])
    except ValueError:
        return np.array([np.nan])


def _whole(path: Path, fields: Mapping[str, str], key: str, index: int = 0) -> int:
    values = _numbers(fields, key)
    if len(values) <= index or not np.isfinite(values[index]) or values[index] != int(values[index]):
        raise ReadError(f"{path.name} states no {key}. Its header is damaged; copy it again.")
    return int(values[index])


def _true(fields: Mapping[str, str], key: str, default: bool = False) -> bool:
    return fields[key].lower() in ("true", "1", "yes", "t") if key in fields else default


def _spaced(values: Any) -> str:
    return " ".join(f"{value:.17g}" if isinstance(value, float) else str(value) for value in map(_plain, values))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
