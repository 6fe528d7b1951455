"""Where files lie: homes that there are not, results inside their folder, names that every system takes."""

from __future__ import annotations

import hashlib
import ntpath
import os
import sys
import tempfile
from pathlib import Path

from napari_medseg.errors import DataError

LONGEST = 200  # bytes of a result's stem: file systems allow 255, `_probabilities.ome.zarr` and the like come after it
SHORT = 180  # letters: Windows takes 260 at once, and what is being written lies in a hidden folder or is a store
FORBIDDEN = set('<>:"|?*\\/')
RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{device}{k}" for device in ("COM", "LPT") for k in "0123456789¹²³")}


def home() -> Path:
    """Return the home folder, or where there is none a folder of this user among the temporary ones."""
    try:
        found = Path.home()
        if found.is_dir():
            return found
    except RuntimeError:  # neither a variable nor a user of this number
        pass
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"napari-medseg-{user}"


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return `path` with a leading ``~`` as the home folder, and such that Windows takes it at any length."""
    path = Path(path)
    try:
        path = path.expanduser()
    except RuntimeError:  # of a user that does not exist, or nobody's home
        path = home().joinpath(*path.parts[1:]) if path.parts[0] == "~" else path
    return Path(extended(str(path))) if sys.platform == "win32" else path


def extended(path: str) -> str:
    """Return a path of Windows in the form that may be longer than 260 letters; one that is short as it is."""
    whole = ntpath.abspath(path)
    if len(whole) < SHORT or whole.startswith("\\\\?\\"):
        return path
    return f"\\\\?\\UNC{whole[1:]}" if whole.startswith("\\\\") else f"\\\\?\\{whole}"


def inside(folder: Path, name: object) -> Path:
    """Return the file `name` of `folder`, which may lie in a folder below it.

    Raises
    ------
    DataError
        If `name` is none, or leads out of the folder, also by a link.
    """
    text = str(name)
    leads_out = Path(text).is_absolute() or ":" in text.split("/")[0] or ".." in text.replace("\\", "/").split("/")
    if isinstance(name, str) and text and not leads_out:
        path = folder / text
        if path.resolve().is_relative_to(folder.resolve()):
            return path
    raise DataError(f"{folder} names a file outside of itself: {text!r}. Its record was changed; nothing was touched.")


def portable(name: str, room: int = LONGEST) -> str:
    """Return a name for a file of ours that every file system takes: Windows, macOS and Linux, in at most `room` bytes.

    What is cut off is told by a hash, so that long names that differ still do.
    """
    kept = "".join("_" if letter in FORBIDDEN or not letter.isprintable() else letter for letter in name)
    kept = kept.rstrip(". ") or "_"
    if kept.split(".")[0].rstrip().upper() in RESERVED:
        kept = f"_{kept}"
    encoded = kept.encode("utf-8", "replace")
    if len(encoded) <= room:
        return kept
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{encoded[: room - 9].decode('utf-8', 'ignore').rstrip('. ')}_{digest}"
