"""Settings of DoubleU-Net, and the schedule of the paper."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from napari_medseg.settings import MethodSettings, TrainSettings

MULTIPLE = 16  # sizes of the network's input
PAPER_WIDTH = 64
AUGMENTATIONS = (
    "hflip", "vflip", "rotate", "rotate90", "transpose", "elastic", "crop", "brightness_contrast", "gamma", "blur",
    "noise", "channel_shuffle", "dropout",
)  # fmt: skip


def names(augmentations: str) -> list[str]:
    """Return the names in a list separated by commas."""
    return [name.strip() for name in augmentations.split(",") if name.strip()]


class DoubleUnetSettings(MethodSettings):
    """Input size, loss and result of DoubleU-Net."""

    title: ClassVar[str] = "DoubleU-Net (nerve in reflectance frames)"
    field: ClassVar[str] = "movie"
    movies: ClassVar[bool] = True
    training: ClassVar[TrainSettings] = TrainSettings(
        epochs=20, batch_size=3, learning_rate=1e-4, plateau_patience=20, stop_patience=50, augment=False, seed=42
    )

    input_size: int = Field(
        256, ge=32, le=2048, multiple_of=MULTIPLE, title="Network size",
        description="Frames are resized to this square in pixels; the paper trains at 224",
    )  # fmt: skip
    width: int = Field(
        PAPER_WIDTH, ge=4, le=128, multiple_of=4, title="Width",
        description="Channels of the first stage; 64: the paper's 29 million values, 8: half a million",
    )  # fmt: skip
    loss: Literal["dice", "bce_dice", "focal"] = Field("dice", title="Loss", description="The paper uses Dice alone")
    mode: Literal["fixed", "paper"] = Field(
        "fixed", title="Mode",
        description="paper: Dice over the whole batch and both outputs at once, plain bilinear resizing, soft mask "
        "edges; fixed: Dice per image, antialiased resizing, masks stay binary",
    )  # fmt: skip
    encoder_weights: str = Field(
        "download", title="Encoder weights", description="VGG19: download, none, or the path of a torchvision file"
    )
    augmentations: str = Field(
        "hflip,vflip,rotate,brightness_contrast,blur,noise", title="Augmentations",
        description="Used when training with augmentation, separated by commas: hflip, vflip, rotate, rotate90, "
        "transpose, elastic, crop, brightness_contrast, gamma, blur, noise, channel_shuffle, dropout",
    )  # fmt: skip
    group: Literal["name", "similarity"] = Field(
        "name", title="Held out together",
        description="Frames never split between training and validation: those of one movie by file name, or those "
        "that look alike",
    )  # fmt: skip
    threshold: float = Field(
        0.5, ge=0, lt=1, title="Threshold", description="Nerve where the probability is above this",
        json_schema_extra={"step": 0.05},
    )  # fmt: skip
    min_area: int = Field(0, ge=0, le=10_000_000, title="Smallest piece", description="Drop pieces of fewer pixels")
    fill_holes: bool = Field(False, title="Fill holes", description="Fill holes of the mask")

    mirror: bool = Field(
        False, title="Mirror", description="Average the answers for a frame and its mirror image, in twice the time"
    )

    @field_validator("augmentations")
    @classmethod
    def _known(cls, value: str) -> str:
        unknown = [name for name in names(value) if name not in AUGMENTATIONS]
        if unknown:
            raise ValueError(f"unknown augmentation {', '.join(unknown)}; known are {', '.join(AUGMENTATIONS)}")
        return ",".join(names(value))
