"""Settings of a batch and of whole slides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from napari_medseg.settings import Settings

if TYPE_CHECKING:
    from napari_medseg.method import Model


class SlideSettings(Settings):
    """How a whole slide is cut, and what is written of it."""

    core: int = Field(
        1024, ge=64, le=16384, title="Core", description="Whole slides: edge of the part of a tile that it decides on"
    )
    reach: int = Field(
        64, ge=0, le=2048, title="Reach", description="Whole slides: radius of the largest object, in pixels"
    )
    tissue_only: bool = Field(True, title="Tissue only", description="Whole slides: leave out tiles without tissue")
    slide_probabilities: bool = Field(
        False, title="Slide probabilities", description="Whole slides: write probabilities too (of pictures: always)"
    )


class BatchSettings(SlideSettings):
    """Which files of a folder are predicted, and what is written besides labels and probabilities."""

    pattern: str = Field("", title="Pattern", description="Only files of folders like this, e.g. *_org.tif; empty: all")
    modality_files: str = Field(
        "",
        title="Modality files",
        description="A folder with one file for each of these comma-separated words (Flair,T1c), or files of one name "
        "up to these words, are one case, its files the channels; empty: as the model was trained",
    )
    pixel_size: float | None = Field(
        None,
        gt=0,
        title="Pixel size",
        description="Edge of a pixel in micrometres, of every image; none: as the files say",
    )
    nm_per_grey: float | None = Field(
        None,
        gt=0,
        title="nm per grey value",
        description="Height of one grey value, of images whose values have no unit; none: as the files say",
    )
    time: int | None = Field(
        None,
        ge=0,
        le=1_000_000,
        title="Time point",
        description="Of images with a time axis this one, counted from 0; none: as the model takes them",
    )
    overlays: bool = Field(False, title="Overlays", description="Write a small picture per case for quality control")

    @property
    def calibration(self) -> dict[str, float]:
        """What of `pixel_size`, `nm_per_grey` and `time` is given."""
        return self.model_dump(include={"pixel_size", "nm_per_grey", "time"}, exclude_none=True)

    def of(self, model: Model) -> BatchSettings:
        """Return these settings, with the modality files that `model` was trained with where none are given."""
        trained = str(getattr(model.method.settings, "modality_files", ""))
        return self if self.modality_files or not trained else self.updated(modality_files=trained)
