"""Settings of P-Net and R-Net (DeepIGeoS)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from napari_medseg.preprocessing.settings import VolumeSettings
from napari_medseg.settings import DistanceEngine, MethodSettings, Metric, Role, Settings, TrainSettings, check_metric

Distance = Literal["geodesic", "euclidean"]
Encoding = Literal["exp", "zscore_fixed"]
Rule = Literal["paper", "scribble", "click", "mixed"]


class PNetSettings(MethodSettings):
    """Network, CRF-Net, intensities and training of P-Net. The paper's complete method has crf = freeform."""

    title: ClassVar[str] = "P-Net (DeepIGeoS proposal)"
    role: ClassVar[Role] = "propose"
    earlier: ClassVar[Mapping[str, str]] = {"patch": "crop", "modalities": "channels"}
    preparation: ClassVar[type[Settings] | None] = VolumeSettings
    training: ClassVar[TrainSettings] = TrainSettings(
        epochs=60, steps_per_epoch=1000, batch_size=1, learning_rate=1e-3, weight_decay=5e-4, halve_steps=5000
    )

    ndim: Literal[2, 3] = Field(2, title="Dimensions", description="2: slices and pictures, 3: volumes")
    channels: int = Field(1, ge=1, le=64, title="Channels", description="Channels (modalities) of the image")
    classes: int = Field(2, ge=2, le=64, title="Classes", description="Background included; 2: every label above 0")
    class_names: str = Field(
        "", title="Class names", description="Comma-separated, background first; kept with results"
    )
    width: int = Field(
        0,
        ge=0,
        le=512,
        multiple_of=4,
        title="Width",
        description="Channels of the blocks; 0: 64 in 2D, 16 in 3D (paper)",
    )
    modern: bool = Field(False, title="Modern", description="Instance normalisation and leaky ReLU; paper: plain ReLU")
    downsample: int = Field(
        1, ge=1, le=8, title="Downsample", description="Work on a grid this much coarser (3D paper)"
    )
    pack: int = Field(
        1, ge=1, le=8, title="Pack",
        description="Fold blocks of this edge into channels: 2 takes an eighth of the work in 3D (not in the paper)",
    )  # fmt: skip
    crf: Literal["none", "gaussian", "bilateral", "freeform"] = Field(
        "none", title="CRF-Net", description="Pairwise function of the CRF-Net; paper: freeform"
    )
    crf_iterations: int = Field(
        5, ge=1, le=50, title="CRF iterations", description="Mean-field iterations; training uses at most 3"
    )
    crf_start: float = Field(
        0.5, ge=0, le=1, title="CRF start", description="Share of the epochs before the CRF-Net joins the training",
        json_schema_extra={"step": 0.05},
    )  # fmt: skip
    loss: Literal["ce", "dice_ce"] = Field("ce", title="Loss", description="Cross-entropy (paper), or Dice beside it")
    optimiser: Literal["sgd", "adamw"] = Field("sgd", title="Optimiser", description="SGD, momentum 0.99 (paper)")
    crop: int = Field(0, ge=0, le=4096, title="Crop", description="Edge of training samples in pixels; 0: whole image")
    strength: float = Field(
        1.0, ge=0, le=2, title="Augmentation", description="Share of the turns, zooms and changes of training samples",
        json_schema_extra={"step": 0.05},
    )  # fmt: skip
    flip: bool = Field(
        True, title="Flip", description="Mirror training samples; off where the two sides of a structure differ"
    )
    nonzero: bool = Field(True, title="Only nonzero", description="Mean and SD over nonzero voxels (skull-stripped)")
    clip: float = Field(
        0.5, ge=0, lt=50, title="Clip", description="Percent of voxels clipped at each end before the z-score",
        json_schema_extra={"step": 0.1},
    )  # fmt: skip
    largest_component: bool = Field(False, title="Largest piece", description="Keep each class's largest piece only")
    min_size: int = Field(0, ge=0, le=100_000_000, title="Smallest piece", description="Drop pieces of fewer voxels")
    modality_files: str = Field(
        "", title="Modality files", description="Cases of several files: words in their images' names, e.g. Flair,T1c"
    )
    label_file: str = Field("", title="Label file", description="Cases of several files: word in the label file's name")


class RNetSettings(PNetSettings):
    """P-Net's settings, the guidance maps and the simulated user of R-Net's training."""

    title: ClassVar[str] = "R-Net (DeepIGeoS refinement)"
    role: ClassVar[Role] = "refine"
    proposal: str = Field("", title="Proposal model", description="P-Net .pt for training; empty: distorted truth")
    inherit: str = Field(
        "", title="Inherit from", description="P-Net .pt whose weights R-Net starts from; empty: random (paper)"
    )
    soft_proposal: bool = Field(
        False, title="Soft proposal", description="Feed probabilities instead of the segmentation (paper)"
    )
    metric: Distance = Field("geodesic", title="Distance", description="Of the guidance maps")
    weight: float = Field(
        0.9, ge=0, le=1, title="Geodesic weight", description="1: image contrast only (paper), 0: path length only",
        json_schema_extra={"step": 0.05},
    )  # fmt: skip
    cost: Metric = Field(
        "linear", title="Geodesic cost", description="Of a step: linear is (1 - weight) way + weight contrast"
    )
    distance_engine: DistanceEngine = Field(
        "numba", title="Distance engine",
        description="numba: ours, exact; geodistk (harmonic, product) and fastgeodis (linear): as published, two scans",
    )  # fmt: skip
    encoding: Encoding = Field("exp", title="Encoding", description="exp(-d / tau), or a fixed z-score (paper)")
    tau: float = Field(
        0.0, ge=0, le=1000, title="Tau", description="Reach of the maps; 0: 1 for geodesic, 10 for Euclidean",
        json_schema_extra={"step": 0.1},
    )  # fmt: skip
    through_plane: float = Field(
        1.0, gt=0, le=100, title="Slice step", description="Step between slices over the step in the plane (3D)",
        json_schema_extra={"step": 0.1},
    )  # fmt: skip
    rule: Rule = Field("paper", title="Simulated marks", description="Random pixels (paper), scribbles, clicks, mixed")
    rounds: int = Field(1, ge=1, le=20, title="Rounds", description="Largest number of simulated rounds; paper: 1")
    mark_radius: int = Field(0, ge=0, le=20, title="Mark radius", description="Radius of simulated marks in pixels")
    smallest_region: int = Field(
        30, ge=1, le=100_000, title="Smallest region", description="Errors of fewer pixels in a slice get no mark"
    )
    no_mark_probability: float = Field(
        0.0, ge=0, le=1, title="No-mark share", description="Samples without marks; 0.1 makes R-Net careful",
        json_schema_extra={"step": 0.05},
    )  # fmt: skip

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        check_metric(self.distance_engine, self.cost)
        return self
