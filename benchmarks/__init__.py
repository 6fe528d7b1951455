"""Benchmarks: each module has a ``main(argv)`` that prints markdown tables."""

from __future__ import annotations

import os
import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("numpy", "numba", "torch", "GeodisTK", "FastGeodis")


def header(command: str, packages: tuple[str, ...] = _PACKAGES) -> str:
    """Return the line that says what was run, where and when."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    found = ", ".join(f"{name} {_version(name)}" for name in packages if _version(name))
    return (
        f"`python -m benchmarks {command}`, {date.today():%Y-%m-%d}, {_processor()}, {os.cpu_count()} cores{load}, "
        f"{platform.system()}, Python {platform.python_version()}, {found}."
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
