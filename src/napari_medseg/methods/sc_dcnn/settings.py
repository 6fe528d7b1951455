"""Settings of SC-DCNN, and the schedule of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from napari_medseg.settings import MethodSettings, TrainSettings


class ScDcnnSettings(MethodSettings):
    """Network, loss and result of the spatially constrained DCNN."""

    title: ClassVar[str] = "Spatially constrained DCNN (corneal nerves)"
    field: ClassVar[str] = "cornea"
    earlier: ClassVar[Mapping[str, str]] = {"patch": "crop", "cut": "threshold"}
    training: ClassVar[TrainSettings] = TrainSettings(epochs=200, batch_size=4, learning_rate=1e-4, augment=False)

    ndim: int = Field(2, ge=2, le=3, title="Dimensions", description="2 for images, 3 for volumes")
    width: int = Field(16, ge=1, le=128, title="Width", description="Channels of the first level; the paper uses 16")
    dropout: float = Field(
        0.0, ge=0, lt=1, title="Dropout", description="Dropout rate", json_schema_extra={"step": 0.05}
    )
    logit_relu: bool = Field(
        False, title="ReLU on logits", description="As in the authors' code; pixels can get stuck at p = 0.5"
    )
    balanced: bool = Field(True, title="Balanced", description="Weigh classes by their frequency in the batch")
    weight_unary: float = Field(
        0.9, ge=0, le=100, title="Label weight", description="Of the cross entropy", json_schema_extra={"step": 0.05}
    )
    weight_pairwise: float = Field(
        0.1, ge=0, le=100, title="Spatial weight", description="Of the spatial constraint; 0 switches it off",
        json_schema_extra={"step": 0.05},
    )  # fmt: skip
    sigma: float = Field(
        0.5, gt=0, le=100, title="Sigma", description="Grey-value tolerance in SD of the image",
        json_schema_extra={"step": 0.1},
    )  # fmt: skip
    dilate_labels: int = Field(
        0, ge=0, le=20, title="Dilate labels", description="Thicken training traces by this many pixels on each side"
    )
    crop: int = Field(
        0,
        ge=0,
        le=4096,
        title="Crop",
        description="Edge of training samples in pixels, 32 or more; 0: 384 in 2D, 64 in 3D",
    )
    select: Literal["loss", "f1_3px"] = Field(
        "loss", title="Select by", description="Picks the best epoch on held-out images: the paper's total loss, or F1"
    )
    threshold: float = Field(
        0.5, ge=0, le=1, title="Threshold", description="Probability above which a pixel is nerve; 0.5 is the paper's. "
        "Balanced training thickens thin traces; 1 minus the share of nerve pixels (0.97) undoes it",
        json_schema_extra={"step": 0.05},
    )  # fmt: skip
    strong: float = Field(
        0.0, ge=0, le=1, title="Strong", json_schema_extra={"step": 0.05},
        description="Probability reached somewhere by a nerve (hysteresis); 0: the threshold",
    )  # fmt: skip
    shortest: int = Field(0, ge=0, le=10_000, title="Shortest", description="Drop nerves of fewer pixels of centreline")
    min_size: int = Field(
        0, ge=0, le=1_000_000, title="Smallest piece", description="Drop predicted pieces of fewer pixels"
    )
    surroundings: float = Field(
        0.0, ge=0, le=500, title="Surroundings", description="Even out brightness and contrast over so many pixels "
        "(SD) before anything else; 0: the picture as it is, as in the paper", json_schema_extra={"step": 1.0},
    )  # fmt: skip
    dark: bool = Field(False, title="Dark lines", description="Nerves are darker than their surroundings")
    flips: bool = Field(False, title="Flips", description="Average predictions over flips and turns")
