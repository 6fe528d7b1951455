"""Settings of levelling and threshold for AFM cells."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from napari_medseg.settings import MethodSettings


class AfmThresholdSettings(MethodSettings):
    """What counts as cell; the defaults were tried by hand on every second training scan (see ``benchmarks glass``)."""

    title: ClassVar[str] = "Height above the glass (AFM cells, no training)"
    field: ClassVar[str] = "afm"
    threshold: float = Field(
        4.5, gt=0, le=1000, title="Threshold", description="Least height of a cell above the glass, in SD of the glass",
        json_schema_extra={"step": 0.5},
    )  # fmt: skip
    remove_scars: bool = Field(
        False, title="Remove scars", description="Replace bright or dark runs within one scan line first"
    )
    min_area: int = Field(
        60,
        ge=0,
        le=100_000_000,
        title="Smallest object",
        description="Objects of fewer pixels are removed; 0: keep all",
    )
    fill_holes: int = Field(
        0, ge=0, le=100_000_000, title="Fill holes", description="Gaps of fewer pixels are filled; 0: keep all"
    )
