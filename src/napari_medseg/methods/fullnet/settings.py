"""Settings of FullNet, and the schedule of the paper."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from napari_medseg.settings import MethodSettings, PredictSettings, Settings, TrainSettings

Triple = tuple[float, float, float]


class PrepareSettings(Settings):
    """How a FullNet training folder is made."""

    tissue: Literal["nuclei", "glands"] = Field(
        "nuclei", title="Objects", description="Sets the radius of ternary labels and the width of weight maps"
    )
    stain: Literal["auto", "macenko", "reinhard", "none"] = Field(
        "auto", title="Colour normalisation", description="auto: Macenko for nuclei, none for glands"
    )
    target: str = Field(
        "", title="Target image", description="Picture whose colours are taken; empty: the paper's constants"
    )
    patch: int = Field(
        -1, ge=-1, le=4096, title="Patch",
        description="Edge of training patches in pixels; 0: whole images; -1: 250, whole images for glands",
    )  # fmt: skip
    overlap: Literal["first", "last"] = Field(
        "first", title="Overlapping outlines", description="Which outline keeps the pixels of an overlap"
    )
    workers: int = Field(0, ge=0, le=256, title="Processes", description="0: as many as processors")


class FullNetSettings(MethodSettings):
    """Network, loss, target and result of FullNet."""

    title: ClassVar[str] = "FullNet with varCE (nuclei and glands)"
    field: ClassVar[str] = "tissue"
    training: ClassVar[TrainSettings] = TrainSettings(
        epochs=300, steps_per_epoch=24, batch_size=8, learning_rate=1e-3, weight_decay=1e-4
    )
    prediction: ClassVar[PredictSettings] = PredictSettings(tile=400, overlap=80)
    preparation = PrepareSettings

    tissue: Literal["nuclei", "glands"] = Field(
        "nuclei", title="Objects", description="Nuclei (MultiOrgan) or glands (GlaS): sets all pixel radii and scales"
    )
    resize: bool = Field(
        True, title="Resize glands",
        description="Short side of images of glands becomes 208 pixels (paper); off: pixels as they are, of any image",
    )  # fmt: skip
    preset: Literal["paper", "light"] = Field(
        "paper", title="Size", description="paper: 6 layers of 24 maps; light: 4 of 12, about a tenth of the work"
    )
    n_layers: int = Field(0, ge=0, le=12, title="Layers", description="Of a dense block; 0: the preset's")
    growth: int = Field(0, ge=0, le=128, title="Growth", description="Maps added per layer; 0: the preset's")
    hybrid: bool = Field(True, title="Hybrid dilation", description="Layers of a block differ in dilation")
    bottleneck: bool = Field(False, title="Bottleneck", description="1x1 convolution before each 3x3 one")
    pooling: bool = Field(False, title="Pooling baseline", description="FCN-pooling of the paper's ablation")
    pack: int = Field(
        1, ge=1, le=8, title="Pack",
        description="Fold blocks of this edge into channels: 2 takes a quarter of the work (not in the paper)",
    )  # fmt: skip
    dropout: float = Field(
        0.1, ge=0, lt=1, title="Dropout", description="Of new maps", json_schema_extra={"step": 0.05}
    )
    freeze_norm: bool = Field(
        False, title="Freeze statistics",
        description="Go on from a model with its batch-norm statistics, which small batches of many dyes would spoil",
    )  # fmt: skip
    alpha: float = Field(
        1.0, ge=0, le=100, title="Variance weight", description="Of the variance term; 0: cross entropy alone",
        json_schema_extra={"step": 0.1},
    )  # fmt: skip
    var_channels: Literal["all", "true_class"] = Field(
        "all", title="Variance channels", description="Probabilities whose variance counts; all: the authors' code"
    )
    unbiased: bool = Field(True, title="Unbiased variance", description="Divide by n - 1 (the authors' code), not n")
    encoding: Literal["paper", "fixed"] = Field(
        "paper", title="Target", description="paper: inside eroded once more, ring around it; fixed: the ternary label"
    )
    augmentation: Literal["fixed", "paper"] = Field(
        "fixed", title="Augmentation", description="paper: tight window, black filling, elastic quirk"
    )
    colour_jitter: float = Field(
        0.0, ge=0, le=2, title="Colour jitter", json_schema_extra={"step": 0.1},
        description="Largest change of a sample's stain strength (logarithm of its optical density's factor); paper: 0",
    )  # fmt: skip
    stain_mix: float = Field(
        0.0, ge=0, le=1, title="Stain mixing", json_schema_extra={"step": 0.05},
        description="Largest share of a colour's optical density that another gains or loses in a sample; paper: 0",
    )  # fmt: skip
    blur: float = Field(
        0.0, ge=0, le=10, title="Blur", json_schema_extra={"step": 0.1},
        description="Largest SD in pixels of the smoothing of half of the samples; paper: 0",
    )  # fmt: skip
    zoom: float = Field(
        1.25, ge=1, le=4, title="Zoom", json_schema_extra={"step": 0.05},
        description="Largest factor by which samples are enlarged or shrunk, but of resized glands",
    )  # fmt: skip
    crop: int = Field(208, ge=32, le=2048, title="Crop", description="Edge of training samples in pixels")
    validation_size: int = Field(
        0, ge=0, le=8192, title="Validation size", description="Centre of held-out images that is scored; 0: all"
    )
    stain: Literal["none", "macenko", "reinhard"] = Field(
        "none", title="Colour normalisation", description="Of every image; prepared images already have it"
    )
    mean: Triple = Field((0.0, 0.0, 0.0), title="Mean", description="Of RGB / 255; zeros: of the paper's images")
    std: Triple = Field((0.0, 0.0, 0.0), title="SD", description="Of RGB / 255; zeros: of the paper's images")
    adapt: int = Field(
        0, ge=0, le=1_000_000_000, title="Adapt to images", json_schema_extra={"step": 10_000},
        description="Pixels of an image whose own batch-norm statistics count as much as those of training, for slides "
        "of other laboratories; 0 (paper): they do not count",
    )  # fmt: skip
    threshold: float = Field(
        0.0, ge=0, le=1, title="Threshold", description="Of the inside probability; 0: the likeliest class",
        json_schema_extra={"step": 0.05},
    )  # fmt: skip
    min_area: int = Field(
        -1, ge=-1, le=1_000_000, title="Smallest area", description="In pixels of the network; -1: 20, glands 100"
    )
    grow: int = Field(-1, ge=-1, le=50, title="Grow", description="Rim given back, in pixels; -1: 2, glands 4")
    growth_mode: Literal["disk", "free"] = Field(
        "disk", title="Growth", description="disk: as the authors; free: only into unlabelled pixels"
    )
    fill_holes: bool = Field(False, title="Fill holes", description="Of every object")
