"""Locks of folders: one process, or one window, at a time. The system frees them when a process dies."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_medseg.errors import WriteError
from napari_medseg.io.files import disk_errors, expanded

LOOK_AGAIN = 0.02  # seconds
WAIT = 10.0  # seconds for another window that writes the same small file: a record, a table
NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # a link in a folder from elsewhere would make a file outside of it


@contextmanager
def holding(folder: Path, work: str, *, wait: float = 0.0) -> Iterator[None]:
    """Let nobody else do `work` in `folder` meanwhile; where the file system has no locks, trust.

    Parameters
    ----------
    folder
        An existing folder.
    work
        One word: what the folder is locked for.
    wait
        Seconds to wait for another one to end.

    Raises
    ------
    WriteError
        If another process or window still does it.
    """
    path = Path(os.path.abspath(folder)) / f".medseg.{work}.lock"
    until = time.monotonic() + wait
    while (handle := _lock(path)) is None:
        if time.monotonic() >= until:
            raise WriteError(
                f"Another process or window is writing into {folder} ({work}). Wait until it has ended, or choose "
                "another folder."
            )
        time.sleep(LOOK_AGAIN)
    try:
        yield
    finally:
        _unlock(path, handle)


@contextmanager
def held_folder(folder: str | Path, work: str) -> Iterator[Path]:
    """Make a result folder, hold it and give its path, ``~`` expanded; a folder that stays empty goes again.

    Raises
    ------
    WriteError
        If it cannot be made, or another process or window does the same work in it.
    """
    folder = expanded(folder)
    there = folder.exists()
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with holding(folder, work):
            yield folder
    finally:
        if not there and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _lock(path: Path) -> int | None:
    """Return the open file that holds the lock, ``None`` while another holds it, -1 where there are no locks."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o666)
    except PermissionError:
        return None if sys.platform == "win32" and path.exists() else -1
    except OSError:
        return -1
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            return handle
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_ino == os.stat(path).st_ino:
            return handle
    except FileNotFoundError:  # removed meanwhile by the one who held it
        pass
    except (BlockingIOError, PermissionError):
        pass
    except OSError:  # no locks on this file system
        os.close(handle)
        return -1
    os.close(handle)
    return None


def _unlock(path: Path, handle: int) -> None:
    if handle < 0:
        return
    if sys.platform != "win32":  # there a file that is open cannot be removed
        with contextlib.suppress(OSError):
            path.unlink()
    os.close(handle)
    if sys.platform == "win32":
        with contextlib.suppress(OSError):
            path.unlink()
