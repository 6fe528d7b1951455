"""DICOMDIR, the directory of a medium: which series it lists, and their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_medseg.errors import ReadError, one_line
from napari_medseg.io.volumes.dicom.files import quiet


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
