"""Settings of the movie pipeline."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from napari_medseg.measure.settings import RING_GAP, RING_WIDTH
from napari_medseg.settings import Device, Precision, Settings

COLOURS = {
    "green": (0, 255, 0), "yellow": (255, 255, 0), "cyan": (0, 255, 255), "magenta": (255, 0, 255), "red": (255, 0, 0),
}  # fmt: skip


class VideoSettings(Settings):
    """How a movie is classified, segmented and written."""

    nerve_class: str = Field(
        "Nerve", title="Nerve class", description="Class of the classifier whose frames are segmented"
    )
    nerve_probability: float = Field(
        0.0, ge=0, le=1, title="Probability cut",
        description="A frame shows nerve from this probability on; 0: where nerve is the likeliest class",
        json_schema_extra={"step": 0.05},
    )  # fmt: skip
    release_probability: float = Field(
        0.0, ge=0, le=1, title="Release",
        description="Hysteresis: once nerve is seen it stays until its probability falls below this; 0: off",
        json_schema_extra={"step": 0.05},
    )  # fmt: skip
    vote: int = Field(
        1,
        ge=1,
        le=1001,
        title="Majority vote",
        description="Frames (odd) around each that vote on nerve or not; 1: off",
    )
    threshold: float = Field(
        0.5, ge=0, lt=1, title="Mask threshold", description="Nerve where the probability is above this",
        json_schema_extra={"step": 0.05},
    )  # fmt: skip
    min_area: int = Field(0, ge=0, le=10_000_000, title="Smallest piece", description="Drop pieces of fewer pixels")
    fill_holes: bool = Field(False, title="Fill holes", description="Fill holes of the mask")
    every: int = Field(1, ge=1, le=100_000, title="Every", description="Take every n-th frame")
    every_ms: float = Field(
        0.0, ge=0, le=3_600_000, title="Every ms", description="Take a frame every so many milliseconds; 0: see Every",
        json_schema_extra={"step": 100},
    )  # fmt: skip
    fps: float = Field(
        25.0, gt=0, le=1000, title="Frame rate", description="Used where the source has none (a folder of pictures)",
        json_schema_extra={"step": 1},
    )  # fmt: skip
    colour: Literal["green", "yellow", "cyan", "magenta", "red"] = Field(
        "green", title="Colour", description="Of the overlay"
    )
    alpha: float = Field(
        0.35, ge=0, le=1, title="Opacity", description="Inside the mask: (1 - a) image + a colour; outside no change",
        json_schema_extra={"step": 0.05},
    )  # fmt: skip
    style: Literal["fill", "contour"] = Field("fill", title="Style", description="Colour the mask, or its border fully")
    movie: Literal["ffv1", "libx264", "mpeg4", "none"] = Field(
        "ffv1", title="Overlay movie",
        description="ffv1: lossless .mkv; libx264 and mpeg4: small .mp4, slightly altered everywhere; none",
    )  # fmt: skip
    masks: bool = Field(True, title="Masks", description="Write masks/<frame>.png (0 and 255)")
    pictures: bool = Field(False, title="Overlay pictures", description="Write overlays/<frame>.png too")
    contrast: bool = Field(
        True, title="Contrast", description="Measure nerve to background ratio and contrast to noise"
    )
    ring_gap: int = Field(
        RING_GAP, ge=0, le=1000, title="Ring gap", description="Pixels left out between nerve and background"
    )
    ring_width: int = Field(RING_WIDTH, ge=1, le=1000, title="Ring width", description="Background ring in pixels")
    batch: int = Field(8, ge=1, le=256, title="Batch", description="Frames per forward pass")
    threads: int = Field(
        0,
        ge=0,
        le=64,
        title="Threads",
        description="Threads that measure and write masks; 0: as many as CPU cores, up to 4",
    )
    device: Device = Field("auto", title="Device", description="Where to compute; auto takes the GPU when there is one")
    precision: Precision = Field(
        "auto", title="Precision", description="auto: bfloat16 on GPU and on processors that compute in it"
    )
    resume: bool = Field(
        True, title="Resume", description="Go on after the last frame of frames.csv; off: start anew and overwrite"
    )

    @field_validator("vote")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("the number of voting frames must be odd")
        return value

    def result_settings(self) -> dict[str, object]:
        """Return the settings that change the result; those of speed do not hinder resuming."""
        speed = {"batch", "threads", "device", "precision", "resume"}
        return self.model_dump(mode="json", exclude=speed)
