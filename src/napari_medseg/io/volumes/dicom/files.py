"""DICOM files as bytes: which files are DICOM, and whether one is as long as its elements say."""

from __future__ import annotations

import os
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_medseg.errors import ReadError, one_line
from napari_medseg.io import files

PREAMBLE = 128
META, TRANSFER_SYNTAX, UNDEFINED = 0x0002, (0x0002, 0x0010), 0xFFFFFFFF
SHORT_FORMS = set(re.findall(b"..", b"AEASATCSDADSDTFDFLISLOLTPNSHSLSSSTTMUIULUS"))  # their length has 2 bytes, not 4
LONG_FORMS = set(re.findall(b"..", b"OBODOFOLOVOWSQSVUCUNURUTUV"))
UNWALKED = {b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"}  # big-endian, deflated
FIRST_ELEMENTS = (b"\x08\x00", b"\x02\x00")  # groups 0008 and 0002
SUFFIXES = (".dcm", ".ima", ".dicom", "")
NEVER_DICOM = {
    ".png",
    ".tif",
    ".tiff",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".npy",
    ".txt",
    ".csv",
    ".json",
    ".xml",
    ".nii",
    ".gz",
    ".nrrd",
    ".mha",
    ".avi",
    ".mp4",
    ".py",
    ".pt",
}  # of the many files that a folder of frames or results may hold


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM: ``DICM`` at byte 128, or, named as such files are, a first element of DICOM."""
    try:
        with path.open("rb") as file:
            head = file.read(PREAMBLE + 4)
    except OSError:
        return False
    return head[PREAMBLE:] == b"DICM" or (may_be_dicom(path) and _begins_as_dicom(head))


def may_be_dicom(path: Path) -> bool:
    """Whether a file is named as DICOM files are: ``.dcm``, ``.ima``, no suffix, or a UID (digits behind a dot)."""
    suffix = path.suffix.lower()
    return suffix in SUFFIXES or suffix[1:].isdigit()


def holds_dicom(folder: Path) -> bool:
    """Whether a folder holds a DICOM file besides the directory of a medium (DICOMDIR)."""
    names = [n for n in os.listdir(folder) if not n.startswith(".") and n.upper() != "DICOMDIR"]
    paths = [folder / n for n in sorted(names) if os.path.splitext(n)[1].lower() not in NEVER_DICOM]
    return any(path.is_file() and is_dicom(path) for path in sorted(paths, key=lambda p: not may_be_dicom(p)))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what pydicom and its decoders say of odd files off the screen."""
    with files.quiet("pydicom"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def cut_short(path: Path) -> str:
    """Say what is wrong with a file that is shorter than its elements say, before anything reserves memory for them.

    Walks the outermost elements up to the first of undefined length; deflated and big-endian files are not looked at.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(PREAMBLE + 16)
        start = PREAMBLE + 4 if head[PREAMBLE : PREAMBLE + 4] == b"DICM" else 0
        explicit: bool | None = None
        file.seek(start)
        while len(head := file.read(8)) == 8:
            group, element = struct.unpack_from("<HH", head)
            if explicit is None and group != META:  # whatever the transfer syntax says
                explicit = head[4:6] in SHORT_FORMS | LONG_FORMS
            if (group == META or explicit) and head[4:6] in SHORT_FORMS:
                length = int.from_bytes(head[6:], "little")
            else:
                length = int.from_bytes(file.read(4) if group == META or explicit else head[4:], "little")
            if length == UNDEFINED:
                return ""
            if file.tell() + length > size:
                return (
                    f"{path.name} is cut short or damaged: element ({group:04x},{element:04x}) of {length} bytes does "
                    f"not fit into its {size} bytes. Copy it again."
                )
            if (group, element) != TRANSFER_SYNTAX:
                file.seek(length, 1)
                continue
            if file.read(length).rstrip(b"\0 ") in UNWALKED:
                return ""
    return ""


def _begins_as_dicom(head: bytes) -> bool:
    """Whether a file without preamble begins with an element of group 0008 or 0002 of a plausible length."""
    if len(head) < 16 or head[:2] not in FIRST_ELEMENTS:
        return False
    explicit = head[4:6] in SHORT_FORMS | LONG_FORMS
    length = int.from_bytes(head[6:8] if explicit else head[4:8], "little")
    return head[3] < 0x20 and length <= 1024 and length % 2 == 0


def files_of(path: Path) -> list[Path]:
    """Return the files of the one series that a DICOMDIR lists.

    Raises
    ------
    ReadError
        If it lists none, several (named with their folders), or files that are not there.
    """
    import pydicom

    try:
        with quiet():
            listed = list(_series(pydicom.dcmread(path, force=True), path.parent))
    except Exception as error:  # whatever the library says of a damaged directory
        raise ReadError(
            f"{path.name} is a damaged DICOM directory ({one_line(error, 80)}). Open a folder of it."
        ) from error
    listed = [(name, files) for name, files in listed if files]
    if not listed:
        raise ReadError(f"{path.name} is a DICOM directory that lists no pictures. Open the folder with the slices.")
    if len(listed) > 1:
        said = "; ".join(
            f"{name} ({len(files)} files in {_inside(files[0].parent, path.parent)})" for name, files in listed[:10]
        )
        more = f" and {len(listed) - 10} more" if len(listed) > 10 else ""
        raise ReadError(
            f"{path.name} is a DICOM directory of {len(listed)} series: {said}{more}. Open one of these folders."
        )
    files = listed[0][1]
    if missing := [f for f in files if not f.is_file()]:
        raise ReadError(
            f"{path.name} lists {missing[0].name} and {len(missing) - 1} more files that are not there. Copy all."
        )
    return files


def _series(data: Any, folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yield each series of a DICOMDIR: its name and its files."""
    name = ""
    files: list[Path] = []
    for record in data.get("DirectoryRecordSequence") or ():
        kind = str(record.get("DirectoryRecordType", ""))
        if kind == "SERIES":
            if files:
                yield name, files
            name, files = str(record.get("SeriesDescription", "") or record.get("Modality", "series")), []
        elif kind == "IMAGE" and record.get("ReferencedFileID"):
            parts = record.ReferencedFileID
            files.append(folder.joinpath(*([parts] if isinstance(parts, str) else parts)))
    if files:
        yield name, files


def _inside(folder: Path, root: Path) -> str:
    try:
        return folder.relative_to(root).as_posix()
    except ValueError:
        return folder.as_posix()
