"""Settings of the frame classifier, and the schedule of the paper."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from napari_medseg.settings import MethodSettings, Role, TrainSettings

Backbone = Literal[
    "densenet201", "densenet169", "densenet121", "resnet50", "resnext50_32x4d", "mobilenetv3_large_100",
    "vit_small_patch16_224", "swin_tiny_patch4_window7_224", "densenet_small",
]  # fmt: skip
FINE_TUNED = 32


class FrameClassifierSettings(MethodSettings):
    """Classes, backbone and fine-tuning of the frame classifier."""

    title: ClassVar[str] = "Frame classifier (DenseNet201)"
    field: ClassVar[str] = "movie"
    role: ClassVar[Role] = "classify"
    movies: ClassVar[bool] = True
    training: ClassVar[TrainSettings] = TrainSettings(epochs=31, batch_size=12, learning_rate=1e-3, seed=1337)

    classes: str = Field(
        "Nerve,General Field,Tendon", title="Classes", description="Class names in the order of the outputs, by commas"
    )
    backbone: Backbone = Field(
        "densenet201", title="Backbone",
        description="DenseNet201 as published; densenet_small: 36 thousand values without ImageNet weights; ResNeXt, "
        "MobileNetV3, ViT, Swin by timm",
    )  # fmt: skip
    input_size: int = Field(
        224, ge=32, le=1024, multiple_of=32, title="Network size", description="Frames are resized to this square"
    )
    dropout: float = Field(
        0.3, ge=0, lt=1, title="Dropout", description="Before the last layer", json_schema_extra={"step": 0.05}
    )
    encoder_weights: str = Field(
        "download", title="Backbone weights", description="ImageNet: download, none, or the path of a torchvision file"
    )
    head_epochs: int = Field(
        10, ge=0, le=10_000, title="Head epochs", description="Epochs with the backbone frozen, before fine-tuning"
    )
    fine_tune_tensors: int = Field(
        FINE_TUNED, ge=0, le=10_000, title="Fine-tuned tensors",
        description="Last parameter tensors of the backbone trained in the second phase; 32: the paper's cut",
    )  # fmt: skip
    fine_tune_rate: float = Field(
        0.1, gt=0, le=1, title="Fine-tuning rate", description="Factor of the learning rate in the second phase",
        json_schema_extra={"step": 0.05},
    )  # fmt: skip

    @field_validator("classes")
    @classmethod
    def _at_least_two(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",") if name.strip()]
        if len(names) < 2 or len({name.lower() for name in names}) != len(names):
            raise ValueError("give at least two different class names, separated by commas")
        return ",".join(names)

    @model_validator(mode="after")
    def _size_of_transformers(self) -> FrameClassifierSettings:
        if self.backbone.endswith("_224") and self.input_size != 224:
            raise ValueError(f"{self.backbone} takes frames of 224 pixels only; set the network size to 224")
        return self
