"""Where a user's own files lie; every program starts also where there is no home."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


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
    """Return `path` with a leading ``~`` as the home folder."""
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError:  # of a user that does not exist, or nobody's home
        return home().joinpath(*path.parts[1:]) if path.parts[0] == "~" else path
