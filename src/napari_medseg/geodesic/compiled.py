"""Compile kernels with numba, and keep what was compiled where a folder for it may be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., Any])
_kept = True


def compiled(kernel: Kernel) -> Kernel:
    """Compile `kernel` when it is first called; it runs without the interpreter's lock.

    In containers and on cluster nodes neither the installation nor a home folder may be writable: it is then compiled
    anew by every process.
    """
    return _compile(kernel, "never")


def inlined(kernel: Kernel) -> Kernel:
    """Compile `kernel` into the body of each kernel that calls it."""
    return _compile(kernel, "always")


def _compile(kernel: Kernel, inline: str) -> Kernel:
    global _kept
    try:
        return njit(nogil=True, cache=True, inline=inline)(kernel)  # type: ignore[no-any-return]
    except RuntimeError:  # no place to keep it
        _kept = False
        return njit(nogil=True, inline=inline)(kernel)  # type: ignore[no-any-return]


def are_kept() -> bool:
    """Whether compiled kernels are kept for the next process."""
    return _kept
