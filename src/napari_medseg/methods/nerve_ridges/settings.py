"""Settings of the line filters for corneal nerves."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from napari_medseg.settings import MethodSettings


class NerveRidgesSettings(MethodSettings):
    """What counts as a nerve; ``benchmarks ccm ridges`` chose the defaults on images 1 to 10 of Nottingham."""

    title: ClassVar[str] = "Line filter (corneal nerves, no training)"
    field: ClassVar[str] = "cornea"
    width: float = Field(
        2.0, ge=0.5, le=20, title="Width", description="Half the width of a nerve in pixels (SD of the filter across)",
        json_schema_extra={"step": 0.25},
    )  # fmt: skip
    length: float = Field(
        6.0, ge=0.5, le=50, title="Length", description="How far along a nerve is averaged, pixels (SD)",
        json_schema_extra={"step": 1.0},
    )  # fmt: skip
    surroundings: float = Field(
        8.0, ge=2, le=200, title="Surroundings", description="Brightness and noise are taken over so many pixels (SD)",
        json_schema_extra={"step": 1.0},
    )  # fmt: skip
    strong: float = Field(
        9.0, gt=0, le=100, title="Strong", description="As strong as this a nerve is somewhere, in SD around it",
        json_schema_extra={"step": 0.5},
    )  # fmt: skip
    weak: float = Field(
        6.0, gt=0, le=100, title="Weak", description="A strong nerve goes on where it is at least this strong",
        json_schema_extra={"step": 0.5},
    )  # fmt: skip
    shortest: int = Field(
        25, ge=0, le=10_000, title="Shortest", description="Lines of fewer pixels of centreline are dropped"
    )
    dark: bool = Field(False, title="Dark lines", description="Lines are darker than their surroundings")
