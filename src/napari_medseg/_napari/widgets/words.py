"""Times and numbers in words, with as many digits as they mean."""

from __future__ import annotations

from typing import Any

import numpy as np


def duration(seconds: float) -> str:
    """Return a time in words, with as many digits as matter: ``0.4 s``, ``32 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 0.05:
        return "less than 0.1 s"
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def text(value: Any) -> str:
    """Return a cell as text: four digits that mean something but no count rounded, a dash where there is no number."""
    if not isinstance(value, float | np.floating):
        return str(value)
    if not np.isfinite(value):
        return "–"
    return f"{value:.4g}" if abs(value) < 1e3 else f"{value:,.0f}"
