"""Gwyddion's native (``.gwy``) and simple field (``.gsf``) files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.io._scan import Channel

GSF_MAGIC = b"Gwyddion Simple Field 1.0\n"


def read_gwy_channels(path: Path) -> list[Channel]:
    """Read every data field of a ``.gwy`` file.

    Raises
    ------
    ReadError
        If it is no Gwyddion file.
    """
    import gwyfile

    with path.open("rb") as file:
        if file.read(4) != b"GWYP":
            raise ReadError(f"{path.name} is no Gwyddion file: it does not begin with GWYP.")
    container = gwyfile.load(str(path))
    numbers = sorted(int(m[1]) for key in container if (m := re.fullmatch(r"/(\d+)/data", key)))
    return [
        _field_channel(container[f"/{k}/data"], str(container.get(f"/{k}/data/title", f"channel {k}"))) for k in numbers
    ]


def _field_channel(field: Any, title: str) -> Channel:
    data = np.asarray(field.data)
    step = (field.yreal or 0.0) / data.shape[0], (field.xreal or 0.0) / data.shape[1]
    return Channel(title, data, _unit(field.si_unit_z), step, _unit(field.si_unit_xy))


def _unit(unit: Any) -> str:
    return str(unit["unitstr"]) if unit is not None and "unitstr" in unit else ""


def read_gsf_channels(path: Path) -> list[Channel]:
    """Read a Gwyddion Simple Field: text header padded to 4 bytes with NUL, then little-endian float32.

    Raises
    ------
    ReadError
        If the header or the pixels are not complete.
    """
    content = path.read_bytes()
    end = content.find(b"\0")
    if not content.startswith(GSF_MAGIC) or end < 0:
        raise ReadError(f"{path.name} is no Gwyddion Simple Field: its header is missing or cut short.")
    lines = content[:end].decode("utf-8").splitlines()[1:]
    entries = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    try:
        rows, columns = int(entries["YRes"]), int(entries["XRes"])
        data = np.frombuffer(content, "<f4", rows * columns, end + 4 - end % 4).reshape(rows, columns)
    except (KeyError, ValueError) as error:
        raise ReadError(f"{path.name} is cut short or damaged: {error}. Copy it again.") from error
    step = float(entries.get("YReal", 1.0)) / rows, float(entries.get("XReal", 1.0)) / columns
    return [Channel(entries.get("Title", "Height"), data, entries.get("ZUnits", ""), step, entries.get("XYUnits", ""))]
