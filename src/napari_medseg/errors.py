"""Errors that a user can cause and mend.

Every message says what was given, what was expected and what to do. None derives from
``RuntimeError``: superqt swallows a ``RuntimeError`` raised in a generator worker.
"""

from __future__ import annotations

import errno
import importlib
import unicodedata
from collections.abc import Sequence
from types import ModuleType

LOW_MEMORY_SIGNS = ("cannot allocate memory", "can't allocate memory", "failed to allocate", "bad_alloc")


class MedSegError(Exception):
    """Base of every error that is shown to the user as one message without a traceback."""


class ReadError(MedSegError):
    """A file cannot be read as what its name or place says it is."""


class WriteError(MedSegError):
    """A result cannot be written where it was asked for."""


class DataError(MedSegError):
    """Data were read but do not fit the task (shape, values, pairing)."""


class ElsewhereError(DataError):
    """Labels lie outside the image that they are brought onto."""


class SettingsError(MedSegError):
    """A setting is unknown or out of range."""


class CheckpointError(MedSegError):
    """A checkpoint is damaged, unsafe, too new or of another method."""


class MethodError(MedSegError):
    """A method of another package cannot be used; the others work."""


class DeviceError(MedSegError):
    """The compute device cannot do what was asked, and no fallback is left."""


class MissingDependencyError(MedSegError):
    """An optional package is needed; the message names the ``pip install`` that brings it."""


def one_line(error: BaseException, longest: int = 300) -> str:
    """Return what an exception of another library says, on one line of at most `longest` characters."""
    return shortened(" ".join(str(error).split()) or type(error).__name__, longest)


def shortened(text: str, longest: int = 100) -> str:
    """Return `text`, cut where it is longer than `longest` characters."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def is_low_memory(error: BaseException) -> bool:
    """Whether an exception of Python, the system or a library means that memory ran out."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return any(sign in str(error).lower() for sign in LOW_MEMORY_SIGNS)


def printable(text: str) -> str:
    """Return `text` with what a terminal would obey, or what is no text, as escapes; tabs and new lines stay."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else _escape(letter) for letter in text)


def _escape(letter: str) -> str:
    if unicodedata.category(letter) in ("Zs", "Co", "Cn"):  # wide spaces, private and newer letters
        return letter
    return f"\\x{ord(letter):02x}" if letter < "\x80" else letter.encode("ascii", "backslashreplace").decode()


def counted(n: int, noun: str) -> str:
    """Return ``1 file``, ``2 files``."""
    return f"{n} {noun}{'s' * (n != 1)}"


def some_of(names: Sequence[str], most: int = 8) -> str:
    """Return ``a, b, c``, or the first of more: ``a, b and 5 more``."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional `module`, or raise naming the extra that installs it.

    Raises
    ------
    MissingDependencyError
        If the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{purpose} needs the package {module.split('.')[0]!r}, which is not installed ({error}). "
            f'Install it with: pip install "napari-medseg[{extra}]"'
        ) from error
