"""Archives that hold more than their size says: refused before anything in them is unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path

from napari_medseg.errors import ReadError


def refuse_inflating(path: Path) -> None:
    """Refuse a ZIP archive whose entries are compressed, or claim more bytes than the file has.

    Weight files are archives of plain bytes; a small one that unpacks to many gigabytes is made to fill the memory.
    What is no archive at all is left to its reader.

    Raises
    ------
    ReadError
        If it would grow.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return
    claimed = sum(entry.file_size for entry in entries)
    if claimed > path.stat().st_size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ReadError(
            f"{path.name} was refused: its {path.stat().st_size} bytes would unpack to {claimed}. Weights are never "
            "packed like this."
        )
