"""Settings: frozen pydantic classes, the one source of forms, flags, JSON and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_medseg.errors import SettingsError, shortened

Device = Literal["auto", "cpu", "cuda", "mps"]
Role = Literal["segment", "propose", "refine", "classify"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
DistanceEngine = Literal["numba", "geodistk", "fastgeodis"]
Metric = Literal["linear", "harmonic", "product"]
METRICS: dict[str, tuple[Metric, ...]] = {"geodistk": ("harmonic", "product"), "fastgeodis": ("linear",)}


def check_metric(engine: str, metric: str) -> None:
    """Refuse a metric that an engine of geodesic distances does not offer.

    Raises
    ------
    ValueError
        With those it offers.
    """
    if metric not in METRICS.get(engine, (metric,)):
        offered = " and ".join(METRICS[engine])
        raise ValueError(f"the distance engine {engine} offers {offered}, not {metric}; change one of the two")


class Settings(BaseModel):
    """Base of all settings: immutable, unknown names refused.

    Fields hold scalars, ``Literal`` choices, optional scalars or fixed-length tuples of scalars, each
    declared with ``Field(default, ge=, le=, title=, description=, json_schema_extra={"step": ...})``.
    Give every float a ``step`` and every int an ``le``: the generated form needs them.

    Class attributes
    ----------------
    earlier
        Names that older versions gave to fields, each with today's; files and flags may still use them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
    earlier: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _by_todays_names(cls, values: Any) -> Any:
        return cls.renamed(values) if isinstance(values, Mapping) else values

    @classmethod
    def renamed(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return `values` under today's names; one that is there under both names is taken from today's."""
        old = {cls.earlier[name]: value for name, value in values.items() if name in cls.earlier}
        return {**old, **{name: value for name, value in values.items() if name not in cls.earlier}}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Validate `values`, raising `SettingsError` with one plain line per problem."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            names = ", ".join(cls.model_fields)
            raise SettingsError(f"{'; '.join(map(_said, error.errors()))}. Known settings: {names}.") from error

    def updated(self, **changes: Any) -> Self:
        """Return validated settings with some values changed."""
        return self.parse({**self.model_dump(), **changes})


def _said(problem: Mapping[str, Any]) -> str:
    """Return what is wrong with one setting, or with several together."""
    text = str(problem["msg"]).removeprefix("Value error, ")
    place = shortened(".".join(map(str, problem["loc"])))
    return f"{place}: {text} (given {shortened(repr(problem['input']))})" if place else text


class PredictSettings(Settings):
    """How a network is run over an image."""

    device: Device = Field("auto", title="Device", description="Where to compute; auto takes the GPU when there is one")
    precision: Precision = Field("auto", title="Precision", description="auto: bfloat16 where it pays, else float32")
    tile: int = Field(
        0,
        ge=0,
        le=16384,
        title="Tile",
        description="Tile edge in pixels, 0: 1024 in 2D, 256 in 3D; less needs less memory",
    )
    overlap: int = Field(
        -1, ge=-1, le=4096, title="Overlap",
        description="Overlap of tiles in pixels; -1: as much as makes tiled and whole prediction equal",
    )  # fmt: skip
    batch: int = Field(1, ge=1, le=256, title="Batch", description="Tiles per forward pass")
    tta: bool = Field(
        False, title="Test-time augmentation",
        description="Average over flips and rotations; some models ask for it themselves",
    )  # fmt: skip
    adapt: bool = Field(
        True, title="Adapt to each image",
        description="Where the model asks for it, let batch-norm statistics follow each image; else those of training",
    )  # fmt: skip
    resample: bool = Field(
        False, title="Resample",
        description="Show the network images at the pixel size of its training images; results keep the image's own",
    )  # fmt: skip
    openvino: bool = Field(
        False, title="OpenVINO",
        description="On a processor run networks with OpenVINO (extra openvino): faster from some dozen tiles on",
    )  # fmt: skip


class TrainSettings(Settings):
    """One training run; the defaults of each method are its paper's schedule."""

    epochs: int = Field(100, ge=1, le=100_000, title="Epochs", description="Passes of steps_per_epoch iterations")
    steps_per_epoch: int = Field(
        0, ge=0, le=1_000_000, title="Steps per epoch", description="Iterations per epoch; 0: once over the images"
    )
    batch_size: int = Field(4, ge=1, le=1024, title="Batch size", description="Samples per optimiser step")
    learning_rate: float = Field(
        1e-3, gt=0, le=10, title="Learning rate", description="Initial", json_schema_extra={"step": 1e-5}
    )
    weight_decay: float = Field(
        0.0, ge=0, le=1, title="Weight decay", description="L2 penalty", json_schema_extra={"step": 1e-5}
    )
    schedule: Literal["constant", "cosine", "one-cycle"] = Field(
        "constant", title="Rate", description="Over the run: constant, falling along a cosine, or rising and falling"
    )
    rise: float = Field(
        0.15, gt=0, lt=1, title="Rise", description="Share of a one-cycle run over which the rate rises",
        json_schema_extra={"step": 0.05},
    )  # fmt: skip
    ema: float = Field(
        0.0, ge=0, lt=1, title="Weight average",
        description="Decay of the running mean of the weights, which is what is kept; 0: the weights themselves",
        json_schema_extra={"step": 0.001},
    )  # fmt: skip
    halve_steps: int = Field(
        0, ge=0, le=10_000_000, title="Halve rate every", description="Iterations after which the rate halves; 0: never"
    )
    plateau_patience: int = Field(
        0, ge=0, le=10_000, title="Plateau patience",
        description="Epochs without better validation loss before the rate drops; 0: constant rate",
    )  # fmt: skip
    plateau_factor: float = Field(
        0.1, gt=0, lt=1, title="Plateau factor", description="Factor of a drop", json_schema_extra={"step": 0.05}
    )
    stop_patience: int = Field(
        0, ge=0, le=10_000, title="Stop patience",
        description="Epochs without better validation loss before training stops; 0: never",
    )  # fmt: skip
    validation_fraction: float = Field(
        0.2, ge=0, lt=1, title="Validation share", description="Share of subjects held out when no fold is asked for",
        json_schema_extra={"step": 0.05},
    )  # fmt: skip
    folds: int = Field(0, ge=0, le=100, title="Folds", description="Grouped k-fold cross-validation; 0: one split")
    fold: int = Field(-1, ge=-1, le=99, title="Fold", description="Only this fold (from 0); -1: all folds")
    augment: bool = Field(True, title="Augment", description="Random augmentation of training samples")
    smooth_score: int = Field(
        1, ge=1, le=1000, title="Smooth score",
        description="The best epoch is that of the best median score of so many epochs; 1: its own score",
    )  # fmt: skip
    choose_on: int = Field(
        0, ge=0, le=10_000, title="Choose on",
        description="Training images on which thresholds are chosen at the end, for methods that have some; 0: as set",
    )  # fmt: skip
    calibrate_batches: int = Field(
        16, ge=0, le=10_000, title="Calibration batches",
        description="Batches over which batch-norm statistics are taken anew before validation; 0: running averages",
    )  # fmt: skip
    device: Device = Field("auto", title="Device", description="Where to compute")
    precision: Precision = Field(
        "auto",
        title="Precision",
        description="auto: mixed bfloat16 where it pays, else float32",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, title="Seed", description="Of every random choice")


class MethodSettings(Settings):
    """Settings of a method, and the paper's schedule: all that forms, flags and help pages need, without torch.

    Class attributes
    ----------------
    title
        Name of the method for people, with its field.
    training
        The paper's schedule: the defaults of form and flags.
    prediction
        Tiling and views of the paper: likewise.
    preparation
        Settings of what makes a training folder of raw data, or ``None`` where raw data are trained on as they are.
    role
        What a model of it is for: to make masks, to propose one that is refined, to refine it, or to say what a frame
        of a movie shows.
    movies
        Whether it is made for the frames of movies.
    field
        What its models are made for (see `napari_medseg.models.purpose`), where the method knows only one; else the
        model's card says it.
    """

    title: ClassVar[str] = ""
    training: ClassVar[TrainSettings] = TrainSettings()
    prediction: ClassVar[PredictSettings] = PredictSettings()
    preparation: ClassVar[type[Settings] | None] = None
    role: ClassVar[Role] = "segment"
    movies: ClassVar[bool] = False
    field: ClassVar[str] = ""


def as_flags(settings: Settings, defaults: Settings | None = None) -> list[str]:
    """Return the flags that reproduce `settings` from `defaults` (or the class defaults)."""
    defaults = defaults or type(settings)()
    words: list[str] = []
    for name, value in settings.model_dump(mode="json").items():
        if value == defaults.model_dump(mode="json")[name]:
            continue
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, list):
            words += [flag, *map(str, value)]
        else:
            words += [f"{flag}={'none' if value is None else value}"]
    return words


def plain_type(annotation: Any) -> tuple[Any, bool]:
    """Return the annotation without ``| None``, and whether ``None`` was allowed."""
    if get_origin(annotation) in (Union, UnionType):
        inner = [a for a in get_args(annotation) if a is not type(None)]
        return inner[0], len(inner) < len(get_args(annotation))
    return annotation, False
