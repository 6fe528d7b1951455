"""DICOM series of a folder: find, sort along the normal, check, stack.

A slice is described by six tags; every check is a small function on a list of `Slice` and needs no pixels.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.image import Image
from napari_medseg.io.volumes.itk import affine_of, check_size, from_itk, with_note

PROBED = 5
PREAMBLE = 128
META, TRANSFER_SYNTAX, UNDEFINED = 0x0002, (0x0002, 0x0010), 0xFFFFFFFF
SHORT_FORMS = set(re.findall(b"..", b"AEASATCSDADSDTFDFLISLOLTPNSHSLSSSTTMUIULUS"))  # their length has 2 bytes, not 4
IMPLICIT = b"1.2.840.10008.1.2"
UNWALKED = {b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"}  # big-endian, deflated
GAP_TOLERANCE = 0.1
ORIENTATION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Slice:
    """What ordering and checking need to know of one DICOM file.

    `position` (3,) in mm, `orientation` (6,) row and column cosines, `size` (columns, rows), `pixel` (2,) mm.
    """

    path: Path
    series: str
    description: str
    position: np.ndarray
    orientation: np.ndarray
    size: tuple[int, ...]
    pixel: tuple[float, ...]

    @property
    def normal(self) -> np.ndarray:
        """Unit normal (3,) of the slice plane."""
        return np.cross(self.orientation[:3], self.orientation[3:])

    @property
    def depth(self) -> float:
        """Position along the normal in mm."""
        return float(self.position @ self.normal)


def is_dicom(path: Path) -> bool:
    """Whether a file has the DICOM preamble (``DICM`` at byte 128)."""
    with path.open("rb") as file:
        return file.read(PREAMBLE + 4)[PREAMBLE:] == b"DICM"


def holds_dicom(folder: Path) -> bool:
    """Whether one of the first few files of `folder` is DICOM."""
    files = (p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith("."))
    return any(is_dicom(path) for path, _ in zip(files, range(PROBED), strict=False))


def read_series(path: Path) -> Image:
    """Read the one series of a folder, or the series that a file belongs to, as ``ZYX``.

    Raises
    ------
    ReadError
        If the folder holds several series (listed), or the series has missing, doubled or unlike slices (listed).
    """
    folder = path if path.is_dir() else path.parent
    by_series: dict[str, list[Slice]] = {}
    others: list[str] = []
    for file in sorted(p for p in folder.iterdir() if p.is_file() and is_dicom(p)):
        if (found := describe(file)) is None:
            others.append(file.name)
        else:
            by_series.setdefault(found.series, []).append(found)
    slices = sorted(_choose(by_series, path), key=lambda s: s.depth)
    check(slices)
    image = _read_files([s.path for s in slices], slices[0])
    listed = f"{', '.join(others[:5])}{f' and {len(others) - 5} more' if len(others) > 5 else ''}"
    return with_note(image, f"DICOM files without a readable picture were left out: {listed}.") if others else image


def check_elements(path: Path) -> None:
    """Refuse a DICOM file that is shorter than its elements say: the library would reserve memory for them first.

    Walks the outermost elements up to the first of undefined length; deflated and big-endian files are not looked at.

    Raises
    ------
    ReadError
        If an element ends behind the file.
    """
    size, explicit = path.stat().st_size, True
    with path.open("rb") as file:
        file.seek(PREAMBLE + 4)
        while len(head := file.read(8)) == 8:
            group, element = struct.unpack_from("<HH", head)
            if (group == META or explicit) and head[4:6] in SHORT_FORMS:
                length = int.from_bytes(head[6:], "little")
            else:
                length = int.from_bytes(file.read(4) if group == META or explicit else head[4:], "little")
            if length == UNDEFINED:
                return
            if file.tell() + length > size:
                raise ReadError(
                    f"{path.name} is cut short or damaged: element ({group:04x},{element:04x}) of {length} bytes does "
                    f"not fit into its {size} bytes. Copy it again."
                )
            if (group, element) != TRANSFER_SYNTAX:
                file.seek(length, 1)
                continue
            syntax = file.read(length).rstrip(b"\0 ")
            if syntax in UNWALKED:
                return
            explicit = syntax != IMPLICIT


def describe(path: Path) -> Slice | None:
    """Read the tags of a DICOM file; ``None`` if it holds no picture (report, directory)."""
    import SimpleITK as sitk  # noqa: N813

    check_elements(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None
    check_size(path, reader)
    tag = _tags(reader)
    return Slice(
        path,
        tag("0020|000e"),
        tag("0008|103e") or tag("0008|0060"),
        np.array(_numbers(tag("0020|0032")) or reader.GetOrigin()[:3], float),
        np.array(_numbers(tag("0020|0037")) or [1, 0, 0, 0, 1, 0], float),
        tuple(reader.GetSize()),
        tuple(reader.GetSpacing()[:2]),
    )


def check(slices: Sequence[Slice]) -> None:
    """Refuse a sorted series whose slices do not form one regular stack, naming the files."""
    first = slices[0]
    problems = [
        *(f"{s.path.name} is {s.size} with pixels {s.pixel}, {first.path.name} is {first.size} with {first.pixel}"
          for s in slices[1:] if s.size[:2] != first.size[:2] or not np.allclose(s.pixel, first.pixel, rtol=1e-3)),
        *(f"{s.path.name} is tilted against {first.path.name}"
          for s in slices[1:] if not np.allclose(s.orientation, first.orientation, atol=ORIENTATION_TOLERANCE)),
        *_steps(slices),
    ]  # fmt: skip
    if problems:
        more = f" (and {len(problems) - 10} more)" if len(problems) > 10 else ""
        raise ReadError(
            f"The DICOM series {first.description!r} in {first.path.parent} is not one regular stack: "
            f"{'; '.join(problems[:10])}{more}. Copy the whole series again, or move the extra files away."
        )


def _steps(slices: Sequence[Slice]) -> list[str]:
    """List doubled and missing slices of a sorted series."""
    depths = np.array([s.depth for s in slices])
    gaps = np.diff(depths)
    apart = gaps[gaps > 1e-3]
    step = float(np.median(apart)) if apart.size else 1.0
    found = []
    for gap, before, after in zip(gaps, slices, slices[1:], strict=False):
        if gap <= 1e-3:
            found.append(f"duplicate slice: {before.path.name} and {after.path.name} both at {before.depth:.2f} mm")
        elif abs(gap - step) > GAP_TOLERANCE * step:
            n = max(round(gap / step) - 1, 0)
            what = f"{n} missing slice{'s' if n != 1 else ''}" if n else "uneven step"
            found.append(f"{what} between {before.path.name} and {after.path.name} ({gap:.2f} mm, usual {step:.2f} mm)")
    return found


def _choose(by_series: dict[str, list[Slice]], path: Path) -> list[Slice]:
    if not by_series:
        raise ReadError(f"{path} holds no DICOM pictures. Choose the folder with the slices.")
    if path.is_file():
        return next((s for s in by_series.values() if any(one.path == path for one in s)), [_readable(path)])
    if len(by_series) > 1:
        listed = "; ".join(
            f"{s[0].description or 'no description'} ({len(s)} files, first {s[0].path.name})"
            for s in by_series.values()
        )
        raise ReadError(
            f"{path} mixes {len(by_series)} DICOM series: {listed}. "
            "Open one file of the wanted series (the whole series is read), or keep one series per folder."
        )
    return next(iter(by_series.values()))


def _readable(path: Path) -> Slice:
    if (found := describe(path)) is None:
        raise ReadError(f"{path.name} is DICOM without a picture (a report or a directory). Open an image file.")
    return found


def _read_files(paths: Sequence[Path], first: Slice) -> Image:
    """Read the pixels of sorted slices, or of one (multi-frame) file."""
    import SimpleITK as sitk  # noqa: N813

    itk = sitk.ReadImage([str(p) for p in paths] if len(paths) > 1 else str(paths[0]), imageIO="GDCMImageIO")
    image = from_itk(itk, name=first.description or first.path.stem)
    folder = first.path.parent
    metadata = {"source_file": str(folder if len(paths) > 1 else first.path), "series": first.series}
    return image.replace(metadata=metadata, affine=affine_of(itk))


def _tags(reader: Any) -> Any:
    keys = set(reader.GetMetaDataKeys())
    return lambda key: reader.GetMetaData(key).strip() if key in keys else ""


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split("\\") if part.strip()]
