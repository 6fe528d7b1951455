"""Voxels as files store them: raw, gzip, bzip2, zlib or text, in full or refused.

Lengths and check sums are compared with what the header declares, before memory is reserved and after reading.
"""

from __future__ import annotations

import bz2
import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from napari_medseg.errors import ReadError, one_line

CHUNK = 2**20
LEVEL = 3  # of compression when writing
LARGE_BYTES = 2**27
MAX_RATIO = 1100  # no deflated file is smaller than 1/1032 of its content
MAX_TAIL = 2**26
LONGEST_TAIL = 2**24
GZIP, ZLIB_OR_GZIP = b"\x1f\x8b", 47
TEXT, RAW = "text", "raw"
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, OSError, ValueError)


def is_gzip(path: Path) -> bool:
    """Whether a file is gzip by its first two bytes (RFC 1952), whatever its name says."""
    with path.open("rb") as file:
        return file.read(2) == GZIP


def head_of(path: Path, n: int) -> bytes:
    """Return the first `n` bytes of a file, unpacked if it is gzip."""
    try:
        with gzip.open(path, "rb") if is_gzip(path) else path.open("rb") as file:
            return file.read(n)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _cut(path, one_line(error)) from error


def tail_of(path: Path, skip: int) -> bytes:
    """Return what follows the first `skip` bytes of a file, unpacked if it is gzip, up to `LONGEST_TAIL` bytes."""
    with gzip.open(path, "rb") if is_gzip(path) else path.open("rb") as file:
        file.seek(skip)
        return file.read(LONGEST_TAIL)


def read_voxels(
    path: Path, dtype: np.dtype, shape: Sequence[int], encoding: str = RAW, skip: int = 0, whole: bool = False,
    notes: list[str] | None = None,
) -> np.ndarray:  # fmt: skip
    """Read `shape` values (slowest axis first) of `dtype`, ``skip`` bytes (of the unpacked file if `whole`) behind.

    Parameters
    ----------
    encoding
        ``"raw"``, ``"gzip"``, ``"bzip2"``, ``"zlib"`` or ``"text"``; -1 for `skip` takes the end of a raw file.
    whole
        Whether the whole file is packed (a ``.nii.gz``), not only what comes behind `skip`.
    notes
        Gets a sentence if the file holds more than the values.

    Raises
    ------
    ReadError
        If the file holds fewer values, or its stream is cut or damaged.
    """
    size = math.prod(shape) * dtype.itemsize
    check_declared(path, shape, size, packed=encoding != RAW)
    try:
        with path.open("rb") as file:
            if encoding == TEXT:
                file.seek(skip)
                return _from_text(path, file.read(), dtype, shape)
            content, more = _content(path, file, size, encoding, skip, whole)
    except DAMAGED as error:
        raise _cut(path, one_line(error)) from error
    if more and notes is not None:
        notes.append(f"{path.name} holds more voxels than its header declares; they are not read.")
    return content.view(dtype).reshape(shape)


def rescaled(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Return ``stored * slope + intercept``: whole numbers if all are and they fit, else float32, float64 if needed."""
    if stored.dtype.kind == "b":
        stored = stored.astype(np.uint8)
    if (slope, intercept) == (1.0, 0.0):
        return stored
    if stored.dtype.kind in "iu" and slope == int(slope) and intercept == int(intercept):
        info = np.iinfo(stored.dtype)
        low, high = sorted(int(end) * int(slope) + int(intercept) for end in (info.min, info.max))
        dtype = np.min_scalar_type(min(low, -high - 1) if low < 0 else high)
        if dtype.kind in "iu":
            factor, summand = (np.array(int(n) % 2 ** (8 * dtype.itemsize), np.uint64) for n in (slope, intercept))
            whole: np.ndarray = stored.astype(dtype) * factor.astype(dtype) + summand.astype(dtype)
            return whole  # numbers wrap around on the way and end where they should, for the result fits
    wide = stored.dtype.itemsize > 2 and stored.dtype.newbyteorder("=") != np.float32
    values: np.ndarray = np.multiply(stored, slope, dtype=np.float64) + intercept
    return values if wide else values.astype(np.float32)


def little_endian(data: np.ndarray) -> memoryview:
    """Return the bytes of `data`, slowest axis first, the lowest byte of each value first."""
    return np.ascontiguousarray(data, data.dtype.newbyteorder("<")).data.cast("B")


def check_declared(path: Path, shape: Sequence[int], size: int, packed: bool = True) -> None:
    """Refuse a header that declares no voxels, or far more than the file can hold, before memory is reserved.

    Raises
    ------
    ReadError
        If it does.
    """
    held = path.stat().st_size
    if any(n < 1 for n in shape):
        raise ReadError(
            f"{path.name} declares {_times(shape)} voxels, none at all. The file is damaged; copy it again."
        )
    if size > (max(LARGE_BYTES, held * MAX_RATIO) if packed else held):
        raise ReadError(
            f"{path.name} declares {_times(shape)} voxels ({size} bytes) in a file of {held} bytes. "
            "It is cut short or damaged; copy it again."
        )


def _content(path: Path, file: IO[bytes], size: int, encoding: str, skip: int, whole: bool) -> tuple[np.ndarray, bool]:
    """Return the bytes of the voxels, and whether there is more behind them than padding."""
    if encoding == RAW:
        file.seek(-size, 2) if skip < 0 else file.seek(skip)
        return _fill(path, file, size), any(file.read(CHUNK))
    if not whole:
        file.seek(skip)
    if encoding == "zlib":
        return _unpacked(path, file.read(), size)
    stream: Any = gzip.GzipFile(fileobj=file) if encoding == "gzip" else bz2.BZ2File(file)
    if whole and len(_skipped := stream.read(skip)) < skip:
        raise EOFError(f"{len(_skipped)} of {skip} bytes of header")
    content = _fill(path, stream, size)
    tail, held = 0, False
    while tail < MAX_TAIL and (more := stream.read(CHUNK)):  # to the end: there is the check sum
        tail += len(more)
        held |= any(more)
    return content, held


def _fill(path: Path, stream: Any, size: int) -> np.ndarray:
    content = np.empty(size, np.uint8)
    view, done = content.data, 0
    while done < size and (n := stream.readinto(view[done : done + CHUNK])):
        done += n
    if done < size:
        raise _cut(path, f"{done} of {size} bytes of voxels are there")
    return content


def _unpacked(path: Path, packed: bytes, size: int) -> tuple[np.ndarray, bool]:
    stream = zlib.decompressobj(ZLIB_OR_GZIP)
    content = np.frombuffer(bytearray(stream.decompress(packed, size)), np.uint8)
    more = stream.decompress(stream.unconsumed_tail, 1)
    if len(content) < size or not (stream.eof or more):
        raise _cut(path, f"{len(content)} of {size} bytes of voxels are there")
    return content, bool(more)


def _from_text(path: Path, text: bytes, dtype: np.dtype, shape: Sequence[int]) -> np.ndarray:
    words = text.split()
    count = math.prod(shape)
    if len(words) < count:
        raise _cut(path, f"{len(words)} of {count} values are there")
    return np.array(words[:count]).astype(np.float64 if dtype.kind == "f" else dtype).astype(dtype).reshape(shape)


def _cut(path: Path, reason: str) -> ReadError:
    return ReadError(f"{path.name} is cut short or damaged ({reason.rstrip('.')}). Copy it again.")


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, reversed(shape)))
