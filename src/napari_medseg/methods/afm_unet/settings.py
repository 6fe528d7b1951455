"""Settings of the U-nets for AFM cells, and the schedule of the paper."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from napari_medseg.settings import MethodSettings, TrainSettings


class AfmUnetSettings(MethodSettings):
    """Settings of `AfmUnet`; the defaults are the paper's best scratch net on height images."""

    title: ClassVar[str] = "AFM cell U-net"
    field: ClassVar[str] = "afm"
    training: ClassVar[TrainSettings] = TrainSettings(
        epochs=100,
        steps_per_epoch=120,
        batch_size=6,
        learning_rate=1e-3,
        plateau_patience=3,
        plateau_factor=0.1,
        stop_patience=5,
    )

    architecture: Literal["unet2", "unet3", "unet4", "unet5", "vgg16", "vgg19", "xception"] = Field(
        "unet5",
        title="Architecture",
        description="unet2 to unet5: trained from nothing, 2 to 5 levels; vgg16, vgg19, xception: ImageNet encoders",
    )
    channels: Literal[1, 3] = Field(
        1, title="Channels", description="1: height, deflection or friction; 3: all of them, or colour"
    )
    width: int = Field(
        16, ge=2, le=128, title="Width", description="Maps at the top of unet2 to unet5, twice as many a level below"
    )
    dropout: float = Field(
        -1.0, ge=-1, lt=1, title="Dropout", json_schema_extra={"step": 0.05},
        description="Rate in unet2 to unet5; below 0: the paper's, 0.5 for unet5 and 0.55 for the others",
    )  # fmt: skip
    loss: Literal["dice", "bce", "tversky", "focal_tversky", "log_cosh_dice"] = Field(
        "dice", title="Loss", description="What training minimises, over the whole batch"
    )
    augmentation: Literal["fixed", "paper"] = Field(
        "fixed", title="Augmentation",
        description="paper: periodic borders, shear of 0.05 degrees, interpolated masks; "
        "fixed: mirrored borders, shear of 0.05 radians, nearest masks",
    )  # fmt: skip
    scaling: Literal["auto", "paper", "percentile", "glass"] = Field(
        "auto", title="Scaling",
        description="To 0..1. auto: 8-bit images by 255, others by percentiles 0.1 and 99.9; "
        "paper: 8-bit by 255, others by minimum and maximum; percentile: always by percentiles; "
        "glass: heights above the glass in units of its noise, large ones compressed",
    )  # fmt: skip
    height_jitter: float = Field(
        0.0, ge=0, le=5, title="Height jitter", json_schema_extra={"step": 0.1},
        description="With scaling glass: largest logarithm of a factor on a sample's heights, which changes its noise",
    )  # fmt: skip
    ripple: float = Field(
        0.0, ge=0, le=50, title="Ripple", json_schema_extra={"step": 0.5},
        description="With scaling glass: largest waves and unevenness added to a sample, in SD of the glass",
    )  # fmt: skip
    align_lines: bool = Field(
        False, title="Align lines", description="Remove the offsets between scan lines first (median difference)"
    )
    remove_scars: bool = Field(
        False, title="Remove scars", description="Replace bright or dark runs within one scan line first"
    )
    level: bool = Field(
        False, title="Level", description="Subtract a robust quadratic background first (the paper did not)"
    )
    normalisation: Literal["auto", "paper", "imagenet"] = Field(
        "auto", title="Normalisation",
        description="paper: 0..1 for every network; imagenet: the encoder's own mean and SD; "
        "auto: imagenet when an encoder gets ImageNet weights",
    )  # fmt: skip
    encoder_weights: str = Field(
        "download", title="Encoder weights",
        description="Start of vgg16, vgg19, xception: download, none, or the path of a torchvision or timm file",
    )  # fmt: skip
    transfer_rate: float = Field(
        0.1, gt=0, le=1, title="Transfer rate", json_schema_extra={"step": 0.05},
        description="Factor of the learning rate for vgg16, vgg19, xception (paper: 1e-4 instead of 1e-3)",
    )  # fmt: skip
    crop: int = Field(0, ge=0, le=8192, title="Crop", description="Edge of training samples; 0: the whole image")
    group: Literal["image", "date"] = Field(
        "image", title="Group", description="What a split keeps together; date: images whose names share 14jun11"
    )
    threshold: float = Field(
        0.5, gt=0, lt=1, title="Threshold", description="A pixel above is cell", json_schema_extra={"step": 0.05}
    )
    min_area: int = Field(
        0, ge=0, le=100_000_000, title="Smallest object", description="Objects of fewer pixels are removed; 0: keep all"
    )
    fill_holes: int = Field(
        0, ge=0, le=100_000_000, title="Fill holes", description="Gaps of fewer pixels are filled; 0: keep all"
    )

    @property
    def transfer(self) -> bool:
        """Whether the network has an ImageNet encoder."""
        return not self.architecture.startswith("unet")
